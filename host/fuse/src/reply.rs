//! Words of core in the words of the kernel protocol.

use crate::passthrough::Backings;
use crate::piped::Answer;
use crate::serve::Given;
use bytes::Bytes;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, INodeNo, ReplyData, ReplyLseek, ReplyOpen, ReplyXattr,
};
use std::time::UNIX_EPOCH;
use wasmount_core::errno::errno;
use wasmount_core::fs::{OpenFile, ReadData};
use wasmount_types::{Attr, Error, ErrorKind, FileKind, InvalidName};

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
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::CharacterDevice => FileType::CharDevice,
    }
}

/// Attributes of a node.
pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks(),
        atime: attr.atime.into(),
        mtime: attr.mtime.into(),
        ctime: attr.ctime.into(),
        // Not in the answer of Linux.
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.device,
        // Also the buffer size of many language runtimes: larger than a page only where the store wants it so.
        blksize: if attr.block_size == 0 { 4096 } else { attr.block_size },
        flags: 0,
    }
}

/// What is wrong with a name the kernel sent that is no name.
pub(crate) fn kind_of_name(reason: &InvalidName) -> ErrorKind {
    match reason {
        InvalidName::TooLong => ErrorKind::NameTooLong,
        InvalidName::Empty | InvalidName::Dots | InvalidName::ForbiddenByte => ErrorKind::Invalid,
    }
}

/// Answers OPEN, with a file for the kernel to read if core has one and the node's other opens have it too.
pub(crate) fn opened(backings: &Backings, ino: INodeNo, file: &OpenFile, reply: ReplyOpen) -> Given {
    // Nothing is ever unsent, so `close` need not ask.
    let mut flags = FopenFlags::FOPEN_NOFLUSH;
    let fh = FileHandle(file.fh.0);
    let backing = backings.opened(ino.0, file, |backing| reply.open_backing(backing));
    if let Some(id) = &backing {
        // The kernel takes no caching flags with it: there is nothing to cache.
        reply.opened_passthrough(fh, flags, id);
    } else {
        flags.set(FopenFlags::FOPEN_KEEP_CACHE, file.keep_cache);
        flags.set(FopenFlags::FOPEN_DIRECT_IO, file.direct_io);
        reply.opened(fh, flags);
    }
    Given { passthrough: backing.is_some(), ..Given::default() }
}

/// Longest target of a symbolic link that the kernel takes: it wants a page with room for a NUL.
const MAX_TARGET: usize = 4095;

/// Answers READLINK.
pub(crate) fn target(result: Result<Bytes, Error>, reply: ReplyData) -> Given {
    match result {
        Ok(target) if target.len() > MAX_TARGET => reply.error(errno_of_kind(ErrorKind::NameTooLong)),
        Ok(target) => reply.data(&target),
        Err(error) => reply.error(errno_of(&error)),
    }
    Given::default()
}

/// Answers READ.
pub(crate) fn bytes_read(size: u32, answer: &Answer, reply: ReplyData) -> Given {
    let (bytes, from) = match answer {
        Answer::Bytes(ReadData { bytes, from }) => {
            // More than was asked for would be taken as a protocol fault by the kernel.
            let bytes = bytes.get(..size as usize).unwrap_or(bytes);
            reply.data(bytes);
            (bytes.len(), *from)
        }
        Answer::Sent(length, from) => {
            // To nobody: fuser's replies must not be dropped silently.
            reply.error(errno_of_kind(ErrorKind::Other));
            (*length, *from)
        }
    };
    Given { bytes: bytes as u64, from: Some(from), passthrough: false }
}

/// Answers LSEEK. A file system that knows nothing of holes says so once, and the kernel takes everything for data from then on.
pub(crate) fn sought(result: Result<u64, Error>, reply: ReplyLseek) {
    match result.map(i64::try_from) {
        Ok(Ok(offset)) => reply.offset(offset),
        // No file is that large.
        Ok(Err(_)) => reply.error(errno_of_kind(ErrorKind::OutOfRange)),
        Err(error) if error.kind == ErrorKind::Unsupported => reply.error(Errno::ENOSYS),
        Err(error) => reply.error(errno_of(&error)),
    }
}

/// An attribute's value, its size, or that the caller's buffer is too small, as `getxattr(2)` wants it.
pub(crate) fn xattr(reply: ReplyXattr, size: u32, result: Result<impl AsRef<[u8]>, Error>) -> Given {
    match result {
        Err(error) => reply.error(errno_of(&error)),
        Ok(value) => {
            let value = value.as_ref();
            match u32::try_from(value.len()) {
                Ok(len) if size == 0 => reply.size(len),
                Ok(len) if len <= size => reply.data(value),
                _ => reply.error(Errno::ERANGE),
            }
        }
    }
    Given::default()
}
