//! What `stat` shows.

use crate::{Ino, Timestamp};

/// Type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
}

/// Attributes of a node (`struct fuse_attr` of the kernel's `fuse.h`, less what never varies here).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// Its type.
    pub kind: FileKind,
    /// Permission bits, without the type.
    pub perm: u16,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of the content; access and status change show the same.
    pub mtime: Timestamp,
}

impl Attr {
    /// Blocks of 512 bytes (`st_blocks`).
    pub fn blocks(&self) -> u64 {
        self.size.div_ceil(512)
    }
}
