//! The nodes: what is where, and what it holds.

use std::collections::BTreeMap;
use wasmount_sdk::files::{Attributes, Node, NodeKind, ROOT};
use wasmount_sdk::{Error, ErrorKind, Result, Timestamp};

/// What a node holds.
pub(crate) enum Content {
    /// Names.
    Directory(BTreeMap<Vec<u8>, Node>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// As many bytes, each computed from where it is, with a hole.
    Computed(u64),
    /// A target.
    Symlink(Vec<u8>),
    /// A fifo, socket or device, with its number.
    Special(NodeKind, u64),
}

/// How a file may be cached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Until it is invalidated.
    Kept,
    /// As `Kept`, and each read takes its time.
    Slow,
    /// Not at all: its bytes are the number of reads so far.
    Bypass,
    /// For ever.
    Frozen,
}

/// A node.
pub(crate) struct Inode {
    pub(crate) content: Content,
    pub(crate) mode: u16,
    pub(crate) owner: (u32, u32),
    pub(crate) links: u32,
    pub(crate) policy: Policy,
    /// Changes of it so far.
    pub(crate) version: u64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Where the hole of computed bytes is.
pub(crate) const HOLE: std::ops::Range<u64> = 1 << 20..3 << 20;

/// Length of what a file with [`Policy::Bypass`] says.
pub(crate) const LIVE: u64 = 9;

impl Inode {
    fn new(content: Content, mode: u16) -> Self {
        let links = if matches!(content, Content::Directory(_)) { 2 } else { 1 };
        let (owner, policy, xattrs) = ((0, 0), Policy::Kept, BTreeMap::new());
        Self { content, mode, owner, links, policy, version: 0, xattrs }
    }

    pub(crate) fn kind(&self) -> NodeKind {
        match &self.content {
            Content::Directory(_) => NodeKind::Directory,
            Content::Bytes(_) | Content::Computed(_) => NodeKind::Regular,
            Content::Symlink(_) => NodeKind::Symlink,
            Content::Special(kind, _) => *kind,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match &self.content {
            Content::Bytes(_) if self.policy == Policy::Bypass => LIVE,
            Content::Bytes(bytes) | Content::Symlink(bytes) => bytes.len() as u64,
            Content::Computed(size) => *size,
            Content::Directory(_) | Content::Special(..) => 0,
        }
    }

    pub(crate) fn attributes(&self, node: Node) -> Attributes {
        let size = self.size();
        // Each change is a second later than the one before.
        let written = Timestamp { seconds: 1_000_000_000 + self.version as i64, nanoseconds: 5 };
        let hole = if matches!(self.content, Content::Computed(_)) { HOLE.end - HOLE.start } else { 0 };
        Attributes {
            links: self.links,
            uid: self.owner.0,
            gid: self.owner.1,
            device: if let Content::Special(_, device) = self.content { device } else { 0 },
            size,
            allocated: (size - hole).next_multiple_of(4096),
            block_size: 4096,
            accessed: written,
            modified: written,
            changed: written,
            data_version: (self.policy != Policy::Bypass).then_some(self.version),
            ..Attributes::new(node, self.kind(), self.mode)
        }
    }
}

/// All nodes. Their numbers are the same in each instance.
pub(crate) struct Tree {
    inodes: BTreeMap<Node, Inode>,
    last: Node,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Inode::new(Content::Directory(BTreeMap::new()), 0o755);
        Self { inodes: BTreeMap::from([(ROOT, root)]), last: ROOT }
    }

    pub(crate) fn get(&self, node: Node) -> Result<&Inode> {
        self.inodes.get(&node).ok_or_else(|| Error::stale(format!("there is no node {node}")))
    }

    pub(crate) fn get_mut(&mut self, node: Node) -> Result<&mut Inode> {
        self.inodes.get_mut(&node).ok_or_else(|| Error::stale(format!("there is no node {node}")))
    }

    pub(crate) fn names(&self, node: Node) -> Result<&BTreeMap<Vec<u8>, Node>> {
        match &self.get(node)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Error::new(ErrorKind::NotDirectory, format!("node {node} is not a directory"))),
        }
    }

    fn names_mut(&mut self, node: Node) -> Result<&mut BTreeMap<Vec<u8>, Node>> {
        match &mut self.get_mut(node)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Error::new(ErrorKind::NotDirectory, format!("node {node} is not a directory"))),
        }
    }

    /// A new node with a name.
    pub(crate) fn add(&mut self, parent: Node, name: &[u8], content: Content, mode: u16) -> Result<Node> {
        self.last += 1;
        let node = self.last;
        let inode = Inode::new(content, mode);
        if inode.kind() == NodeKind::Directory {
            self.get_mut(parent)?.links += 1;
        }
        self.names_mut(parent)?.insert(name.into(), node);
        self.inodes.insert(node, inode);
        Ok(node)
    }

    /// A new empty directory.
    pub(crate) fn directory(&mut self, parent: Node, name: &str) -> Result<Node> {
        self.add(parent, name.as_bytes(), Content::Directory(BTreeMap::new()), 0o755)
    }

    /// A new file.
    pub(crate) fn file(&mut self, parent: Node, name: &str, bytes: &[u8], policy: Policy) -> Result<Node> {
        let node = self.add(parent, name.as_bytes(), Content::Bytes(bytes.into()), 0o644)?;
        self.get_mut(node)?.policy = policy;
        Ok(node)
    }

    /// One more name for a node.
    pub(crate) fn link(&mut self, parent: Node, name: &str, node: Node) -> Result<()> {
        self.get_mut(node)?.links += 1;
        self.names_mut(parent)?.insert(name.as_bytes().into(), node);
        Ok(())
    }

    /// Another name for the only entry of a directory.
    pub(crate) fn rename(&mut self, parent: Node, to: &str) -> Result<()> {
        let names = self.names_mut(parent)?;
        if let Some((_, node)) = names.pop_first() {
            names.insert(to.as_bytes().into(), node);
        }
        self.get_mut(parent)?.version += 1;
        Ok(())
    }

    /// Other bytes for a file.
    pub(crate) fn write(&mut self, node: Node, bytes: Vec<u8>) -> Result<()> {
        let inode = self.get_mut(node)?;
        inode.content = Content::Bytes(bytes);
        inode.version += 1;
        Ok(())
    }
}

/// The bytes of a computed file in a range without hole.
pub(crate) fn computed(from: u64, to: u64) -> Vec<u8> {
    let byte = |at: u64| (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[(at % 8) as usize];
    (from..to).map(byte).collect()
}

/// The bytes of a version of a file that changes: some pages full of its number, not always as many.
pub(crate) fn lines(version: u64) -> Vec<u8> {
    let count = 1500 + version % 3 * 400;
    format!("{version:07}\n").repeat(count as usize).into_bytes()
}
