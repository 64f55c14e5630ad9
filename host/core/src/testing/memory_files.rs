//! A file system in memory with another client that changes it, and rights that it takes back before it does.

use super::memory_body::{MemoryBody, OpenBody};
use super::random::Random;
use crate::fs::Seek;
use crate::ports::{
    AttributesAnswer, Body, BoxFuture, CachePolicy, Coherence, DirectoryPage, FileAttributes,
    FileCapabilities, FileDirEntry, FileEntry, FileEvents, FileStatistics, FileStore, Invalidation,
    NodeNumber, Opened, Resolution, StoreHandle, Validity,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, FileKind, Name, RequestCtx, Timestamp};

/// A node of the tree. Its owner is its number, so that one can tell which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryNode {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u16,
    /// Content of a file, target of a symbolic link.
    pub content: Bytes,
    /// Names in a directory.
    pub children: BTreeMap<Name, u64>,
    /// Counts changes of the content.
    pub data_version: u64,
    /// Counts changes.
    pub change: u64,
}

impl MemoryNode {
    /// Something without content.
    pub fn new(kind: FileKind, mode: u16) -> Self {
        let (content, children) = (Bytes::new(), BTreeMap::new());
        Self { kind, mode, content, children, data_version: 1, change: 1 }
    }
}

/// A whole tree, by node number; the root is 1.
pub type MemoryTree = BTreeMap<u64, MemoryNode>;

/// How the store behaves.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    /// Whether it pushes, or lets answers hold for a time.
    pub coherence: Coherence,
    /// How long answers hold, in milliseconds; [`Validity::FOREVER`] is for a store that pushes.
    pub valid_ms: u32,
    /// Whether listings come with attributes.
    pub directory_attributes: bool,
    /// Whether it numbers versions of content.
    pub data_versions: bool,
    /// Longest time an answer takes, in microseconds.
    pub delay_us: u64,
    /// Largest read.
    pub max_read: u32,
    /// Whether the right to content that somebody else has open for writing is given for a moment to whoever opens it to keep it, and taken back soon,
    /// as Ceph does; otherwise it is refused.
    pub momentary: bool,
}

impl Default for FilesOptions {
    fn default() -> Self {
        Self {
            coherence: Coherence::Pushed,
            valid_ms: Validity::FOREVER,
            directory_attributes: true,
            data_versions: true,
            delay_us: 0,
            max_read: 1 << 20,
            momentary: false,
        }
    }
}

/// What may be kept by whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Attributes(u64),
    Name(u64, Name),
    /// All names of a directory: never given as such.
    Names(u64),
    Listing(u64),
    Data(u64),
}

#[derive(Default)]
struct State {
    tree: MemoryTree,
    /// Given, and not taken back.
    given: BTreeSet<Right>,
    /// Being taken back: how often.
    leaving: BTreeMap<Right, usize>,
    /// Files that somebody else has open for writing: nothing may be kept of them.
    contended: BTreeSet<u64>,
    handles: HashMap<u64, u64>,
    references: HashMap<u64, u64>,
    next: u64,
    calls: HashMap<&'static str, usize>,
}

/// A file system in memory.
pub struct MemoryFiles {
    me: Weak<Self>,
    options: FilesOptions,
    state: Mutex<State>,
    random: Mutex<Random>,
    events: OnceLock<Arc<dyn FileEvents>>,
    /// Nobody changes anything while what serves the store is started again: for what is kept meanwhile nobody could be asked.
    serving: tokio::sync::RwLock<()>,
    bodies: Arc<AtomicUsize>,
}

impl MemoryFiles {
    /// An empty root.
    pub fn new(options: FilesOptions, seed: u64) -> Arc<Self> {
        let tree = BTreeMap::from([(1, MemoryNode::new(FileKind::Directory, 0o755))]);
        let state = Mutex::new(State { tree, next: 1, ..State::default() });
        let (random, bodies) = (Mutex::new(Random::new(seed)), Arc::default());
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            options,
            state,
            random,
            events: OnceLock::new(),
            serving: tokio::sync::RwLock::default(),
            bodies,
        })
    }

    /// The tree as it is now.
    pub fn tree(&self) -> MemoryTree {
        self.lock().tree.clone()
    }

    /// A number that no node ever had.
    pub fn fresh(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }

    /// Calls so far, by name.
    pub fn calls(&self, name: &str) -> usize {
        self.lock().calls.get(name).copied().unwrap_or(0)
    }

    /// References that were given and not given back.
    pub fn references(&self) -> u64 {
        self.lock().references.values().sum()
    }

    /// Files and directories that are open.
    pub fn handles(&self) -> usize {
        self.lock().handles.len()
    }

    /// Whether content of a node may be kept at the moment by whoever asked last.
    pub fn holds_data(&self, node: u64) -> bool {
        let state = self.lock();
        state.given.contains(&Right::Data(node)) && !state.leaving.contains_key(&Right::Data(node))
    }

    /// Somebody else opens a file for writing, or has closed it.
    pub async fn contend(&self, node: u64, contended: bool) {
        if contended {
            self.change(vec![Invalidation::Data(NodeNumber(node), None)], |_| ()).await;
            self.lock().contended.insert(node);
        } else {
            self.lock().contended.remove(&node);
        }
    }

    /// Changes the tree as another client does: takes back what may be kept of `items`, then does it. What `change` returns.
    ///
    /// # Panics
    /// When the host does not let go.
    pub async fn change<T>(&self, items: Vec<Invalidation>, change: impl FnOnce(&mut MemoryTree) -> T) -> T {
        let _serving = self.serving.read().await;
        let rights: Vec<Right> = items.iter().flat_map(|item| self.rights_of(item)).collect();
        let given = {
            let mut state = self.lock();
            for right in &rights {
                *state.leaving.entry(right.clone()).or_default() += 1;
            }
            rights.iter().any(|right| state.given.contains(right))
        };
        if let Some(events) = self.events.get().filter(|_| given) {
            let outcome = events.invalidate(items).await;
            assert!(outcome.is_ok(), "the host did not let go: {outcome:?}");
        }
        let mut state = self.lock();
        for right in &rights {
            state.given.remove(right);
            if let Some(count) = state.leaving.get_mut(right) {
                *count -= 1;
                if *count == 0 {
                    state.leaving.remove(right);
                }
            }
        }
        change(&mut state.tree)
    }

    /// What serves the store is started again: handles are gone, and nobody holds a right.
    ///
    /// # Panics
    /// When the host does not let go.
    pub async fn restart(&self) {
        let _nobody = self.serving.write().await;
        {
            let mut state = self.lock();
            state.handles.clear();
            state.given.clear();
        }
        if let Some(events) = self.events.get() {
            let outcome = events.invalidate(vec![Invalidation::Everything]).await;
            assert!(outcome.is_ok(), "the host did not let go: {outcome:?}");
        }
    }

    /// Asks the host for nodes.
    pub fn shrink(&self, nodes: u64) {
        if let Some(events) = self.events.get() {
            events.shrink(nodes);
        }
    }

    fn rights_of(&self, item: &Invalidation) -> Vec<Right> {
        match item {
            Invalidation::Attributes(node) => vec![Right::Attributes(node.0)],
            Invalidation::Data(node, _) => vec![Right::Data(node.0)],
            Invalidation::Entry(node, name) => {
                vec![Right::Name(node.0, name.clone()), Right::Listing(node.0)]
            }
            Invalidation::Directory(node) => {
                let state = self.lock();
                let of = |right: &&Right| matches!(right, Right::Name(dir, _) if *dir == node.0);
                let names = state.given.iter().filter(of).cloned();
                names.chain([Right::Names(node.0), Right::Listing(node.0)]).collect()
            }
            Invalidation::Everything => self.lock().given.iter().cloned().collect(),
        }
    }

    async fn delay(&self, call: &'static str) {
        *self.lock().calls.entry(call).or_default() += 1;
        let most = self.options.delay_us;
        if most > 0 {
            let delay = self.random.lock().unwrap_or_else(PoisonError::into_inner).below(most);
            tokio::time::sleep(Duration::from_micros(delay)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a right if it is not being taken back; how long the answer holds.
    fn give(&self, state: &mut State, right: Right) -> u32 {
        let all = matches!(&right, Right::Name(dir, _) if state.leaving.contains_key(&Right::Names(*dir)));
        if all || state.leaving.contains_key(&right) {
            return 0;
        }
        state.given.insert(right);
        self.options.valid_ms
    }

    fn attributes_of(&self, state: &State, number: u64) -> Result<FileAttributes, Error> {
        let node = state.tree.get(&number).ok_or_else(|| Error::stale(format_args!("node {number}")))?;
        let time = |seconds: u64| Timestamp { seconds: seconds as i64, nanoseconds: 0 };
        Ok(FileAttributes {
            inode: number,
            kind: node.kind,
            mode: node.mode,
            links: 1,
            uid: number as u32,
            gid: 8,
            device: 0,
            size: node.content.len() as u64,
            allocated: node.content.len() as u64,
            block_size: 0,
            accessed: time(node.change),
            modified: time(node.data_version),
            changed: time(node.change),
            data_version: self.options.data_versions.then_some(node.data_version),
        })
    }

    fn entry(&self, state: &mut State, parent: u64, name: &Name, number: u64) -> Result<FileEntry, Error> {
        let attributes = self.attributes_of(state, number)?;
        let entry_ms = self.give(state, Right::Name(parent, name.clone()));
        let attributes_ms = self.give(state, Right::Attributes(number));
        *state.references.entry(number).or_default() += 1;
        let validity = Validity { attributes_ms, entry_ms };
        Ok(FileEntry { node: NodeNumber(number), generation: 0, attributes, validity })
    }

    fn of_handle(state: &State, handle: StoreHandle) -> Result<u64, Error> {
        state.handles.get(&handle.0).copied().ok_or_else(|| Error::stale(format_args!("handle {}", handle.0)))
    }

    /// Gives the right to content that is contended, and takes it back as soon as that is possible.
    fn give_for_a_moment(&self, state: &mut State, node: u64) {
        let right = Right::Data(node);
        if !self.options.momentary || state.given.contains(&right) || self.give(state, right) == 0 {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            let after = self.random.lock().unwrap_or_else(PoisonError::into_inner).below(4);
            tokio::spawn(async move {
                if after > 0 {
                    tokio::time::sleep(Duration::from_micros(after * 300)).await;
                }
                me.change(vec![Invalidation::Data(NodeNumber(node), None)], |_| ()).await;
            });
        }
    }

    /// Waits until nothing of a directory is being taken back, as a server does that changes it.
    async fn given_back(&self, handle: StoreHandle) -> Result<(), Error> {
        loop {
            {
                let state = self.lock();
                let of = Self::of_handle(&state, handle)?;
                let is_here = |right: &Right| matches!(right, Right::Name(dir, _) | Right::Names(dir) | Right::Listing(dir) if *dir == of);
                if !state.leaving.keys().any(is_here) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }

    fn open_node(&self, node: NodeNumber, right: fn(u64) -> Right, insists: bool) -> Result<Opened, Error> {
        let mut state = self.lock();
        self.attributes_of(&state, node.0)?;
        let contended = state.contended.contains(&node.0);
        let (keep, bypass) = if contended {
            if insists {
                self.give_for_a_moment(&mut state, node.0);
            }
            // A right that is had at this moment is one for all.
            let keep = self.options.momentary
                && state.given.contains(&Right::Data(node.0))
                && !state.leaving.contains_key(&Right::Data(node.0));
            (keep, !keep)
        } else {
            (self.give(&mut state, right(node.0)) > 0, false)
        };
        state.next += 1;
        let handle = state.next;
        state.handles.insert(handle, node.0);
        Ok(Opened { handle: StoreHandle(handle), cache: CachePolicy { keep, bypass, immutable: false } })
    }
}

/// What was opened for somebody who may not wait for it any more: then it is closed again.
struct Unanswered<'a> {
    store: &'a MemoryFiles,
    opened: Option<Opened>,
}

impl Unanswered<'_> {
    async fn answer(mut self) -> Result<Opened, Error> {
        self.store.delay("answer").await;
        self.opened.take().ok_or_else(|| Error::stale("an open file"))
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(opened) = &self.opened {
            self.store.lock().handles.remove(&opened.handle.0);
        }
    }
}

impl FileStore for MemoryFiles {
    fn capabilities(&self) -> FileCapabilities {
        FileCapabilities {
            coherence: self.options.coherence,
            directory_attributes: self.options.directory_attributes,
            xattrs: true,
            seek: false,
            max_read: self.options.max_read,
            max_name: 255,
        }
    }

    fn subscribe(&self, events: Arc<dyn FileEvents>) {
        let _only_once = self.events.set(events);
    }

    fn resolve(
        &self,
        _ctx: RequestCtx,
        parent: NodeNumber,
        name: Name,
    ) -> BoxFuture<'_, Result<Resolution, Error>> {
        Box::pin(async move {
            self.delay("resolve").await;
            let resolution = {
                let mut state = self.lock();
                let node = state.tree.get(&parent.0).ok_or_else(|| Error::stale("a directory"))?;
                if node.kind != FileKind::Directory {
                    return Err(Error::new(ErrorKind::NotDirectory, Blame::Caller, "it is no directory"));
                }
                match node.children.get(&name).copied() {
                    Some(number) => Resolution::Found(self.entry(&mut state, parent.0, &name, number)?),
                    None => Resolution::Absent(self.give(&mut state, Right::Name(parent.0, name))),
                }
            };
            self.delay("answer").await;
            Ok(resolution)
        })
    }

    fn forget(&self, nodes: Vec<(NodeNumber, u64)>) {
        let mut state = self.lock();
        for (node, count) in nodes {
            let references = state.references.entry(node.0).or_default();
            assert!(*references >= count, "more references were given back than there are");
            *references -= count;
        }
    }

    fn attributes(
        &self,
        _ctx: RequestCtx,
        node: NodeNumber,
        handle: Option<StoreHandle>,
    ) -> BoxFuture<'_, Result<AttributesAnswer, Error>> {
        Box::pin(async move {
            self.delay("attributes").await;
            let answer = {
                let mut state = self.lock();
                if let Some(handle) = handle {
                    Self::of_handle(&state, handle)?;
                }
                let attributes = self.attributes_of(&state, node.0)?;
                let attributes_ms = self.give(&mut state, Right::Attributes(node.0));
                AttributesAnswer { attributes, attributes_ms }
            };
            self.delay("answer").await;
            Ok(answer)
        })
    }

    fn read_link(&self, _ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            self.delay("read_link").await;
            let state = self.lock();
            state.tree.get(&node.0).map(|node| node.content.clone()).ok_or_else(|| Error::stale("a link"))
        })
    }

    fn open(&self, _ctx: RequestCtx, node: NodeNumber, keep: bool) -> BoxFuture<'_, Result<Opened, Error>> {
        Box::pin(async move {
            self.delay("open").await;
            // What is just being lost can be given again after that only.
            while keep && self.options.momentary && self.lock().leaving.contains_key(&Right::Data(node.0)) {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            let opened = Some(self.open_node(node, Right::Data, keep)?);
            Unanswered { store: self, opened }.answer().await
        })
    }

    fn read(
        &self,
        _ctx: RequestCtx,
        handle: StoreHandle,
        offset: u64,
        length: u32,
    ) -> BoxFuture<'_, Result<Box<dyn Body>, Error>> {
        Box::pin(async move {
            self.delay("read").await;
            let bytes = {
                let state = self.lock();
                let node = Self::of_handle(&state, handle)?;
                // An open file stays readable when it has lost its last name.
                let content = state.tree.get(&node).map(|node| node.content.clone()).unwrap_or_default();
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                content.slice(from..from.saturating_add(length as usize).min(content.len()))
            };
            self.delay("answer").await;
            let body = MemoryBody {
                rest: bytes,
                chunk: 3000,
                delay: Duration::ZERO,
                break_after: None,
                clean: false,
                _open: OpenBody::new(&self.bodies),
            };
            Ok(Box::new(body) as Box<dyn Body>)
        })
    }

    fn release(&self, handle: StoreHandle) {
        self.lock().handles.remove(&handle.0);
    }

    fn seek(
        &self,
        _ctx: RequestCtx,
        _handle: StoreHandle,
        _offset: u64,
        _what: Seek,
    ) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Unsupported, Blame::Plugin, "no holes here"))))
    }

    fn open_directory(&self, _ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Opened, Error>> {
        Box::pin(async move {
            self.delay("open_directory").await;
            let opened = Some(self.open_node(node, Right::Listing, false)?);
            Unanswered { store: self, opened }.answer().await
        })
    }

    fn read_directory(
        &self,
        _ctx: RequestCtx,
        handle: StoreHandle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> BoxFuture<'_, Result<DirectoryPage, Error>> {
        Box::pin(async move {
            self.delay("read_directory").await;
            self.given_back(handle).await?;
            let page = {
                let mut state = self.lock();
                let parent = Self::of_handle(&state, handle)?;
                let children = state.tree.get(&parent).map(|node| node.children.clone()).unwrap_or_default();
                // Numbers of nodes are never used twice, so they are positions that hold.
                let mut children: Vec<_> =
                    children.into_iter().filter(|(_, number)| *number > cookie).collect();
                children.sort_by_key(|(_, number)| *number);
                let end = children.len() <= limit as usize;
                children.truncate(limit as usize);
                let mut entries = Vec::new();
                for (name, number) in children {
                    let kind = state.tree.get(&number).map(|node| node.kind);
                    let entry = match with_attributes {
                        true => Some(self.entry(&mut state, parent, &name, number)?),
                        false => None,
                    };
                    entries.push(FileDirEntry { name, inode: number, kind, cookie: number, entry });
                }
                DirectoryPage { entries, end }
            };
            self.delay("answer").await;
            Ok(page)
        })
    }

    fn release_directory(&self, handle: StoreHandle) {
        self.lock().handles.remove(&handle.0);
    }

    fn get_xattr(
        &self,
        _ctx: RequestCtx,
        _node: NodeNumber,
        name: Vec<u8>,
    ) -> BoxFuture<'_, Result<Bytes, Error>> {
        let found = (name == b"user.colour").then(|| Bytes::from_static(b"blue"));
        let missing = || Error::new(ErrorKind::NoAttribute, Blame::Caller, "there is no such attribute");
        Box::pin(std::future::ready(found.ok_or_else(missing)))
    }

    fn list_xattrs(&self, _ctx: RequestCtx, _node: NodeNumber) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        Box::pin(std::future::ready(Ok(vec![b"user.colour".to_vec()])))
    }

    fn statistics(&self, _ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<FileStatistics, Error>> {
        Box::pin(async move {
            self.delay("statistics").await;
            let (blocks, blocks_free, blocks_available) = (1000 + node.0, 600, 500);
            Ok(FileStatistics {
                block_size: 4096,
                blocks,
                blocks_free,
                blocks_available,
                inodes: 9,
                inodes_free: 3,
            })
        })
    }
}
