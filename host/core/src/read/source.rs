//! Where the bytes of files come from, whatever the kind of provider.

use crate::inode::FileVersion;
use crate::ports::{Body, BoxFuture};
use wasmount_types::{Error, ObjectKey, RequestCtx};

/// A question for bytes of one version of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The file's path inside the mount.
    pub(crate) key: &'a ObjectKey,
    /// Which version of it.
    pub(crate) version: &'a FileVersion,
    /// First byte.
    pub(crate) from: u64,
    /// Byte after the last one; greater than `from`, and not beyond the file.
    pub(crate) until: u64,
}

/// An answer, checked as far as it can be before its bytes are there.
pub(crate) struct Fetched {
    /// Where `content` begins in the file: not after the first byte wanted. What lies before that is skipped.
    pub(crate) offset: u64,
    /// How far `content` goes, at least; after the first byte wanted. The rest is asked for again.
    pub(crate) until: u64,
    /// The bytes.
    pub(crate) content: Box<dyn Body>,
    /// These bytes are tied to the version: they may be kept for days.
    pub(crate) pinned: bool,
}

/// Most bytes to ask of a store whose answers come as a whole: while one is on its way there is nothing to do with it, so several
/// should be, and each should be one object of what such stores are made of. With less than that requests cost more than they save. (A GiB of CephFS on two
/// processors at 932 MiB/s in parts of 8 MiB and more, 1,030 in parts of 4, 978 in parts of 2.)
pub(crate) const PIECE: u64 = 4 << 20;

/// Gives bytes of files. Equal to itself only: two sources never stand for the same bytes.
pub(crate) trait Source: Send + Sync + 'static {
    /// Whether a part of a file can be fetched for less than all of it.
    fn ranges(&self) -> bool;

    /// Whether it gives bytes of a version, or says that this is gone, also to those who do not have the file open.
    fn outlasts_readers(&self) -> bool {
        false
    }

    /// How many bytes are best asked for at once, and at multiples of what. `None`: as many as are wanted, from anywhere, because bytes of an
    /// answer can be used while others are still on their way.
    fn piece(&self) -> Option<u64> {
        None
    }

    /// Asks for bytes; returns when the head of the answer is there.
    ///
    /// # Errors
    /// `stale`: this version is gone; else what the provider says.
    fn fetch<'a>(&'a self, ctx: RequestCtx, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Fetched, Error>>;
}
