//! The trait an author implements for a file system.

use crate::files::{
    AttributesAnswer, Context, DirectoryPage, Forgotten, Handle, Node, OpenFlags, Opened, Place, Resolution,
    SeekTarget, Statistics,
};
use crate::{Body, Description, Error, Info, Mount, Result, SavedState};
use std::future::Future;

/// Number of the root directory of every [`FileStore`].
pub const ROOT: Node = 1;

/// A file system of its own, with directories and permissions, and perhaps with other clients: CephFS, NFS, HDFS. Read only, for now: what
/// would change something is answered `read-only` without asking the author.
///
/// The host shows the nodes as they are, and caches what the answers allow: [`Validity`](crate::files::Validity) of names and attributes,
/// [`CachePolicy`](crate::files::CachePolicy) of open files and directories. A store that allows more than time alone justifies says
/// [`Coherence::Pushed`](crate::Coherence::Pushed), and takes it back with [`notify::invalidate`](crate::notify::invalidate) before anybody
/// else's change becomes visible.
///
/// Nodes are numbers of the author's choice but 0, the root is [`ROOT`]. Every [`Entry`](crate::files::Entry) that is returned is one
/// reference more, which [`forget`](Self::forget) takes away again. Handles are numbers too; one that is not open is `stale`. Names are bytes, and
/// never empty, `.` or `..`.
///
/// Calls interleave at their awaits in one thread, so `RefCell` and `Rc` are fine, but hold no `RefCell` borrow over an await.
///
/// Implement the functions as `async fn`. What has a default below is for what not every store has; what is optional is not called at all unless
/// [`FileCapabilities`](crate::FileCapabilities) promises it.
///
/// ```
/// use wasmount_sdk::files::{
///     Attributes, AttributesAnswer, CachePolicy, Context, DirectoryEntry, DirectoryPage, Entry, Handle, Node,
///     NodeKind, OpenFlags, Opened, Place, ROOT, Resolution, Validity,
/// };
/// use wasmount_sdk::*;
///
/// /// A directory with one file.
/// struct Motd(&'static [u8]);
///
/// const FILE: Node = 2;
///
/// impl Motd {
///     fn attributes(&self, node: Node) -> Attributes {
///         match node {
///             ROOT => Attributes::new(ROOT, NodeKind::Directory, 0o755),
///             _ => Attributes { size: self.0.len() as u64, ..Attributes::new(FILE, NodeKind::Regular, 0o644) },
///         }
///     }
///
///     fn entry(&self) -> Entry {
///         Entry { node: FILE, generation: 0, attributes: self.attributes(FILE), validity: Validity::seconds(60) }
///     }
/// }
///
/// impl FileStore for Motd {
///     fn describe() -> Description {
///         Description::new("motd", "0.1.0", "One file").scheme("motd")
///     }
///
///     async fn open(_: Mount) -> Result<(Self, Info)> {
///         Ok((Self(b"hello\n"), Info::new("motd", "one file", FileCapabilities::read_only())))
///     }
///
///     async fn resolve(&self, _: Context, at: Place) -> Result<Resolution> {
///         Ok(if at.name == b"motd" { Resolution::Found(self.entry()) } else { Resolution::Absent(1000) })
///     }
///
///     async fn get_attributes(&self, _: Context, node: Node, _: Option<Handle>) -> Result<AttributesAnswer> {
///         Ok(AttributesAnswer { attributes: self.attributes(node), attributes_ms: 60_000 })
///     }
///
///     async fn open_file(&self, _: Context, node: Node, _: OpenFlags) -> Result<Opened> {
///         Ok(Opened { handle: node, cache: CachePolicy::KEEP })
///     }
///
///     async fn read(&self, _: Handle, offset: u64, length: u32) -> Result<Body> {
///         let rest = self.0.get(offset as usize..).unwrap_or_default();
///         Body::assemble(vec![Piece::Buffer(Buffer::create(&rest[..rest.len().min(length as usize)])?)])
///     }
///
///     async fn open_directory(&self, _: Context, node: Node) -> Result<Opened> {
///         Ok(Opened { handle: node, cache: CachePolicy::KEEP })
///     }
///
///     async fn read_directory(&self, _: Context, _: Handle, cookie: u64, _: u32, _: bool) -> Result<DirectoryPage> {
///         let motd = DirectoryEntry {
///             name: b"motd".to_vec(),
///             inode: FILE,
///             kind: Some(NodeKind::Regular),
///             cookie: 1,
///             entry: None,
///         };
///         Ok(DirectoryPage { entries: if cookie == 0 { vec![motd] } else { vec![] }, end: true })
///     }
/// }
///
/// export_file_store!(Motd);
/// # fn main() {}
/// ```
pub trait FileStore: Sized + 'static {
    /// Who this plugin is and which options it takes. Constant, and made without calling the host: no log, no clock.
    fn describe() -> Description;

    /// Opens a mount: reads the options, connects, and says what it can do. One instance serves one mount.
    ///
    /// # Errors
    /// Fail now, with a sentence that names the option to change, rather than at the first look-up. `invalid`: options;
    /// `unauthenticated`, `denied`, `not-found`; after `unavailable` and `timed-out` the host tries again.
    fn open(mount: Mount) -> impl Future<Output = Result<(Self, Info)>>;

    /// Follows one name. One that does not exist is [`Resolution::Absent`], not an error.
    ///
    /// # Errors
    /// `not-directory`, `denied`, `name-too-long`; `stale`: the directory is gone for good.
    fn resolve(&self, context: Context, at: Place) -> impl Future<Output = Result<Resolution>>;

    /// Attributes now; through a handle where the kernel has one.
    ///
    /// # Errors
    /// `stale`: the node is gone for good, or this instance does not know the number.
    fn get_attributes(
        &self,
        context: Context,
        node: Node,
        handle: Option<Handle>,
    ) -> impl Future<Output = Result<AttributesAnswer>>;

    /// Opens a file.
    ///
    /// # Errors
    /// `denied`; `read-only`: for writing; `stale`.
    fn open_file(&self, context: Context, node: Node, how: OpenFlags)
    -> impl Future<Output = Result<Opened>>;

    /// Bytes of an open file: fewer than asked for only at its end, none at or beyond it. Return buffers and
    /// [`Piece::Zeros`](crate::Piece::Zeros) put together with [`Body::assemble`]: payload then never enters the sandbox, and holes cost
    /// nothing.
    ///
    /// # Errors
    /// `stale`: the handle.
    fn read(&self, handle: Handle, offset: u64, length: u32) -> impl Future<Output = Result<Body>>;

    /// Opens a directory for listing.
    ///
    /// # Errors
    /// `not-directory`, `denied`, `stale`.
    fn open_directory(&self, context: Context, node: Node) -> impl Future<Output = Result<Opened>>;

    /// At most `limit` entries after `cookie` (0: from the start); each that exists throughout exactly once. A page without entries ends the
    /// listing, as `end` does. `with_attributes` asks for [`DirectoryEntry::entry`](crate::files::DirectoryEntry::entry), if
    /// [`FileOperations::DIRECTORY_ATTRIBUTES`](crate::FileOperations::DIRECTORY_ATTRIBUTES) is promised.
    ///
    /// # Errors
    /// `stale`: the handle.
    fn read_directory(
        &self,
        context: Context,
        handle: Handle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> impl Future<Output = Result<DirectoryPage>>;

    /// Takes references back. More than were given is no mistake: after a trap, the host forgets what the instance before had
    /// given. By default nothing is counted.
    fn forget(&self, nodes: Vec<Forgotten>) -> impl Future<Output = ()> {
        async { drop(nodes) }
    }

    /// The last reference to an open file is gone. By default there is nothing to give back.
    fn release(&self, handle: Handle) -> impl Future<Output = ()> {
        let _ = handle;
        std::future::ready(())
    }

    /// Ends a listing. By default there is nothing to give back.
    fn release_directory(&self, handle: Handle) -> impl Future<Output = ()> {
        let _ = handle;
        std::future::ready(())
    }

    /// Target of a symlink: bytes, not resolved, not checked. Called if [`FileOperations::SYMLINKS`](crate::FileOperations::SYMLINKS) is
    /// promised.
    ///
    /// # Errors
    /// `invalid`: it is no symlink; `stale`.
    fn read_link(&self, context: Context, node: Node) -> impl Future<Output = Result<Vec<u8>>> {
        async move { refuse("read-link", (context, node)) }
    }

    /// Next data or hole at or after `offset`. Called if [`FileOperations::SEEK_DATA`](crate::FileOperations::SEEK_DATA) is promised.
    ///
    /// # Errors
    /// `out-of-range`: at or beyond the end, or no more data; `stale`: the handle.
    fn seek_data(
        &self,
        handle: Handle,
        offset: u64,
        target: SeekTarget,
    ) -> impl Future<Output = Result<u64>> {
        async move { refuse("seek-data", (handle, offset, target)) }
    }

    /// An extended attribute. Called, as the next one, if
    /// [`FileOperations::EXTENDED_ATTRIBUTES`](crate::FileOperations::EXTENDED_ATTRIBUTES) is promised.
    ///
    /// # Errors
    /// `no-attribute`, `denied`, `stale`.
    fn get_xattr(
        &self,
        context: Context,
        node: Node,
        name: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>>> {
        async move { refuse("get-xattr", (context, node, name)) }
    }

    /// Names of all extended attributes.
    ///
    /// # Errors
    /// `denied`, `stale`.
    fn list_xattrs(&self, context: Context, node: Node) -> impl Future<Output = Result<Vec<Vec<u8>>>> {
        async move { refuse("list-xattrs", (context, node)) }
    }

    /// Space and limits, as `statvfs` shows them at this node. By default all are 0: nobody knows.
    ///
    /// # Errors
    /// `stale`.
    fn get_statistics(&self, node: Node) -> impl Future<Output = Result<Statistics>> {
        let _ = node;
        std::future::ready(Ok(Statistics::unknown()))
    }

    /// A cheap request that proves that the store answers and the credentials hold. By default the attributes of the root, which proves
    /// nothing if they are remembered.
    ///
    /// # Errors
    /// Those of [`get_attributes`](Self::get_attributes).
    fn check(&self) -> impl Future<Output = Result<()>> {
        async { self.get_attributes(Context::of_the_host(), ROOT, None).await.map(drop) }
    }

    /// State for the instance that will replace this one, given to it as [`Mount::resume`]: the host goes on using node numbers and
    /// handles. By default there is none.
    ///
    /// Not called yet by the host, which opens each instance without state.
    ///
    /// # Errors
    /// What made it impossible; the host then opens the next instance without state.
    fn export_state(&self) -> impl Future<Output = Result<Option<SavedState>>> {
        async { Ok(None) }
    }

    /// Gives sessions and locks back. No call follows. By default there is nothing to give back.
    ///
    /// # Errors
    /// What is left behind.
    fn close(&self) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }
}

/// The answer of a store that cannot do this; drops what it was given.
fn refuse<T, A>(what: &str, arguments: A) -> Result<T> {
    drop(arguments);
    Err(Error::unsupported(format!("this plugin cannot do this: {what}")))
}
