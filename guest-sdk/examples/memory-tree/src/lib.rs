//! A file system in memory: what a file system is made of, without a storage system behind it.
//!
//! It has files of every kind, and some that change, as other clients of a server would change them: nothing changes before the host
//! has forgotten what it was told about it. Looking up a name in the directory `control` makes it happen, and is answered when it has:
//! `bump` and `bump-slow` give `counter` and `slow` other bytes, `chmod` gives `counter` another mode, `rename` gives the file
//! in `moving` another name; `everything` and `shrink` send these notifications; `panic` ends the instance, after which nothing
//! has ever changed.

mod tree;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tree::{Content, HOLE, Policy, Tree, computed, lines};
use wasmount_sdk::files::{
    AttributesAnswer, CachePolicy, Context, DirectoryEntry, DirectoryPage, Entry, Forgotten, Handle, Node,
    NodeKind, OpenFlags, Opened, Place, ROOT, Resolution, SeekTarget, Statistics, UNTIL_INVALIDATED,
    Validity,
};
use wasmount_sdk::notify::{self, Invalidation};
use wasmount_sdk::*;

/// Size of the file with a hole.
const COMPUTED: u64 = 5_000_001;

/// Nodes that something happens to.
struct Living {
    control: Node,
    /// What commands are found as.
    done: Node,
    counter: Node,
    slow: Node,
    moving: Node,
}

/// The names of a directory, and where they lead.
type Names = Vec<(Vec<u8>, Node)>;

/// What is open, by numbers that begin anew with each instance.
#[derive(Default)]
struct Handles {
    last: Handle,
    files: BTreeMap<Handle, Node>,
    /// With the names as they were when it was opened.
    directories: BTreeMap<Handle, Rc<Names>>,
}

struct Inner {
    tree: RefCell<Tree>,
    living: Living,
    open: RefCell<Handles>,
    /// References that the host holds.
    references: RefCell<BTreeMap<Node, u64>>,
    /// Reads of the file that is not cached.
    reads: Cell<u64>,
    read_delay_ms: u64,
}

struct MemoryTree(Rc<Inner>);

fn plant(files: u64) -> Result<(Tree, Living)> {
    let mut tree = Tree::new();
    let hello = tree.file(ROOT, "hello.txt", b"hello, world\n", Policy::Kept)?;
    let inode = tree.get_mut(hello)?;
    inode.owner = (1000, 100);
    inode.xattrs.insert(b"user.note".into(), b"a\0b".into());
    inode.xattrs.insert(b"user.empty".into(), vec![]);
    tree.file(ROOT, "empty", b"", Policy::Kept)?;
    tree.add(ROOT, b"big.bin", Content::Computed(COMPUTED), 0o640)?;
    let program = tree.file(ROOT, "program", b"#!/bin/sh\necho it runs\n", Policy::Kept)?;
    tree.get_mut(program)?.mode = 0o4751;
    let hard = tree.directory(ROOT, "hard")?;
    let first = tree.file(hard, "first", b"two names\n", Policy::Kept)?;
    tree.link(hard, "second", first)?;
    tree.add(ROOT, b"link", Content::Symlink(b"hello.txt".into()), 0o777)?;
    tree.add(ROOT, b"dangling", Content::Symlink(b"nowhere/\xff".into()), 0o777)?;
    tree.add(ROOT, b"pipe", Content::Special(NodeKind::Fifo, 0), 0o600)?;
    tree.add(ROOT, b"socket", Content::Special(NodeKind::Socket, 0), 0o600)?;
    tree.add(ROOT, b"device", Content::Special(NodeKind::CharacterDevice, 0x103), 0o600)?;
    tree.add(ROOT, b"\xff\xfe not text", Content::Bytes(b"bytes\n".into()), 0o644)?;
    tree.file(ROOT, &"n".repeat(255), b"a long name\n", Policy::Kept)?;
    let many = tree.directory(ROOT, "many")?;
    for index in 0..files {
        tree.file(many, &format!("file-{index:05}"), format!("{index}\n").as_bytes(), Policy::Kept)?;
    }
    let deep = tree.directory(ROOT, "deep")?;
    let deeper = tree.directory(deep, "deeper")?;
    tree.file(deeper, "leaf", b"leaf\n", Policy::Kept)?;
    tree.file(ROOT, "frozen", &computed(0, 300_000), Policy::Frozen)?;
    tree.file(ROOT, "live", b"", Policy::Bypass)?;
    let moving = tree.directory(ROOT, "moving")?;
    tree.file(moving, "name-0", b"it has moved\n", Policy::Kept)?;
    let control = tree.directory(ROOT, "control")?;
    let living = Living {
        control,
        done: tree.file(ROOT, ".done", b"", Policy::Kept)?,
        counter: tree.file(ROOT, "counter", &lines(0), Policy::Kept)?,
        slow: tree.file(ROOT, "slow", &lines(0), Policy::Slow)?,
        moving,
    };
    Ok((tree, living))
}

impl Inner {
    fn entry(&self, node: Node, validity: Validity) -> Result<Entry> {
        let attributes = self.tree.borrow().get(node)?.attributes(node);
        *self.references.borrow_mut().entry(node).or_default() += 1;
        Ok(Entry { node, generation: 0, attributes, validity })
    }

    /// Gives a file its next bytes. Nobody knows the old ones any more when they are there.
    async fn bump(&self, node: Node) -> Result<()> {
        notify::invalidate(vec![notify::of_data(node), Invalidation::Attributes(node)]).await?;
        let mut tree = self.tree.borrow_mut();
        let next = tree.get(node)?.version + 1;
        tree.write(node, lines(next))
    }

    async fn rename(&self) -> Result<()> {
        let moving = self.living.moving;
        let number = self.tree.borrow().get(moving)?.version;
        let (old, new) = (format!("name-{number}"), format!("name-{}", number + 1));
        notify::invalidate(vec![
            notify::of_entry(moving, &*old),
            notify::of_entry(moving, &*new),
            Invalidation::Directory(moving),
            Invalidation::Attributes(moving),
        ])
        .await?;
        self.tree.borrow_mut().rename(moving, &new)
    }

    async fn chmod(&self) -> Result<()> {
        let counter = self.living.counter;
        notify::invalidate(vec![Invalidation::Attributes(counter)]).await?;
        self.tree.borrow_mut().get_mut(counter)?.mode ^= 0o020;
        Ok(())
    }

    /// Does what a name in `control` says; false if it says nothing.
    async fn command(&self, name: &[u8]) -> Result<bool> {
        match name {
            b"bump" => self.bump(self.living.counter).await?,
            b"bump-slow" => self.bump(self.living.slow).await?,
            b"rename" => self.rename().await?,
            b"chmod" => self.chmod().await?,
            b"everything" => notify::invalidate(vec![Invalidation::Everything]).await?,
            b"shrink" => notify::shrink(1000),
            b"panic" => panic!("somebody looked up control/panic"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn file(&self, handle: Handle) -> Result<Node> {
        let node = self.open.borrow().files.get(&handle).copied();
        node.ok_or_else(|| Error::stale(format!("there is no handle {handle}")))
    }

    /// A number for something open.
    fn number(&self) -> Handle {
        let mut open = self.open.borrow_mut();
        open.last += 1;
        open.last
    }

    /// A range of a file, cut off at its end.
    fn content(&self, node: Node, offset: u64, length: u32) -> Result<Vec<Piece>> {
        let tree = self.tree.borrow();
        let inode = tree.get(node)?;
        let end = offset.saturating_add(length.into()).min(inode.size());
        if offset >= end {
            return Ok(vec![]);
        }
        let part = |bytes: &[u8]| -> Result<Vec<Piece>> {
            let part = bytes.get(offset as usize..end as usize).unwrap_or_default();
            Ok(vec![Piece::Buffer(Buffer::create(part)?)])
        };
        match &inode.content {
            Content::Bytes(_) if inode.policy == Policy::Bypass => {
                self.reads.set(self.reads.get() + 1);
                part(format!("{:08}\n", self.reads.get()).as_bytes())
            }
            Content::Bytes(bytes) => part(bytes),
            Content::Computed(_) => {
                let mut pieces = vec![];
                let mut at = offset;
                for until in [HOLE.start, HOLE.end, end] {
                    let until = until.min(end);
                    if at < until {
                        pieces.push(match HOLE.contains(&at) {
                            true => Piece::Zeros(until - at),
                            false => Piece::Buffer(Buffer::create(&computed(at, until))?),
                        });
                        at = until;
                    }
                }
                Ok(pieces)
            }
            _ => Err(Error::invalid(format!("node {node} has no bytes"))),
        }
    }
}

impl FileStore for MemoryTree {
    fn describe() -> Description {
        let options = Options::new()
            .integer("files", 0..=100_000, "Files in the directory `many`.")
            .default_value("5000")
            .duration("read-delay", "How long a read of `slow` takes.")
            .default_value("300ms")
            .duration("tick", "How often `counter` changes by itself; 0: never.")
            .default_value("0ms");
        Description::new("memory-tree", env!("CARGO_PKG_VERSION"), "A file system in memory that changes")
            .scheme("tree")
            .options(options)
    }

    async fn open(mount: Mount) -> Result<(Self, Info)> {
        let settings = &mount.settings;
        let files = u64::try_from(settings.integer("files")?).unwrap_or_default();
        let tick_ms = settings.duration("tick")?.as_millis() as u64;
        let (tree, living) = plant(files)?;
        let inner = Rc::new(Inner {
            tree: RefCell::new(tree),
            living,
            open: RefCell::default(),
            references: RefCell::default(),
            reads: Cell::new(0),
            read_delay_ms: settings.duration("read-delay")?.as_millis() as u64,
        });
        if tick_ms > 0 {
            let ticking = Rc::downgrade(&inner);
            task::spawn(async move {
                loop {
                    system::sleep(tick_ms).await;
                    // Until the mount is closed.
                    let Some(inner) = ticking.upgrade() else { return };
                    if let Err(error) = inner.bump(inner.living.counter).await {
                        return log::info(&format!("counter changes no more: {}", error.message));
                    }
                }
            });
        }
        let operations = FileOperations::DIRECTORY_ATTRIBUTES
            | FileOperations::SYMLINKS
            | FileOperations::EXTENDED_ATTRIBUTES
            | FileOperations::SEEK_DATA;
        let capabilities =
            FileCapabilities { operations, coherence: Coherence::Pushed, ..FileCapabilities::read_only() };
        let info = Info::new(format!("tree {files}"), format!("a tree with {files} files"), capabilities);
        Ok((Self(inner), info))
    }

    async fn resolve(&self, _: Context, at: Place) -> Result<Resolution> {
        if at.parent == self.0.living.control {
            return Ok(match self.0.command(&at.name).await? {
                true => Resolution::Found(self.0.entry(self.0.living.done, Validity::none())?),
                false => Resolution::Absent(0),
            });
        }
        let node = self.0.tree.borrow().names(at.parent)?.get(&at.name).copied();
        Ok(match node {
            Some(node) => Resolution::Found(self.0.entry(node, Validity::until_invalidated())?),
            None => Resolution::Absent(UNTIL_INVALIDATED),
        })
    }

    async fn forget(&self, nodes: Vec<Forgotten>) {
        let mut references = self.0.references.borrow_mut();
        for Forgotten { node, count } in nodes {
            let left = references.get(&node).copied().unwrap_or_default().saturating_sub(count);
            if left == 0 {
                references.remove(&node)
            } else {
                references.insert(node, left)
            };
        }
    }

    async fn get_attributes(&self, _: Context, node: Node, _: Option<Handle>) -> Result<AttributesAnswer> {
        let attributes = self.0.tree.borrow().get(node)?.attributes(node);
        Ok(AttributesAnswer { attributes, attributes_ms: UNTIL_INVALIDATED })
    }

    async fn read_link(&self, _: Context, node: Node) -> Result<Vec<u8>> {
        match &self.0.tree.borrow().get(node)?.content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Error::invalid(format!("node {node} is not a symlink"))),
        }
    }

    async fn open_file(&self, _: Context, node: Node, how: OpenFlags) -> Result<Opened> {
        let policy = self.0.tree.borrow().get(node)?.policy;
        if how.contains(OpenFlags::WRITE) {
            return Err(Error::new(ErrorKind::ReadOnly, "this tree grows by itself"));
        }
        let handle = self.0.number();
        self.0.open.borrow_mut().files.insert(handle, node);
        let cache = match policy {
            Policy::Kept | Policy::Slow => CachePolicy::KEEP,
            Policy::Bypass => CachePolicy::BYPASS,
            Policy::Frozen => CachePolicy::KEEP | CachePolicy::IMMUTABLE,
        };
        Ok(Opened { handle, cache })
    }

    async fn read(&self, handle: Handle, offset: u64, length: u32) -> Result<Body> {
        let node = self.0.file(handle)?;
        // As a server's answer: these are on their way, whatever happens meanwhile.
        let pieces = self.0.content(node, offset, length)?;
        let policy = self.0.tree.borrow().get(node)?.policy;
        if policy == Policy::Slow {
            system::sleep(self.0.read_delay_ms).await;
        }
        Body::assemble(pieces)
    }

    async fn release(&self, handle: Handle) {
        self.0.open.borrow_mut().files.remove(&handle);
    }

    async fn seek_data(&self, handle: Handle, offset: u64, target: SeekTarget) -> Result<u64> {
        let node = self.0.file(handle)?;
        let tree = self.0.tree.borrow();
        let inode = tree.get(node)?;
        let (size, sparse) = (inode.size(), matches!(inode.content, Content::Computed(_)));
        let in_hole = sparse && HOLE.contains(&offset);
        match target {
            _ if offset >= size => Err(Error::out_of_range(format!("{offset} of {size} bytes"))),
            SeekTarget::Data => Ok(if in_hole { HOLE.end } else { offset }),
            SeekTarget::Hole if in_hole => Ok(offset),
            SeekTarget::Hole => Ok(if sparse && offset < HOLE.start { HOLE.start } else { size }),
        }
    }

    async fn open_directory(&self, _: Context, node: Node) -> Result<Opened> {
        let names = self.0.tree.borrow().names(node)?.clone();
        let handle = self.0.number();
        self.0.open.borrow_mut().directories.insert(handle, Rc::new(names.into_iter().collect()));
        Ok(Opened { handle, cache: CachePolicy::KEEP })
    }

    async fn read_directory(
        &self,
        _: Context,
        handle: Handle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> Result<DirectoryPage> {
        let names = self.0.open.borrow().directories.get(&handle).cloned();
        let names = names.ok_or_else(|| Error::stale(format!("there is no handle {handle}")))?;
        // A cookie is how many entries there are up to its own.
        let rest = names.get(cookie as usize..).unwrap_or_default();
        let mut entries = Vec::new();
        for (cookie, (name, node)) in (cookie + 1..).zip(rest).take(limit as usize) {
            let entry = match with_attributes {
                true => Some(self.0.entry(*node, Validity::until_invalidated())?),
                false => None,
            };
            let kind = Some(self.0.tree.borrow().get(*node)?.kind());
            entries.push(DirectoryEntry { name: name.clone(), inode: *node, kind, cookie, entry });
        }
        let end = entries.len() == rest.len();
        Ok(DirectoryPage { entries, end })
    }

    async fn release_directory(&self, handle: Handle) {
        self.0.open.borrow_mut().directories.remove(&handle);
    }

    async fn get_xattr(&self, _: Context, node: Node, name: Vec<u8>) -> Result<Vec<u8>> {
        let tree = self.0.tree.borrow();
        let inode = tree.get(node)?;
        if node == ROOT && name == b"user.references" {
            return Ok(self.0.references.borrow().values().sum::<u64>().to_string().into_bytes());
        }
        if node == ROOT && name == b"user.open" {
            let open = self.0.open.borrow();
            return Ok((open.files.len() + open.directories.len()).to_string().into_bytes());
        }
        let value = inode.xattrs.get(&name).cloned();
        value.ok_or_else(|| Error::new(ErrorKind::NoAttribute, "there is no such attribute"))
    }

    async fn list_xattrs(&self, _: Context, node: Node) -> Result<Vec<Vec<u8>>> {
        let tree = self.0.tree.borrow();
        let own = tree.get(node)?.xattrs.keys().cloned();
        let of_root: &[&[u8]] = if node == ROOT { &[b"user.references", b"user.open"] } else { &[] };
        Ok(of_root.iter().map(|name| name.to_vec()).chain(own).collect())
    }

    async fn get_statistics(&self, node: Node) -> Result<Statistics> {
        self.0.tree.borrow().get(node)?;
        Ok(Statistics {
            block_size: 4096,
            blocks: 1_000_000,
            blocks_free: 600_000,
            blocks_available: 500_000,
            inodes: 10_000,
            inodes_free: 4000,
        })
    }
}

export_file_store!(MemoryTree);
