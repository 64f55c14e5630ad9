//! The nodes the kernel knows.
//!
//! A node stands for one path and one version of what is there, because the kernel's page cache belongs to nodes: new
//! bytes get a new number, and nobody ever reads a mixture. Where the store has nodes of its own, a node is one of those, and `files`
//! sees to it that the kernel keeps nothing old of it. A node lives as long as the kernel counts look-ups of it.
//! Every change is appended to the [`StateLog`] under the table's lock, before the reply that makes it visible.

mod identity;
mod siphash;

pub use identity::{FileVersion, Identity, NodeKind, StoreNode};

use crate::ports::{FileState, StateLog, StateRecord};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_types::{Ino, ObjectKey};

/// A node of the table.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it stands for.
    pub identity: Arc<Identity>,
    /// The store has been seen with another version: a new open must look the name up again.
    pub outdated: bool,
    lookups: u64,
}

/// All nodes the kernel knows.
pub struct InodeTable {
    nodes: Mutex<HashMap<Ino, Node>>,
    log: Arc<dyn StateLog>,
}

impl InodeTable {
    /// An empty table.
    pub fn new(log: Arc<dyn StateLog>) -> Self {
        Self { nodes: Mutex::default(), log }
    }

    /// Counts one look-up of a node and returns its number.
    pub fn look_up(&self, identity: Identity) -> Ino {
        let mut nodes = self.lock();
        let ino = number(&nodes, &identity);
        self.log.append(&|| record(ino, &identity));
        let node = nodes.entry(ino).or_insert_with(|| Node {
            identity: Arc::new(identity),
            outdated: false,
            lookups: 0,
        });
        node.lookups = node.lookups.saturating_add(1);
        // The name was just seen to stand for this version.
        node.outdated = false;
        ino
    }

    /// The number a look-up would give, without counting one.
    pub fn peek(&self, identity: &Identity) -> Ino {
        number(&self.lock(), identity)
    }

    /// Counts one more look-up of a node that the kernel knows; false: it does not.
    pub fn look_up_again(&self, ino: Ino) -> bool {
        let mut nodes = self.lock();
        let Some(node) = nodes.get_mut(&ino) else { return false };
        self.log.append(&|| record(ino, &node.identity));
        node.lookups = node.lookups.saturating_add(1);
        true
    }

    /// Takes back look-ups; unknown numbers are ignored. Whether the kernel does not know the node any more.
    pub fn forget(&self, ino: Ino, count: u64) -> bool {
        let mut nodes = self.lock();
        let Some(node) = nodes.get_mut(&ino) else { return true };
        self.log.append(&|| StateRecord::Forget { ino, count });
        node.lookups = node.lookups.saturating_sub(count);
        let gone = node.lookups == 0;
        if gone {
            nodes.remove(&ino);
        }
        gone
    }

    /// Whether the kernel knows a node, or is about to be told of it.
    pub fn knows(&self, ino: Ino) -> bool {
        self.lock().contains_key(&ino)
    }

    /// A node of a store that numbers its nodes itself.
    pub fn store_node(&self, ino: Ino) -> Option<StoreNode> {
        match self.lock().get(&ino)?.identity.kind {
            NodeKind::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The nodes of a mount that numbers its nodes itself.
    pub fn store_nodes(&self, mount: usize) -> Vec<(Ino, StoreNode)> {
        let nodes = self.lock();
        let of_mount = nodes.iter().filter(|(_, node)| node.identity.mount == mount);
        of_mount
            .filter_map(|(ino, node)| match node.identity.kind {
                NodeKind::Node(node) => Some((*ino, node)),
                _ => None,
            })
            .collect()
    }

    /// Paths of the nodes of a mount that finds them by paths.
    pub fn paths(&self, mount: usize) -> Vec<Arc<str>> {
        let nodes = self.lock();
        let of_mount = nodes.values().filter(|node| node.identity.mount == mount);
        let by_path = of_mount.filter(|node| !matches!(node.identity.kind, NodeKind::Node(_)));
        by_path.map(|node| node.identity.path.clone()).collect()
    }

    /// A node the kernel knows.
    pub fn get(&self, ino: Ino) -> Option<Node> {
        self.lock().get(&ino).cloned()
    }

    /// Marks a node as overtaken by another version.
    pub fn mark_outdated(&self, ino: Ino) {
        if let Some(node) = self.lock().get_mut(&ino) {
            node.outdated = true;
        }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether the kernel knows no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Node>> {
        // Nothing can panic between two consistent states of the table.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first number of an identity that no other live node has.
fn number(nodes: &HashMap<Ino, Node>, identity: &Identity) -> Ino {
    let mut probe = 0;
    loop {
        let ino = identity.number(probe);
        match nodes.get(&ino) {
            Some(node) if !node.identity.same(identity) => probe += 1,
            _ => return ino,
        }
    }
}

fn record(ino: Ino, identity: &Identity) -> StateRecord {
    if let NodeKind::Node(StoreNode { number, generation, inode, kind }) = identity.kind {
        let mount = identity.mount_id.clone();
        return StateRecord::LookupNode { ino, mount, node: number, generation, inode, kind };
    }
    StateRecord::Lookup {
        ino,
        mount: (!matches!(identity.kind, NodeKind::Virtual(_))).then(|| identity.mount_id.clone()),
        path: identity.path.to_string(),
        file: file_state(identity),
    }
}

fn file_state(identity: &Identity) -> Option<FileState> {
    let (file, live) = match &identity.kind {
        NodeKind::File(file) => (file.clone(), false),
        NodeKind::Live => (FileVersion { version: None, size: 0, modified: None }, true),
        NodeKind::Virtual(_) | NodeKind::Directory | NodeKind::Node(_) => return None,
    };
    let modified = file.modified.unwrap_or_default();
    Some(FileState {
        key: ObjectKey::new(identity.path.clone()),
        live,
        version: file.version.clone(),
        size: file.size,
        mtime_seconds: modified.seconds,
        mtime_nanoseconds: modified.nanoseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::NoStateLog;
    use crate::ports::NodeNumber;
    use wasmount_types::{FileKind, MountId, Version};

    fn file(path: &str, version: &str) -> Identity {
        Identity {
            mount: 0,
            mount_id: MountId::new("m"),
            path: path.into(),
            kind: NodeKind::File(FileVersion {
                version: Some(Version::new(version)),
                size: 1,
                modified: None,
            }),
        }
    }

    #[test]
    fn numbers_are_stable_and_never_reserved() {
        // Written down: with other numbers, whatever remembers files by number (backups, NFS) starts over.
        assert_eq!(file("a", "1").number(0), Ino(0x01f9_a5ef_c542_d39d));
        assert_ne!(file("a", "1").number(0), file("a", "2").number(0));
        assert_ne!(file("a", "1").number(0), file("b", "1").number(0));
        assert_ne!(file("a", "1").number(0), file("a", "1").number(1));
    }

    #[test]
    fn a_node_of_a_store_is_the_same_under_all_names() {
        let node = |generation| Identity {
            mount: 0,
            mount_id: MountId::new("m"),
            path: "".into(),
            kind: NodeKind::Node(StoreNode {
                number: NodeNumber(7),
                generation,
                inode: 1_099_511_627_776,
                kind: FileKind::Regular,
            }),
        };
        let table = InodeTable::new(Arc::new(NoStateLog));
        let ino = table.look_up(node(0));
        assert_eq!(table.look_up(node(0)), ino);
        assert!(table.look_up_again(ino) && !table.look_up_again(Ino(5)));
        assert_ne!(table.look_up(node(1)), ino, "the number was used for another node before");
        assert!(!table.forget(ino, 2) && table.knows(ino));
        assert_eq!(table.store_nodes(0).len(), 2);
        assert!(table.store_nodes(1).is_empty());
        assert!(table.forget(ino, 1) && !table.knows(ino));
    }

    /// Keeps everything.
    #[derive(Default)]
    struct Kept(Mutex<Vec<StateRecord>>);

    impl StateLog for Kept {
        fn append(&self, record: &dyn Fn() -> StateRecord) {
            self.0.lock().unwrap().push(record());
        }
    }

    #[test]
    fn a_log_that_asks_gets_every_change() {
        let log = Arc::new(Kept::default());
        let table = InodeTable::new(log.clone());
        let ino = table.look_up(file("a", "1"));
        assert!(table.look_up_again(ino));
        table.forget(ino, 2);
        let state = FileState {
            key: ObjectKey::new("a"),
            live: false,
            version: Some(Version::new("1")),
            size: 1,
            mtime_seconds: 0,
            mtime_nanoseconds: 0,
        };
        let (mount, path) = (Some(MountId::new("m")), "a".to_owned());
        let seen = StateRecord::Lookup { ino, mount, path, file: Some(state) };
        assert_eq!(*log.0.lock().unwrap(), [seen.clone(), seen, StateRecord::Forget { ino, count: 2 }]);
    }

    #[test]
    fn nodes_live_while_looked_up() {
        let table = InodeTable::new(Arc::new(NoStateLog));
        let ino = table.look_up(file("a", "1"));
        assert_eq!(table.look_up(file("a", "1")), ino);
        table.mark_outdated(ino);
        assert!(table.get(ino).unwrap().outdated);
        table.forget(ino, 1);
        assert!(table.get(ino).is_some());
        table.forget(ino, 1);
        assert!(table.get(ino).is_none());
        assert_eq!(table.look_up(file("a", "1")), ino);
    }

    #[test]
    fn a_collision_is_probed() {
        let table = InodeTable::new(Arc::new(NoStateLog));
        let ino = file("a", "1").number(0);
        let squatter = Node { identity: Arc::new(file("z", "9")), outdated: false, lookups: 1 };
        table.lock().insert(ino, squatter);
        let other = table.look_up(file("a", "1"));
        assert_eq!(other, file("a", "1").number(1));
        assert_eq!(table.look_up(file("a", "1")), other);
        assert_eq!(table.peek(&file("a", "1")), other);
    }
}
