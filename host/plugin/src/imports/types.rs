//! Errors on their way into the guest.

use super::wit::types::{self as wit, Host};
use crate::instance::GuestState;
use wasmount_types::{Blame, Effect, Error, ErrorKind, Retry};

impl Host for GuestState {}
impl super::wit::options::Host for GuestState {}
impl super::wit::capabilities::Host for GuestState {}

/// The same error in the words of the contract.
pub(crate) fn to_wit(error: Error) -> wit::Error {
    wit::Error {
        kind: match error.kind {
            ErrorKind::NotFound => wit::ErrorKind::NotFound,
            ErrorKind::Exists => wit::ErrorKind::Exists,
            ErrorKind::NotDirectory => wit::ErrorKind::NotDirectory,
            ErrorKind::IsDirectory => wit::ErrorKind::IsDirectory,
            ErrorKind::NotEmpty => wit::ErrorKind::NotEmpty,
            ErrorKind::Denied => wit::ErrorKind::Denied,
            ErrorKind::Unauthenticated => wit::ErrorKind::Unauthenticated,
            ErrorKind::ReadOnly => wit::ErrorKind::ReadOnly,
            ErrorKind::Stale => wit::ErrorKind::Stale,
            ErrorKind::NoSpace => wit::ErrorKind::NoSpace,
            ErrorKind::QuotaExceeded => wit::ErrorKind::QuotaExceeded,
            ErrorKind::TooLarge => wit::ErrorKind::TooLarge,
            ErrorKind::NameTooLong => wit::ErrorKind::NameTooLong,
            ErrorKind::OutOfRange => wit::ErrorKind::OutOfRange,
            ErrorKind::Invalid => wit::ErrorKind::Invalid,
            ErrorKind::Unsupported => wit::ErrorKind::Unsupported,
            ErrorKind::Busy => wit::ErrorKind::Busy,
            ErrorKind::WouldBlock => wit::ErrorKind::WouldBlock,
            ErrorKind::Interrupted => wit::ErrorKind::Interrupted,
            ErrorKind::TimedOut => wit::ErrorKind::TimedOut,
            ErrorKind::Unavailable => wit::ErrorKind::Unavailable,
            ErrorKind::Throttled => wit::ErrorKind::Throttled,
            ErrorKind::Corrupt => wit::ErrorKind::Corrupt,
            ErrorKind::Fenced => wit::ErrorKind::Fenced,
            ErrorKind::NoAttribute => wit::ErrorKind::NoAttribute,
            ErrorKind::CrossDevice => wit::ErrorKind::CrossDevice,
            ErrorKind::TooManyLinks => wit::ErrorKind::TooManyLinks,
            ErrorKind::Other => wit::ErrorKind::Other,
        },
        retry: match error.retry {
            Retry::Never => wit::RetryAdvice::Never,
            Retry::AfterMs(ms) => wit::RetryAdvice::AfterMs(ms),
            Retry::Reopen => wit::RetryAdvice::Reopen,
        },
        blame: match error.blame {
            Blame::Caller => wit::Blame::Caller,
            Blame::Plugin => wit::Blame::Plugin,
            Blame::Origin => wit::Blame::Origin,
            Blame::Host => wit::Blame::Host,
        },
        effect: match error.effect {
            Effect::None => wit::Effect::None,
            Effect::Unknown => wit::Effect::Unknown,
            Effect::Partial => wit::Effect::Partial,
        },
        origin_code: error.origin_code,
        message: error.message,
    }
}
