//! Errors of the cluster in the words of the contract.

use wasmount_ceph::rados::RadosError;
use wasmount_sdk::{Blame, Error, ErrorKind, RetryAdvice};

/// The error for the host, with this sentence.
#[must_use]
pub fn error(error: &RadosError, message: impl Into<String>) -> Error {
    let kind = match error {
        RadosError::NotFound | RadosError::PoolNotFound { .. } => ErrorKind::NotFound,
        RadosError::Exists => ErrorKind::Exists,
        RadosError::Denied => ErrorKind::Denied,
        RadosError::Blocklisted { .. } => ErrorKind::Fenced,
        RadosError::TimedOut { .. } => ErrorKind::TimedOut,
        RadosError::Cancelled => ErrorKind::Interrupted,
        RadosError::Cluster(_) | RadosError::Unavailable(_) => ErrorKind::Unavailable,
        RadosError::NoSpace => ErrorKind::NoSpace,
        RadosError::Quota => ErrorKind::QuotaExceeded,
        RadosError::Io | RadosError::Malformed(_) => ErrorKind::Corrupt,
        RadosError::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    let retry = match error {
        // A new instance is a new client, which the cluster has nothing against.
        RadosError::Blocklisted { .. } | RadosError::Cluster(_) => RetryAdvice::Reopen,
        RadosError::TimedOut { .. } => RetryAdvice::AfterMs(0),
        RadosError::Unavailable(_) => RetryAdvice::AfterMs(100),
        _ => RetryAdvice::Never,
    };
    let converted = Error::new(kind, message).advice(retry);
    let converted = match error {
        RadosError::PoolNotFound { .. } | RadosError::Denied => converted.blame(Blame::Plugin),
        _ => converted,
    };
    match code(error) {
        Some(code) => converted.code(code),
        None => converted,
    }
}

/// The name of the errno behind it.
fn code(error: &RadosError) -> Option<String> {
    let name = match error {
        RadosError::NotFound => "ENOENT",
        RadosError::Denied => "EPERM",
        RadosError::Blocklisted { .. } => "EBLOCKLISTED",
        RadosError::Io => "EIO",
        RadosError::Unsupported => "EOPNOTSUPP",
        RadosError::NoSpace => "ENOSPC",
        RadosError::Quota => "EDQUOT",
        RadosError::Errno(number) => return Some(format!("errno {number}")),
        _ => return None,
    };
    Some(name.to_owned())
}

/// The cluster cannot be used with this configuration.
pub(crate) fn configuration(why: &str) -> Error {
    Error::unauthenticated(why).blame(Blame::Plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_advice_follow_the_error() {
        let lost = error(&RadosError::Blocklisted { address: "a".into() }, "x");
        assert_eq!((lost.kind, lost.blame), (ErrorKind::Fenced, Blame::Origin));
        assert!(matches!(lost.retry, RetryAdvice::Reopen));
        let late = error(&RadosError::TimedOut { waiting: "w".into() }, "x");
        assert!(matches!((late.kind, late.retry), (ErrorKind::TimedOut, RetryAdvice::AfterMs(0))));
        let denied = error(&RadosError::Denied, "x");
        assert_eq!(
            (denied.kind, denied.blame, denied.origin_code.as_deref()),
            (ErrorKind::Denied, Blame::Plugin, Some("EPERM"))
        );
        assert_eq!(error(&RadosError::Errno(75), "x").origin_code.as_deref(), Some("errno 75"));
        assert_eq!(error(&RadosError::Io, "x").kind, ErrorKind::Corrupt);
    }
}
