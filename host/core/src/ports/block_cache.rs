//! Bytes of objects on a local disk.

use super::BoxFuture;
use crate::inode::FileVersion;
use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use wasmount_types::ObjectKey;

/// Unit of what a cache holds, in bytes: what is offered begins at a multiple of it, and ends at one or at the end of the file.
pub const CACHE_PAGE: u64 = 4096;

/// Whose bytes a cache holds: mounts with equal identities see the same bytes under the same key and version, and may share
/// them. Computed by the host program; a plugin has no say in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheIdentity(Arc<str>);

impl CacheIdentity {
    /// An identity from its text: letters, digits, `-` and `_` only, so that it can name a directory.
    ///
    /// # Errors
    /// The text, when it is empty, longer than 128 bytes or contains anything else.
    pub fn new(text: &str) -> Result<Self, String> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        match text.len() {
            1..=128 if text.chars().all(fine) => Ok(Self(text.into())),
            _ => Err(text.to_owned()),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One version of one object, as a cache tells it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheId {
    /// Whose it is.
    pub identity: CacheIdentity,
    /// Its key.
    pub key: ObjectKey,
    /// Its version and size. A file without a version is never cached: core does not ask.
    pub file: FileVersion,
}

/// A cache of blocks that outlives handles and processes. What goes wrong with it is its own business: it answers `not here`.
pub trait BlockCache: Send + Sync + 'static {
    /// The cached file of an object, made when the first bytes are offered. `None`: the cache cannot be used at the moment,
    /// or does not want this object. Never blocks the calling thread on a disk.
    fn open(&self, id: CacheId) -> BoxFuture<'_, Option<Arc<dyn CachedFile>>>;
}

/// What a cache did with bytes that were offered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// They are being written.
    Queued,
    /// Too much waits to be written: dropped, and welcome later.
    NoRoom,
    /// It has them, or can keep nothing: dropped.
    Unwanted,
}

/// The cached bytes of one version of one object. All handles of it, in this and in other processes, see the same.
pub trait CachedFile: Send + Sync + 'static {
    /// End of the run of cached bytes that begins at `from`, at most `to`; `from` when there is nothing. From memory, at once.
    fn run(&self, from: u64, to: u64) -> u64;

    /// Appends exactly the bytes `from..to`, which [`run`](Self::run) has just covered, to `into`, which has room for them,
    /// checked against their checksums. `Err` gives the buffer back as it was: they are not here after all (damaged, gone,
    /// the disk is sick), and `run` will say so from now on.
    fn read(&self, from: u64, to: u64, into: BytesMut) -> BoxFuture<'_, Result<BytesMut, BytesMut>>;

    /// Whether an offer of `from..to` would be taken: false when it is there already, or when the cache is full or sick. From
    /// memory, at once.
    fn wants(&self, from: u64, to: u64) -> bool;

    /// Whether so much waits to be written that what nobody waits for yet had better be offered a little later. At once.
    fn crowded(&self) -> bool;

    /// Offers the bytes from `at` on, a multiple of [`CACHE_PAGE`], in consecutive `pieces`. Never waits: what cannot be
    /// queued is dropped. `held` is kept until the pieces are: it stands for the memory they use, which is `charge` bytes, often more than
    /// they are long. A queue is bounded by what it charges.
    fn offer(&self, at: u64, pieces: Vec<Bytes>, held: Arc<dyn Any + Send + Sync>, charge: u64) -> Offer;

    /// The file itself, if every byte is in it, synced and verified: its size is the object's, and the kernel may read it in
    /// our place. `None` now may be `Some` later.
    fn backing(&self) -> BoxFuture<'_, Option<Arc<OwnedFd>>>;

    /// Bytes that are there.
    fn cached_bytes(&self) -> u64;
}

/// The cache of a mount that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBlockCache;

impl BlockCache for NoBlockCache {
    fn open(&self, _id: CacheId) -> BoxFuture<'_, Option<Arc<dyn CachedFile>>> {
        Box::pin(std::future::ready(None))
    }
}
