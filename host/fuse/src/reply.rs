//! Words of core in the words of the kernel protocol.

use fuser::{Errno, FileAttr, FileType, INodeNo};
use std::time::SystemTime;
use wasmount_core::errno::errno;
use wasmount_types::{Attr, Blame, Error, ErrorKind, FileKind, InvalidName};

/// The errno of an error: decided by `wasmount_core::errno` alone.
pub(crate) fn errno_of(error: &Error) -> Errno {
    Errno::from_i32(errno(error.kind))
}

/// The errno of a kind.
pub(crate) fn errno_of_kind(kind: ErrorKind) -> Errno {
    Errno::from_i32(errno(kind))
}

/// Type of a node.
pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::Regular => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
    }
}

/// Attributes of a node.
pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    let time = SystemTime::from(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        // Also the buffer size of many language runtimes: larger would make their random reads fetch too much.
        blksize: 4096,
        flags: 0,
    }
}

/// A name the kernel sent that is no name.
pub(crate) fn invalid_name(reason: InvalidName) -> Error {
    let kind = match reason {
        InvalidName::TooLong => ErrorKind::NameTooLong,
        InvalidName::Empty | InvalidName::Dots | InvalidName::ForbiddenByte => ErrorKind::Invalid,
    };
    Error::new(kind, Blame::Caller, reason.to_string())
}
