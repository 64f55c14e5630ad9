//! The one place where an [`ErrorKind`] becomes a Linux errno.
//!
//! The table is repeated for users in `SEMANTICS.md`, and a test holds the two together.

use wasmount_types::ErrorKind;

/// Errno numbers of Linux on every architecture wasmount runs on (`asm-generic/errno-base.h`, `errno.h`).
pub mod codes {
    #![allow(missing_docs, reason = "the names are those of errno(3)")]
    pub const ENOENT: i32 = 2;
    pub const EINTR: i32 = 4;
    pub const EIO: i32 = 5;
    pub const ENXIO: i32 = 6;
    pub const EAGAIN: i32 = 11;
    pub const EACCES: i32 = 13;
    pub const EBUSY: i32 = 16;
    pub const EEXIST: i32 = 17;
    pub const EXDEV: i32 = 18;
    pub const ENOTDIR: i32 = 20;
    pub const EISDIR: i32 = 21;
    pub const EINVAL: i32 = 22;
    pub const EFBIG: i32 = 27;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
    pub const EMLINK: i32 = 31;
    pub const ENAMETOOLONG: i32 = 36;
    pub const ENOTEMPTY: i32 = 39;
    pub const ENODATA: i32 = 61;
    pub const ENOTSUP: i32 = 95;
    pub const ETIMEDOUT: i32 = 110;
    pub const ESTALE: i32 = 116;
    pub const EDQUOT: i32 = 122;
}

/// The errno an application sees for this kind.
pub const fn errno(kind: ErrorKind) -> i32 {
    use codes::*;
    match kind {
        ErrorKind::NotFound => ENOENT,
        ErrorKind::Exists => EEXIST,
        ErrorKind::NotDirectory => ENOTDIR,
        ErrorKind::IsDirectory => EISDIR,
        ErrorKind::NotEmpty => ENOTEMPTY,
        // Both are EACCES: an application cannot act on the difference, the log line names it.
        ErrorKind::Denied | ErrorKind::Unauthenticated => EACCES,
        ErrorKind::ReadOnly => EROFS,
        ErrorKind::Stale => ESTALE,
        ErrorKind::NoSpace => ENOSPC,
        ErrorKind::QuotaExceeded => EDQUOT,
        ErrorKind::TooLarge => EFBIG,
        ErrorKind::NameTooLong => ENAMETOOLONG,
        // For seeks; a read beyond the end is an empty read and never gets here.
        ErrorKind::OutOfRange => ENXIO,
        ErrorKind::Invalid => EINVAL,
        ErrorKind::Unsupported => ENOTSUP,
        ErrorKind::Busy => EBUSY,
        ErrorKind::WouldBlock => EAGAIN,
        ErrorKind::Interrupted => EINTR,
        ErrorKind::TimedOut => ETIMEDOUT,
        // Retries are used up by the time an application sees these.
        ErrorKind::Unavailable | ErrorKind::Throttled => EIO,
        ErrorKind::Corrupt | ErrorKind::Fenced | ErrorKind::Other => EIO,
        ErrorKind::NoAttribute => ENODATA,
        ErrorKind::CrossDevice => EXDEV,
        ErrorKind::TooManyLinks => EMLINK,
    }
}
