//! The one error of the host: a coarse kind × what to do about it × whose fault it is.
//!
//! Mirrors `types.error` of the plugin contract (`wit/types.wit`). The kind is mapped to an errno in exactly
//! one place, `wasmount_core::errno`.

use std::fmt;

/// Shorthand for results with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to be the same for every storage system.
///
/// The doc of each kind says what the receiver must do. Whether to repeat is decided by [`Retry`], not by the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It does not exist. Forget what was cached about it.
    NotFound,
    /// It exists although it must not.
    Exists,
    /// A directory was needed.
    NotDirectory,
    /// A directory cannot be used here.
    IsDirectory,
    /// The directory still has entries.
    NotEmpty,
    /// The identity is known and may not do this. Tell the user which right is missing.
    Denied,
    /// The credentials themselves were refused. Look at the secret again before the next attempt.
    Unauthenticated,
    /// The mount or the store can only be read.
    ReadOnly,
    /// The pinned version is gone. Look up again; repeating the same request cannot succeed.
    Stale,
    /// The store is out of space.
    NoSpace,
    /// A quota is used up.
    QuotaExceeded,
    /// Larger than a limit allows.
    TooLarge,
    /// The name is longer than allowed.
    NameTooLong,
    /// The offset lies beyond the end.
    OutOfRange,
    /// The request or an option makes no sense.
    Invalid,
    /// Correct, but not possible here.
    Unsupported,
    /// In use by somebody else; waiting may help.
    Busy,
    /// A non-blocking request met a holder.
    WouldBlock,
    /// Given up by the host: signal, unmount, replacement of the plugin.
    Interrupted,
    /// A deadline passed.
    TimedOut,
    /// No connection, reset, 5xx.
    Unavailable,
    /// The store asks for fewer requests.
    Throttled,
    /// A checksum, length or structure is wrong. Never use the data.
    Corrupt,
    /// The storage system has evicted this client. Open the provider again.
    Fenced,
    /// The extended attribute does not exist.
    NoAttribute,
    /// The operation would cross a boundary between stores.
    CrossDevice,
    /// Too many links.
    TooManyLinks,
    /// Anything else; the message says what.
    Other,
}

/// What the receiver of an error may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// The same request may succeed after this many milliseconds (0: at once).
    AfterMs(u32),
    /// Only opening the provider again can help.
    Reopen,
}

/// Whose fault an error is; decides which counter and which log line it ends up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The application asked for something impossible or forbidden.
    Caller,
    /// The plugin or its options.
    Plugin,
    /// The storage system or the network to it.
    Origin,
    /// The host: a limit, a grant, its disk.
    Host,
}

/// What a failed request may have changed. Read requests always say [`Effect::None`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effect {
    /// Nothing has changed: safe to repeat.
    #[default]
    None,
    /// It may or may not have been carried out.
    Unknown,
    /// It was carried out in part; the message says which.
    Partial,
}

/// The one error type that crosses crate boundaries in the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The coarse meaning.
    pub kind: ErrorKind,
    /// What to do about it.
    pub retry: Retry,
    /// Whose fault it is.
    pub blame: Blame,
    /// What may have changed nevertheless.
    pub effect: Effect,
    /// The store's own code, verbatim and short: `NoSuchBucket`, `404`.
    pub origin_code: Option<String>,
    /// One sentence for the person who has to fix it. Never contains a secret.
    pub message: String,
}

impl Error {
    /// An error that will not go away by repeating the request.
    pub fn new(kind: ErrorKind, blame: Blame, message: impl Into<String>) -> Self {
        Self {
            kind,
            retry: Retry::Never,
            blame,
            effect: Effect::None,
            origin_code: None,
            message: message.into(),
        }
    }

    /// The same with other advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same with the store's own code.
    #[must_use]
    pub fn with_origin_code(mut self, code: impl Into<String>) -> Self {
        self.origin_code = Some(code.into());
        self
    }

    /// The same with another effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same with `context: ` before the message: what was tried, on what.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// `not-found`, blamed on the caller.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, Blame::Caller, format!("{what} does not exist"))
    }

    /// `stale`: the pinned version of `what` is gone.
    pub fn stale(what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Stale,
            Blame::Origin,
            format!("{what} was replaced while it was open; open it again"),
        )
    }

    /// `timed-out` with the given blame.
    pub fn timed_out(blame: Blame, what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::TimedOut, blame, format!("{what} did not finish within its deadline"))
            .with_retry(Retry::AfterMs(0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = &self.origin_code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
