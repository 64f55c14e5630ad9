//! The nodes the kernel knows.
//!
//! A node stands for one path and one version of what is there, because the kernel's page cache belongs to nodes: new
//! bytes get a new number, and nobody ever reads a mixture. A node lives as long as the kernel counts look-ups of it.
//! Every change is appended to the [`StateLog`] under the table's lock, before the reply that makes it visible.

mod identity;
mod siphash;

pub use identity::{FileVersion, Identity, NodeKind};

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
        self.log.append(&StateRecord::Lookup {
            ino,
            mount: (!matches!(identity.kind, NodeKind::Virtual(_))).then(|| identity.mount_id.clone()),
            path: identity.path.to_string(),
            file: file_state(&identity),
        });
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

    /// Takes back look-ups; unknown numbers are ignored.
    pub fn forget(&self, ino: Ino, count: u64) {
        let mut nodes = self.lock();
        let Some(node) = nodes.get_mut(&ino) else { return };
        self.log.append(&StateRecord::Forget { ino, count });
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups == 0 {
            nodes.remove(&ino);
        }
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

fn file_state(identity: &Identity) -> Option<FileState> {
    let (file, live) = match &identity.kind {
        NodeKind::File(file) => (file.clone(), false),
        NodeKind::Live => (FileVersion { version: None, size: 0, modified: None }, true),
        NodeKind::Virtual(_) | NodeKind::Directory => return None,
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
    use wasmount_types::{MountId, Version};

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
