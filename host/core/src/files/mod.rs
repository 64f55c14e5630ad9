//! A file system of its own, with its own nodes and perhaps other clients, as the kernel sees it.
//!
//! Every answer of the store says how long it may be believed, and so does what the kernel is given. Where the store *pushes*, that is until it says otherwise:
//! then all that was believed has to go before the store is told that it has (`events`). What is in the way differs by what it is:
//!
//! - *Attributes* (`attributes`): the kernel drops them at once, and takes none from answers to what it asked before. A node that it has not heard of
//!   yet, because the answer is on its way, is told again until it knows it or has forgotten it.
//! - *Names* (`names`): the kernel is told to look all of them up again, which includes answers to LOOKUPs on their way. Names that came with a listing it takes
//!   later than that, so a listing that was just answered is waited for (`listing`). A directory whose names have just changed gives the kernel no names for a
//!   while: it asks, and is answered from memory.
//! - *Content* (`data`): pages, with READs under way, which the kernel waits for.
//!
//! Answers of the store that were asked for before it took something back are not believed: one counter, the *epoch*, tells.

mod ahead;
mod attributes;
mod data;
mod directory;
mod events;
mod forgets;
mod lease;
mod listing;
mod names;
mod node;
mod nodes;
mod open;
mod place;
mod ranges;
mod read;
mod root;
mod source;
mod xattr;

pub(crate) use directory::Page;
pub(crate) use listing::OpenListing;
pub(crate) use node::Node;
pub(crate) use open::{OpenNode, OpenedNode};
pub(crate) use read::seek_in_data;

use crate::context::MountContext;
use crate::inode::{InodeTable, StoreNode};
use crate::ports::{Clock, FileCapabilities, FileStore, KernelPages, NodeNumber};
use crate::read::Reading;
use ahead::Ahead;
use forgets::Forgets;
use names::Asking;
use root::Root;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use wasmount_types::{FileKind, Ino};

/// Names that are kept of all directories together, unless `listing_entries` says otherwise; beyond that directories forget theirs.
const MIN_NAMES: usize = 1024;

/// An open file store as a tree.
///
/// # Locking
/// `nodes` comes before the table of inodes and `ahead`, which come before the state of a node. Nothing waits while holding any of them.
pub(crate) struct FileFs {
    me: Weak<Self>,
    context: MountContext,
    mount: usize,
    store: Arc<dyn FileStore>,
    caps: FileCapabilities,
    reading: Arc<Reading>,
    inodes: Arc<InodeTable>,
    nodes: Mutex<HashMap<NodeNumber, Arc<Node>>>,
    root: Root,
    asking: Asking,
    forgets: Arc<Forgets>,
    ahead: Ahead,
    /// Entries of listings so far.
    listed: AtomicU64,
    /// Counts how often the store took something back.
    epoch: AtomicU64,
    /// How many times everything is being taken back at the moment.
    ending: AtomicUsize,
    /// Names that are kept.
    names: AtomicUsize,
}

/// A question to the store: what was asked before something was taken back says nothing about afterwards.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    epoch: u64,
}

impl FileFs {
    /// A tree over an open store. `mount`: its index in the mount table; `root`: the number that its root has.
    pub(crate) fn new(
        context: MountContext,
        mount: usize,
        root: Ino,
        store: Arc<dyn FileStore>,
        reading: Arc<Reading>,
        inodes: Arc<InodeTable>,
    ) -> Arc<Self> {
        let of = StoreNode { number: NodeNumber::ROOT, generation: 0, inode: 0, kind: FileKind::Directory };
        let root = Node::new(of, root);
        let nodes = HashMap::from([(NodeNumber::ROOT, root.clone())]);
        let fs = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            caps: store.capabilities(),
            forgets: Forgets::new(store.clone(), context.spawn.clone()),
            context,
            mount,
            store,
            reading,
            inodes,
            nodes: Mutex::new(nodes),
            root: Root::new(root),
            asking: Asking::default(),
            ahead: Ahead::default(),
            listed: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            ending: AtomicUsize::new(0),
            names: AtomicUsize::new(0),
        });
        fs.store.subscribe(events::Events::of(&fs));
        fs
    }

    /// The root of the store.
    pub(crate) fn root(&self) -> &Arc<Node> {
        self.root.node()
    }

    /// Entries that are known.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (0, self.lock().len() as u64)
    }

    /// Something is about to be asked.
    fn ask(&self) -> Asked {
        Asked { at: self.clock().now(), epoch: self.epoch() }
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Whether an answer may be believed. To be asked under the lock of what it is about: who takes something back counts first and
    /// then clears under that lock.
    fn is_current(&self, asked: Asked) -> bool {
        self.epoch() == asked.epoch && !self.is_ending()
    }

    /// Whether everything is being taken back: until that is done nothing is kept.
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) > 0
    }

    fn clock(&self) -> &dyn Clock {
        &*self.context.clock
    }

    fn kernel(&self) -> Option<&Arc<dyn KernelPages>> {
        self.reading.kernel()
    }

    /// Names that may be kept.
    fn most_names(&self) -> usize {
        self.context.config.listing_entries.max(MIN_NAMES)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeNumber, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
