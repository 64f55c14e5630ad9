//! Constructors and refinements for the one error type of the contract.
//!
//! Start from the kind that is true ([`Error::not_found`], [`Error::unavailable`], …), which sets the usual advice and blame,
//! then refine: `Error::corrupt("…").code("BadDigest")`. The message is for the person who has to fix it: say what was
//! tried, on what, and what to change.

use crate::bindings::wasmount::plugin::types::{Blame, Effect, Error, ErrorKind, RetryAdvice};

/// What the functions of this crate and of a plugin return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind that is not worth repeating and has changed nothing. Whose fault it is follows from the kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let blame = match kind {
            ErrorKind::NotFound
            | ErrorKind::Exists
            | ErrorKind::NotDirectory
            | ErrorKind::IsDirectory
            | ErrorKind::NotEmpty
            | ErrorKind::NameTooLong
            | ErrorKind::OutOfRange
            | ErrorKind::Unsupported
            | ErrorKind::WouldBlock
            | ErrorKind::NoAttribute
            | ErrorKind::CrossDevice
            | ErrorKind::TooManyLinks
            | ErrorKind::ReadOnly => Blame::Caller,
            ErrorKind::Invalid => Blame::Plugin,
            ErrorKind::Interrupted => Blame::Host,
            ErrorKind::Denied
            | ErrorKind::Unauthenticated
            | ErrorKind::Stale
            | ErrorKind::NoSpace
            | ErrorKind::QuotaExceeded
            | ErrorKind::TooLarge
            | ErrorKind::Busy
            | ErrorKind::TimedOut
            | ErrorKind::Unavailable
            | ErrorKind::Throttled
            | ErrorKind::Corrupt
            | ErrorKind::Fenced
            | ErrorKind::Other => Blame::Origin,
        };
        Self {
            kind,
            retry: RetryAdvice::Never,
            blame,
            effect: Effect::None,
            origin_code: None,
            message: message.into(),
        }
    }

    /// The object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The pinned version is gone: the host looks again.
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Stale, message)
    }

    /// The identity is known and may not do this.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, message)
    }

    /// The credentials were refused, also after [`Secret::refresh`](crate::Secret::refresh).
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthenticated, message)
    }

    /// The range begins at or beyond the end.
    pub fn out_of_range(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutOfRange, message)
    }

    /// An option or a request makes no sense. Name the option.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// This store or plugin cannot do it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// No connection, a reset, a 5xx. May be repeated at once.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message).retry_after_ms(0)
    }

    /// The store asks for fewer requests. May be repeated after a while.
    pub fn throttled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Throttled, message).retry_after_ms(1000)
    }

    /// What the store sent is wrong: a checksum, a length, a structure.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Anything else; the message must be worth reading.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other, message)
    }

    /// The same error with advice to repeat the request after so many milliseconds (0: at once).
    #[must_use]
    pub fn retry_after_ms(mut self, milliseconds: u32) -> Self {
        self.retry = RetryAdvice::AfterMs(milliseconds);
        self
    }

    /// The same error with this advice.
    #[must_use]
    pub fn advice(mut self, advice: RetryAdvice) -> Self {
        self.retry = advice;
        self
    }

    /// The same error, blamed on somebody else.
    #[must_use]
    pub fn blame(mut self, blame: Blame) -> Self {
        self.blame = blame;
        self
    }

    /// The same error with what it may have changed nevertheless.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same error with the store's own code, such as `NoSuchBucket` or `404`.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.origin_code = Some(code.into());
        self
    }

    /// The same error with `context` and a colon before its message: `error.context("cannot list bucket \"b\"")`.
    #[must_use]
    pub fn context(mut self, context: impl std::fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl From<std::num::ParseIntError> for Error {
    /// A number the store sent is none.
    fn from(error: std::num::ParseIntError) -> Self {
        Self::corrupt(format!("the store sent something else than a number: {error}"))
    }
}

impl From<std::string::FromUtf8Error> for Error {
    /// A text the store sent is not UTF-8.
    fn from(error: std::string::FromUtf8Error) -> Self {
        Self::corrupt(format!("the store sent text that is not UTF-8: {error}"))
    }
}

impl From<std::str::Utf8Error> for Error {
    /// A text the store sent is not UTF-8.
    fn from(error: std::str::Utf8Error) -> Self {
        Self::corrupt(format!("the store sent text that is not UTF-8: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u64> {
        Ok(text.parse::<u64>()?)
    }

    #[test]
    fn question_mark_converts() {
        let error = number("x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert_eq!(error.blame, Blame::Origin);
    }

    #[test]
    fn refinements_keep_the_rest() {
        let error = Error::unavailable("reset").effect(Effect::Unknown).code("503").context("listing");
        assert_eq!(error.message, "listing: reset");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert_eq!(error.effect, Effect::Unknown);
        assert_eq!(error.origin_code.as_deref(), Some("503"));
        assert!(matches!(error.retry, RetryAdvice::AfterMs(0)));
    }
}
