//! The read half of a file system: what a provider of kind `files` implements (`wit/files.wit`, `wit/notify.wit`).

use super::{Body, BoxFuture};
use crate::fs::Seek;
use bytes::Bytes;
use std::sync::Arc;
use wasmount_types::{ByteRange, Error, FileKind, Name, RequestCtx, Timestamp};

/// Number of a node, chosen by the provider. Stays valid while there are references to it, also when what serves the store is started
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeNumber(pub u64);

impl NodeNumber {
    /// The root of the store.
    pub const ROOT: Self = Self(1);
}

/// An open file or directory of a store. No two that one [`FileStore`] gives out are equal, also when what serves it is started
/// again in between: the older ones are `stale` then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreHandle(pub u64);

/// How what is kept of a store stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coherence {
    /// Only by time: [`Validity`] says how old an answer may be, and opening a file looks again.
    Timed,
    /// [`FileEvents::invalidate`] is called before a change of somebody else becomes visible.
    Pushed,
}

/// What an open file store can do; a promise that holds until it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCapabilities {
    /// How what is kept stays true.
    pub coherence: Coherence,
    /// [`FileStore::read_directory`] can return attributes with the names.
    pub directory_attributes: bool,
    /// [`FileStore::get_xattr`] and [`FileStore::list_xattrs`] work.
    pub xattrs: bool,
    /// [`FileStore::seek`] works.
    pub seek: bool,
    /// Largest single read in bytes; at least 1.
    pub max_read: u32,
    /// Longest name in bytes.
    pub max_name: u32,
}

/// Attributes of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAttributes {
    /// Number shown to applications; unique in the store. May differ from the [`NodeNumber`].
    pub inode: u64,
    /// What it is. Never changes.
    pub kind: FileKind,
    /// Permission, setuid, setgid and sticky bits: the low 12 bits of `st_mode`.
    pub mode: u16,
    /// Number of names.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of devices (`makedev(3)`), otherwise 0.
    pub device: u64,
    /// Size in bytes. Of a symbolic link, the length of its target.
    pub size: u64,
    /// Bytes it really takes.
    pub allocated: u64,
    /// Best size of a read in bytes; 0: the usual one.
    pub block_size: u32,
    /// Last read, if the store keeps it; else the same as `modified`.
    pub accessed: Timestamp,
    /// Last change of the content.
    pub modified: Timestamp,
    /// Last change of attributes or content.
    pub changed: Timestamp,
    /// Different after each change of the content, if the store has such a number. What is kept of a file's content is kept
    /// as long as it stays the same.
    pub data_version: Option<u64>,
}

/// How long an answer may be believed, in milliseconds. [`Validity::FOREVER`] is until [`FileEvents::invalidate`] says otherwise, and needs
/// [`Coherence::Pushed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The attributes.
    pub attributes_ms: u32,
    /// That the name leads to this node.
    pub entry_ms: u32,
}

impl Validity {
    /// Until invalidated.
    pub const FOREVER: u32 = u32::MAX;
}

/// A name resolved. Adds one reference to its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The node.
    pub node: NodeNumber,
    /// Distinguishes nodes that had the same number at different times.
    pub generation: u64,
    /// Its attributes.
    pub attributes: FileAttributes,
    /// How long this holds.
    pub validity: Validity,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// There is such a name.
    Found(FileEntry),
    /// There is none, and that may be remembered for so many milliseconds, as in [`Validity`].
    Absent(u32),
}

/// Attributes and how many milliseconds they hold, as in [`Validity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributesAnswer {
    /// The attributes.
    pub attributes: FileAttributes,
    /// How long they hold.
    pub attributes_ms: u32,
}

/// What may be kept of an open file's or directory's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// What is kept from before this open is still true, and what is read may be kept until invalidated.
    pub keep: bool,
    /// Nothing may be kept: others write it now.
    pub bypass: bool,
    /// Its bytes never change: a snapshot.
    pub immutable: bool,
}

/// An open file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its handle.
    pub handle: StoreHandle,
    /// What may be kept.
    pub cache: CachePolicy,
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDirEntry {
    /// Its name, never `.` or `..`.
    pub name: Name,
    /// [`FileAttributes::inode`].
    pub inode: u64,
    /// What it is, if the directory says so.
    pub kind: Option<FileKind>,
    /// Position *after* this entry, any number but 0, stable until the directory is released.
    pub cookie: u64,
    /// With attributes, if they were asked for and cost no further request. Adds a reference to its node.
    pub entry: Option<FileEntry>,
}

/// Part of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryPage {
    /// Entries in the order of their cookies.
    pub entries: Vec<FileDirEntry>,
    /// There are no more.
    pub end: bool,
}

/// Space and limits, as `statvfs(3)` shows them, sizes in blocks of `block_size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatistics {
    /// Unit of the block counts.
    pub block_size: u32,
    /// All blocks: of the quota if there is one, else of the store.
    pub blocks: u64,
    /// Free for root.
    pub blocks_free: u64,
    /// Free for users.
    pub blocks_available: u64,
    /// All inodes, 0 if there is no such limit.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// What is no longer true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Attributes, extended attributes and permissions of a node.
    Attributes(NodeNumber),
    /// Bytes of a file; `None`: all of them.
    Data(NodeNumber, Option<ByteRange>),
    /// One entry of a directory, or its absence.
    Entry(NodeNumber, Name),
    /// All entries of a directory, and its listing.
    Directory(NodeNumber),
    /// Everything: nobody knows what happened meanwhile.
    Everything,
}

/// Told by a store what others have changed, or are about to.
pub trait FileEvents: Send + Sync + 'static {
    /// Makes host and kernel forget these things. When it returns, nobody sees them any more but through the store.
    ///
    /// What the store has to do meanwhile: go on answering as if nothing had changed, bytes included, and never make an answer wait for
    /// this call; and from the moment of this call until it has taken note of its end, allow nothing about these items to be kept
    /// ([`Validity`] of 0, no [`CachePolicy::keep`]). A whole file is forgotten whatever range is named.
    ///
    /// # Errors
    /// `timed-out`: the kernel did not let go in time.
    ///
    /// # Cancellation safety
    /// Dropping the future changes nothing: what was begun is brought to its end.
    fn invalidate(&self, items: Vec<Invalidation>) -> BoxFuture<'static, Result<(), Error>>;

    /// Asks to drop about so many nodes that are kept only for speed; [`FileStore::forget`] follows. Returns at once.
    fn shrink(&self, nodes: u64);
}

/// An open file system of its own: nodes, directories, permissions, and perhaps other clients.
///
/// Every call ends by `ctx.deadline`, with `timed-out` if need be. Calls may be dropped at any time; a reference or a handle that such a
/// call would have brought is given back by the store.
///
/// When what serves the store is started again, [`FileEvents::invalidate`] is called with [`Invalidation::Everything`] before anything is
/// answered from the new one, which need not be awaited: until it returns, nothing that is answered is kept. Handles are `stale` from then on, node numbers are not.
pub trait FileStore: Send + Sync + 'static {
    /// What it can do.
    fn capabilities(&self) -> FileCapabilities;

    /// From now on `events` is told what changes. Called once, before anything else.
    fn subscribe(&self, events: Arc<dyn FileEvents>);

    /// Follows one name. `not-directory`. A name that does not exist is no error.
    fn resolve(
        &self,
        ctx: RequestCtx,
        parent: NodeNumber,
        name: Name,
    ) -> BoxFuture<'_, Result<Resolution, Error>>;

    /// Gives references back, in batches. Returns at once.
    fn forget(&self, nodes: Vec<(NodeNumber, u64)>);

    /// Attributes now, through a handle if there is one.
    fn attributes(
        &self,
        ctx: RequestCtx,
        node: NodeNumber,
        handle: Option<StoreHandle>,
    ) -> BoxFuture<'_, Result<AttributesAnswer, Error>>;

    /// Target of a symbolic link.
    fn read_link(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Bytes, Error>>;

    /// Opens a file for reading. `keep`: what is read through it the kernel will keep, so [`CachePolicy::keep`] is to be had if it can be, also from others who
    /// write the file and have to be asked to let go of it. It may be taken back as soon as it is given. Without `keep` nobody is asked to let go.
    fn open(&self, ctx: RequestCtx, node: NodeNumber, keep: bool) -> BoxFuture<'_, Result<Opened, Error>>;

    /// Bytes from `offset`, at most [`FileCapabilities::max_read`]; fewer than `length` only at the end of the file, none beyond it.
    ///
    /// # Errors
    /// `stale`: this handle.
    fn read(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        offset: u64,
        length: u32,
    ) -> BoxFuture<'_, Result<Box<dyn Body>, Error>>;

    /// Closes a file. Returns at once.
    fn release(&self, handle: StoreHandle);

    /// Next data or hole at or after `offset`. Only with the capability.
    ///
    /// # Errors
    /// `out-of-range`: at or beyond the end, or no more data; `stale`: this handle.
    fn seek(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        offset: u64,
        what: Seek,
    ) -> BoxFuture<'_, Result<u64, Error>>;

    /// Opens a directory for listing.
    fn open_directory(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Opened, Error>>;

    /// Entries after `cookie` (0: from the start), at most `limit`. `with_attributes` asks for [`FileDirEntry::entry`].
    ///
    /// # Errors
    /// `stale`: this handle.
    fn read_directory(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> BoxFuture<'_, Result<DirectoryPage, Error>>;

    /// Ends a listing. Returns at once.
    fn release_directory(&self, handle: StoreHandle);

    /// Value of an extended attribute. Only with the capability. `no-attribute`.
    fn get_xattr(
        &self,
        ctx: RequestCtx,
        node: NodeNumber,
        name: Vec<u8>,
    ) -> BoxFuture<'_, Result<Bytes, Error>>;

    /// Names of all extended attributes. Only with the capability.
    fn list_xattrs(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>>;

    /// Space and limits at a node.
    fn statistics(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<FileStatistics, Error>>;
}
