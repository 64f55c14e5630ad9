//! What can go wrong, by what the caller can do about it.

use std::fmt;

/// What the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Correct what was typed: a reference, a flag, or a file that a flag names.
    Mistake,
    /// Try again, or go on with what was fetched before: the server did not answer, or said that it cannot at the moment.
    Unavailable,
    /// Nothing, before somebody has changed something at the server, or the reference: it answered, and its answer is no, or is not
    /// what was asked for.
    Refused,
    /// Make room for, or give the right to write to, the directory where plugins are kept.
    Storage,
}

/// Why a plugin could not be had. One sentence, without secrets; the caller adds the reference.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What was found, and the remedy.
    pub message: String,
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    pub(crate) fn mistake(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Mistake, message)
    }

    pub(crate) fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    pub(crate) fn refused(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    pub(crate) fn storage(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Storage, message)
    }
}
