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
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
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
    /// Number of a device (`makedev(3)`, as Linux packs it into 32 bits); 0 for all else.
    pub device: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes it really takes.
    pub allocated: u64,
    /// Best size of a read in bytes (`st_blksize`); 0: the usual one.
    pub block_size: u32,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
}

impl Attr {
    /// Attributes of something that keeps no more than a size and one time: it is its own content, changed when it was written.
    pub fn plain(
        ino: Ino,
        kind: FileKind,
        perm: u16,
        owner: (u32, u32),
        size: u64,
        written: Timestamp,
    ) -> Self {
        let (uid, gid) = owner;
        let (atime, mtime, ctime) = (written, written, written);
        let nlink = if kind == FileKind::Directory { 2 } else { 1 };
        let allocated = size;
        Self {
            ino,
            kind,
            perm,
            nlink,
            uid,
            gid,
            device: 0,
            size,
            allocated,
            block_size: 0,
            atime,
            mtime,
            ctime,
        }
    }

    /// Blocks of 512 bytes (`st_blocks`).
    pub fn blocks(&self) -> u64 {
        self.allocated.div_ceil(512)
    }
}
