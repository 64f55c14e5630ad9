//! A file system in which every name says how it misbehaves. The sandbox's tests look them up.
//!
//! All names below the root lead somewhere: `list-…` to a directory, `link-…` to a symlink, all others to a file. Those that are not known here
//! behave.

use std::cell::RefCell;
use wasmount_sdk::files::{
    Attributes, AttributesAnswer, CachePolicy, Context, DirectoryEntry, DirectoryPage, Entry, Forgotten,
    Handle, Node, NodeKind, OpenFlags, Opened, Place, ROOT, Resolution, SeekTarget, Statistics, Validity,
};
use wasmount_sdk::notify::{self, Invalidation};
use wasmount_sdk::*;

/// Size of every honest file.
const SIZE: u64 = 1 << 20;

/// Names that were looked up: a node is a place in it, and two.
struct Tree(RefCell<Vec<Vec<u8>>>);

impl Tree {
    fn node(&self, name: &[u8]) -> Node {
        let mut names = self.0.borrow_mut();
        let known = names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        });
        index as Node + 2
    }

    fn name(&self, node: Node) -> Result<Vec<u8>> {
        let index = node.checked_sub(2).and_then(|index| usize::try_from(index).ok());
        let name = index.and_then(|index| self.0.borrow().get(index).cloned());
        name.ok_or_else(|| Error::stale(format!("there is no node {node}")))
    }

    fn attributes(&self, node: Node, name: &[u8]) -> Attributes {
        let (kind, size) = match name {
            _ if name.starts_with(b"list-") => (NodeKind::Directory, 0),
            _ if name.starts_with(b"link-") => (NodeKind::Symlink, 4),
            _ => (NodeKind::Regular, SIZE),
        };
        let mut attributes = Attributes { size, ..Attributes::new(node, kind, 0o644) };
        match name {
            b"inode-zero" => attributes.inode = 0,
            b"mode" => attributes.mode = 0o10_0644,
            b"size" => attributes.size = u64::MAX,
            b"time" => attributes.modified.nanoseconds = 2_000_000_000,
            _ => {}
        }
        attributes
    }
}

/// The misdeed of a listing.
fn page(name: &[u8], cookie: u64, limit: u32) -> Vec<DirectoryEntry> {
    let entry =
        |name: &[u8], cookie| DirectoryEntry { name: name.into(), inode: 9, kind: None, cookie, entry: None };
    match name {
        b"list-slash" => vec![entry(b"a/../../b", 1)],
        b"list-dots" => vec![entry(b"..", 1)],
        b"list-nul" => vec![entry(b"a\0", 1)],
        b"list-empty" => vec![entry(b"", 1)],
        b"list-long" => vec![entry(&[b'n'; 256], 1)],
        b"list-zero-cookie" => vec![entry(b"a", 0)],
        b"list-same-cookie" => vec![entry(b"a", cookie)],
        b"list-too-many" => (1..=u64::from(limit) + 1).map(|at| entry(b"a", at)).collect(),
        b"list-endless" => (cookie + 1..=cookie + u64::from(limit)).map(|at| entry(b"a", at)).collect(),
        b"list-huge" => (1..=u64::from(limit)).map(|at| entry(&vec![b'n'; 1 << 20], at)).collect(),
        _ if cookie == 0 => vec![entry(b"honest", 1)],
        _ => vec![],
    }
}

impl FileStore for Tree {
    fn describe() -> Description {
        let options = Options::new().boolean("timed", "Promise no invalidations.").default_value("false");
        Description::new("hostile-tree", "0.0.0", "Misbehaves on request")
            .scheme("hostile-tree")
            .options(options)
    }

    async fn open(mount: Mount) -> Result<(Self, Info)> {
        let operations = FileOperations::SYMLINKS
            | FileOperations::EXTENDED_ATTRIBUTES
            | FileOperations::SEEK_DATA
            | FileOperations::DIRECTORY_ATTRIBUTES;
        let coherence = if mount.settings.boolean("timed")? { Coherence::Timed } else { Coherence::Pushed };
        let capabilities = FileCapabilities { operations, coherence, ..FileCapabilities::read_only() };
        Ok((Self(RefCell::default()), Info::new("hostile-tree", "misdeeds", capabilities)))
    }

    async fn resolve(&self, _: Context, at: Place) -> Result<Resolution> {
        match &*at.name {
            b"flood" => {
                // All of them at once, and a list that is too long by one.
                let items = |count| vec![Invalidation::Everything; count];
                let one = notify::invalidate(items(notify::MOST_ITEMS + 1)).await;
                let many = join_all((0..100).map(|_| notify::invalidate(items(notify::MOST_ITEMS)))).await;
                let kinds = std::iter::once(one).chain(many).map(|end| end.err().map(|error| error.kind));
                let refused = kinds.filter(|kind| *kind == Some(ErrorKind::TooLarge)).count();
                return Err(Error::other(format!("{refused} of 101 invalidations were refused")));
            }
            b"nonsense" => {
                let end = notify::invalidate(vec![notify::of_entry(0, "a")]).await;
                return Err(Error::other(format!("{:?}", end.err().map(|error| error.kind))));
            }
            b"for-ever" => return Ok(Resolution::Absent(u32::MAX)),
            _ => {}
        }
        let node = self.node(&at.name);
        let attributes = self.attributes(node, &at.name);
        let node = if at.name == b"node-zero" { 0 } else { node };
        Ok(Resolution::Found(Entry { node, generation: 0, attributes, validity: Validity::none() }))
    }

    async fn forget(&self, nodes: Vec<Forgotten>) {
        for forgotten in nodes {
            match self.name(forgotten.node).as_deref() {
                Ok(b"trap-when-forgotten") => panic!("it was forgotten"),
                Ok(b"hang-when-forgotten") => std::future::pending().await,
                _ => {}
            }
        }
    }

    async fn get_attributes(&self, _: Context, node: Node, _: Option<Handle>) -> Result<AttributesAnswer> {
        let attributes = match node {
            ROOT => Attributes::new(ROOT, NodeKind::Directory, 0o755),
            node => self.attributes(node, &self.name(node)?),
        };
        Ok(AttributesAnswer { attributes, attributes_ms: 0 })
    }

    async fn read_link(&self, _: Context, node: Node) -> Result<Vec<u8>> {
        Ok(match &*self.name(node)? {
            b"link-empty" => vec![],
            b"link-nul" => b"a\0b".into(),
            b"link-long" => vec![b'x'; 4096],
            _ => b"good".into(),
        })
    }

    async fn open_file(&self, _: Context, node: Node, _: OpenFlags) -> Result<Opened> {
        let cache = match &*self.name(node)? {
            b"policy" => CachePolicy::BYPASS | CachePolicy::IMMUTABLE,
            _ => CachePolicy::empty(),
        };
        // Whoever opens a file gets the same handle.
        Ok(Opened { handle: node, cache })
    }

    async fn read(&self, handle: Handle, _: u64, length: u32) -> Result<Body> {
        let length = u64::from(length);
        Body::assemble(vec![Piece::Zeros(match &*self.name(handle)? {
            b"long" => length + 1,
            b"endless" => u64::MAX / 2,
            _ => length,
        })])
    }

    async fn seek_data(&self, handle: Handle, offset: u64, _: SeekTarget) -> Result<u64> {
        Ok(if self.name(handle)? == b"seek-back" { offset.saturating_sub(1) } else { offset })
    }

    async fn open_directory(&self, _: Context, node: Node) -> Result<Opened> {
        Ok(Opened { handle: node, cache: CachePolicy::empty() })
    }

    async fn read_directory(
        &self,
        _: Context,
        handle: Handle,
        cookie: u64,
        limit: u32,
        _: bool,
    ) -> Result<DirectoryPage> {
        let name = if handle == ROOT { b"root".to_vec() } else { self.name(handle)? };
        Ok(DirectoryPage { entries: page(&name, cookie, limit), end: false })
    }

    async fn get_xattr(&self, _: Context, _: Node, name: Vec<u8>) -> Result<Vec<u8>> {
        Ok(if name == b"user.long" { vec![0; 65537] } else { b"good".into() })
    }

    async fn list_xattrs(&self, _: Context, node: Node) -> Result<Vec<Vec<u8>>> {
        Ok(match &*self.name(node)? {
            b"xattr-nul" => vec![b"user.\0".into()],
            b"xattr-many" => vec![vec![b'n'; 200]; 400],
            _ => vec![b"user.good".into()],
        })
    }

    async fn get_statistics(&self, node: Node) -> Result<Statistics> {
        self.name(node)?;
        Ok(Statistics { block_size: 0, ..Statistics::unknown() })
    }
}

export_file_store!(Tree);
