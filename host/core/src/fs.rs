//! The file system as a kernel adapter sees it.

use crate::ports::{BoxFuture, KernelPages, ServedFrom};
use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use wasmount_pipe::Pipe;
use wasmount_types::{Attr, Blame, Error, ErrorKind, Fh, FileKind, Ino, Name, RequestCtx};

/// A node a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its attributes; `attr.ino` is its number.
    pub attr: Attr,
    /// How long the name may be used without asking again.
    pub ttl: Duration,
    /// How long the attributes may be used without asking again.
    pub attr_ttl: Duration,
}

impl Entry {
    /// A node whose name and attributes hold equally long.
    pub fn new(attr: Attr, ttl: Duration) -> Self {
        Self { attr, ttl, attr_ttl: ttl }
    }
}

/// An open file.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// Its handle.
    pub fh: Fh,
    /// Pages the kernel already has for this node stay valid: true where a node stands for one version. Otherwise it drops them,
    /// and its readers ask anew.
    pub keep_cache: bool,
    /// Its size is not known beforehand: the kernel must ask for every byte and keep none.
    pub direct_io: bool,
    /// A local file with exactly these bytes, which the kernel may read in our place. The adapter decides whether it does;
    /// reads through the handle must work in any case.
    pub backing: Option<Arc<OwnedFd>>,
}

/// An open directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenDirectory {
    /// Its handle.
    pub fh: Fh,
    /// The kernel may keep what is listed through this handle, until it is told to drop the directory's pages.
    pub cache: bool,
    /// What the kernel keeps of the listing from before this open is still true. Otherwise it drops that.
    pub keep_cache: bool,
}

/// Which bytes of an open file are wanted, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Where they begin.
    pub offset: u64,
    /// How many, at most.
    pub size: u32,
    /// The kernel keeps what it is given, for others who read the file and for mapped memory. It tells by `FUSE_READ_LOCKOWNER`: what fills pages has no
    /// owner (`fuse_read_args_fill`), also through a file that is open for direct I/O and mapped.
    pub kept: bool,
}

impl ReadRequest {
    /// A read into somebody's own memory.
    #[must_use]
    pub fn direct(offset: u64, size: u32) -> Self {
        Self { offset, size, kept: false }
    }

    /// A read that fills pages of the kernel.
    #[must_use]
    pub fn pages(offset: u64, size: u32) -> Self {
        Self { offset, size, kept: true }
    }
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadData {
    /// The bytes, in one piece.
    pub bytes: Bytes,
    /// Where they came from.
    pub from: ServedFrom,
}

/// Bytes of a file, wherever they are.
#[derive(Debug)]
pub enum ReadAnswer {
    /// In memory.
    Memory(ReadData),
    /// Still in the kernel.
    Piped(Piped),
}

/// Bytes of a file that lie in a pipe, and what they cost as long as they do.
#[derive(Debug)]
pub struct Piped {
    /// Nothing else is in it.
    pub pipe: Pipe,
    /// Where they came from.
    pub from: ServedFrom,
    held: Arc<dyn Any + Send + Sync>,
}

impl Piped {
    /// `held` is kept until the bytes are no longer needed.
    pub fn new(pipe: Pipe, from: ServedFrom, held: Arc<dyn Any + Send + Sync>) -> Self {
        Self { pipe, from, held }
    }

    /// The bytes, copied into memory.
    ///
    /// # Errors
    /// `other`, blame `host`: the pipe could not be read.
    pub fn into_memory(self) -> Result<ReadData, Error> {
        let Self { mut pipe, from, held } = self;
        let mut bytes = BytesMut::with_capacity(pipe.len());
        let read = pipe.read_into(&mut bytes);
        drop(held);
        match read {
            Ok(()) => Ok(ReadData { bytes: bytes.freeze(), from }),
            Err(error) => {
                let message = format!("bytes could not be taken out of a pipe: {error}");
                Err(Error::new(ErrorKind::Other, Blame::Host, message))
            }
        }
    }
}

impl ReadAnswer {
    /// The bytes in memory, copied if they are not there.
    ///
    /// # Errors
    /// Those of [`Piped::into_memory`].
    pub fn into_memory(self) -> Result<ReadData, Error> {
        match self {
            Self::Memory(data) => Ok(data),
            Self::Piped(piped) => piped.into_memory(),
        }
    }

    /// How many bytes, and where they came from.
    pub(crate) fn source(&self) -> (usize, ServedFrom) {
        match self {
            Self::Memory(data) => (data.bytes.len(), data.from),
            Self::Piped(piped) => (piped.pipe.len(), piped.from),
        }
    }
}

/// What `lseek(2)` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole: `SEEK_DATA`.
    Data,
    /// The next hole, or the end: `SEEK_HOLE`.
    Hole,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name; `.` and `..` are not among the entries, the adapter adds what its kernel wants.
    pub name: Name,
    /// Its number, equal to what a look-up gives.
    pub ino: Ino,
    /// Its type.
    pub kind: FileKind,
    /// Position *after* this entry, to continue from; never 0.
    pub next_offset: u64,
    /// Attributes and how long they hold, when they cost nothing.
    pub entry: Option<Entry>,
}

/// Answer of `statfs(2)`, sizes in blocks of `block_size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsStats {
    /// Size of a block.
    pub block_size: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks. `blocks - blocks_free` is what Fluid reports as the size of a Dataset.
    pub blocks_free: u64,
    /// Free blocks that anybody may use.
    pub blocks_available: u64,
    /// All nodes.
    pub files: u64,
    /// Nodes that could still be made.
    pub files_free: u64,
    /// Longest name in bytes.
    pub name_max: u32,
}

/// A directory read that gives at most this much: the adapter says how many entries fit in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDir {
    /// 0, or `next_offset` of the last entry that was delivered.
    pub offset: u64,
    /// At most so many entries.
    pub limit: usize,
    /// Whether to fill [`DirEntry::entry`]. Each filled entry counts as one look-up of its node, so the
    /// adapter calls [`FileSystem::forget`] for those it could not deliver.
    pub plus: bool,
}

/// Everything a mount can be asked. One implementation is the mount table; adapters decode a protocol and
/// call it, tests call it directly.
///
/// Every call ends by `ctx.deadline` at the latest, with `timed-out` if need be. All operations that change something
/// are refused by the adapter with `read-only` in this version.
///
/// # Cancellation safety
/// Dropping a future loses its answer and nothing else, except that a node counted as looked up, or a handle
/// opened, by a dropped call is never given back; adapters run each call to its end.
pub trait FileSystem: Send + Sync + 'static {
    /// Finds a name in a directory and counts one look-up of the node.
    ///
    /// # Errors
    /// `not-found`, `not-directory`, `stale`, or what the mount's provider says.
    fn lookup<'a>(
        &'a self,
        ctx: RequestCtx,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Entry, Error>>;

    /// Takes back `count` look-ups; at zero the node may go. Unknown numbers are ignored.
    fn forget(&self, ino: Ino, count: u64);

    /// Attributes of a node the kernel knows. They never change during the life of a file's node, unless its bytes may change too.
    fn getattr(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Entry, Error>>;

    /// Target of a symbolic link: bytes, as they are. `invalid` for what is none.
    fn readlink(&self, _ctx: RequestCtx, _ino: Ino) -> BoxFuture<'_, Result<Bytes, Error>> {
        let message = "this file system has no symbolic links";
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Invalid, Blame::Caller, message))))
    }

    /// Opens a file for reading. `stale` when the name stands for another version by now: the kernel then
    /// looks the name up again.
    fn open(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenFile, Error>>;

    /// Bytes of an open file; fewer than wanted only at its end. They come as one contiguous piece.
    fn read(&self, ctx: RequestCtx, fh: Fh, wanted: ReadRequest) -> BoxFuture<'_, Result<ReadData, Error>>;

    /// As [`read`](Self::read), for one who takes bytes out of a pipe too: those of a sequential reader then need not be copied on their way
    /// through this process.
    fn read_piped(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        wanted: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadAnswer, Error>> {
        Box::pin(async move { Ok(ReadAnswer::Memory(self.read(ctx, fh, wanted).await?)) })
    }

    /// Where data or a hole is next in an open file, at or after `offset`.
    ///
    /// # Errors
    /// `out-of-range`: at or beyond the end, or no data up to there; `unsupported`: it knows nothing of holes, and all is data.
    fn seek(
        &self,
        _ctx: RequestCtx,
        _fh: Fh,
        _offset: u64,
        _what: Seek,
    ) -> BoxFuture<'_, Result<u64, Error>> {
        let message = "this file system knows nothing of holes";
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Unsupported, Blame::Host, message))))
    }

    /// Closes a file.
    fn release(&self, fh: Fh);

    /// Opens a directory. The listing behind a handle is a snapshot in time per page, without duplicates.
    fn opendir(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>>;

    /// Entries of an open directory; empty at its end.
    fn readdir(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>>;

    /// Closes a directory.
    fn releasedir(&self, fh: Fh);

    /// Size of the file system as it is seen from a node: quotas make it differ between directories. At the root it never waits for a
    /// provider.
    fn statfs(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<FsStats, Error>>;

    /// Value of an extended attribute; `no-attribute` if there is none.
    fn getxattr<'a>(
        &'a self,
        ctx: RequestCtx,
        ino: Ino,
        name: &'a [u8],
    ) -> BoxFuture<'a, Result<Bytes, Error>>;

    /// Names of the extended attributes.
    fn listxattr(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>>;

    /// The kernel's side is there from now on. Called once, before the first request.
    fn mounted(&self, _kernel: Arc<dyn KernelPages>) {}

    /// The path of a node the kernel knows, below the mount point and without a leading slash, for people to read. From
    /// memory, at once.
    fn path(&self, _ino: Ino) -> Option<String> {
        None
    }
}
