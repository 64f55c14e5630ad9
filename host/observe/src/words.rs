//! The words that metrics, the access log and `slow` share: operations, results, blame. Each has a number, so that counting
//! needs no text.

use wasmount_core::ports::{Operation, ServedFrom};
use wasmount_types::{Blame, ErrorKind};

/// Operations, as the kernel's protocol names them; the last stands for all others.
pub(crate) const OPS: [&str; 33] = [
    "lookup",
    "getattr",
    "open",
    "read",
    "flush",
    "release",
    "opendir",
    "readdir",
    "readdirplus",
    "releasedir",
    "statfs",
    "getxattr",
    "listxattr",
    "access",
    "readlink",
    "fsync",
    "fsyncdir",
    "setattr",
    "mknod",
    "mkdir",
    "unlink",
    "rmdir",
    "symlink",
    "rename",
    "link",
    "write",
    "create",
    "setxattr",
    "removexattr",
    "fallocate",
    "copy_file_range",
    "lseek",
    "other",
];

/// Index in [`OPS`]. The patterns are told apart by their length and first bytes, without searching.
pub(crate) fn op_index(op: &str) -> usize {
    match op.as_bytes() {
        b"lookup" => 0,
        b"getattr" => 1,
        b"open" => 2,
        b"read" => 3,
        b"flush" => 4,
        b"release" => 5,
        b"opendir" => 6,
        b"readdir" => 7,
        b"readdirplus" => 8,
        b"releasedir" => 9,
        b"statfs" => 10,
        b"getxattr" => 11,
        b"listxattr" => 12,
        b"access" => 13,
        b"readlink" => 14,
        b"fsync" => 15,
        b"fsyncdir" => 16,
        b"setattr" => 17,
        b"mknod" => 18,
        b"mkdir" => 19,
        b"unlink" => 20,
        b"rmdir" => 21,
        b"symlink" => 22,
        b"rename" => 23,
        b"link" => 24,
        b"write" => 25,
        b"create" => 26,
        b"setxattr" => 27,
        b"removexattr" => 28,
        b"fallocate" => 29,
        b"copy_file_range" => 30,
        b"lseek" => 31,
        _ => 32,
    }
}

/// Results: success, then the kinds of [`ErrorKind`] in its order, named as in `SEMANTICS.md`.
pub(crate) const RESULTS: [&str; 29] = [
    "ok",
    "not-found",
    "exists",
    "not-directory",
    "is-directory",
    "not-empty",
    "denied",
    "unauthenticated",
    "read-only",
    "stale",
    "no-space",
    "quota-exceeded",
    "too-large",
    "name-too-long",
    "out-of-range",
    "invalid",
    "unsupported",
    "busy",
    "would-block",
    "interrupted",
    "timed-out",
    "unavailable",
    "throttled",
    "corrupt",
    "fenced",
    "no-attribute",
    "cross-device",
    "too-many-links",
    "other",
];

/// Index in [`RESULTS`].
pub(crate) const fn result_index(error: Option<ErrorKind>) -> usize {
    match error {
        None => 0,
        Some(kind) => 1 + kind as usize,
    }
}

/// Sources of bytes.
pub(crate) const SOURCES: [&str; 3] = ["memory", "disk", "origin"];

/// Index in [`SOURCES`].
pub(crate) const fn source_index(from: ServedFrom) -> usize {
    match from {
        ServedFrom::Memory => 0,
        ServedFrom::Disk => 1,
        ServedFrom::Origin => 2,
    }
}

/// Who an operation was waiting for, or whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blamed {
    /// Answered from memory or from the disk cache.
    Cache,
    /// Failed, because of a plugin.
    Plugin,
    /// The storage system was asked, or the network to it failed.
    Origin,
    /// The kernel reads the file itself from now on.
    Kernel,
    /// Failed, because of what was asked.
    Caller,
    /// wasmount: bookkeeping, or its own failure.
    Host,
}

/// Names of [`Blamed`], in its order.
pub(crate) const BLAMED: [&str; 6] = ["cache", "plugin", "origin", "kernel", "caller", "host"];

impl Blamed {
    pub(crate) fn of(operation: &Operation<'_>) -> Self {
        match (operation.error, operation.passthrough, operation.from) {
            (Some((_, Blame::Caller)), ..) => Self::Caller,
            (Some((_, Blame::Plugin)), ..) => Self::Plugin,
            (Some((_, Blame::Origin)), ..) => Self::Origin,
            (Some((_, Blame::Host)), ..) => Self::Host,
            (None, true, _) => Self::Kernel,
            (None, false, Some(ServedFrom::Memory | ServedFrom::Disk)) => Self::Cache,
            (None, false, Some(ServedFrom::Origin)) => Self::Origin,
            (None, false, None) => Self::Host,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        BLAMED[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_own_number() {
        for (index, op) in OPS.iter().enumerate() {
            assert_eq!(op_index(op), index, "{op}");
        }
        assert_eq!(OPS[op_index("ioctl")], "other");
        assert_eq!(OPS[op_index("")], "other");
    }

    #[test]
    fn results_are_named_after_their_kinds() {
        // `Debug` writes the names of the enum: a kind that is added or moved shows here.
        let last = ErrorKind::Other as usize;
        assert_eq!(RESULTS.len(), last + 2);
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::Exists,
            ErrorKind::NotDirectory,
            ErrorKind::IsDirectory,
            ErrorKind::NotEmpty,
            ErrorKind::Denied,
            ErrorKind::Unauthenticated,
            ErrorKind::ReadOnly,
            ErrorKind::Stale,
            ErrorKind::NoSpace,
            ErrorKind::QuotaExceeded,
            ErrorKind::TooLarge,
            ErrorKind::NameTooLong,
            ErrorKind::OutOfRange,
            ErrorKind::Invalid,
            ErrorKind::Unsupported,
            ErrorKind::Busy,
            ErrorKind::WouldBlock,
            ErrorKind::Interrupted,
            ErrorKind::TimedOut,
            ErrorKind::Unavailable,
            ErrorKind::Throttled,
            ErrorKind::Corrupt,
            ErrorKind::Fenced,
            ErrorKind::NoAttribute,
            ErrorKind::CrossDevice,
            ErrorKind::TooManyLinks,
            ErrorKind::Other,
        ] {
            let camel: String = RESULTS[result_index(Some(kind))]
                .split('-')
                .map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]))
                .collect();
            assert_eq!(camel, format!("{kind:?}"));
        }
        assert_eq!(RESULTS[result_index(None)], "ok");
    }
}
