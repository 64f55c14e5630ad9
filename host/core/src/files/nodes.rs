//! The nodes the kernel knows, and the references that the store counts.

use super::lease::{ATTRIBUTES_TTL, Until};
use super::{Asked, FileFs, Node};
use crate::fs::Entry;
use crate::inode::{Identity, NodeKind, StoreNode};
use crate::ports::{FileAttributes, FileEntry};
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, Ino, Name};

impl FileFs {
    /// A node that the kernel knows by its number; made if the store was opened again since.
    ///
    /// # Errors
    /// `stale`: its number stands for another node by now.
    pub(crate) fn node(&self, of: StoreNode, ino: Ino) -> Result<Arc<Node>, Error> {
        let mut nodes = self.lock();
        let node = nodes.entry(of.number).or_insert_with(|| Node::new(of, ino));
        if node.ino == ino { Ok(node.clone()) } else { Err(Error::stale(format_args!("node {ino}"))) }
    }

    /// Takes an entry over from the store, with its reference. Unless `counted`, the kernel is not told of it.
    ///
    /// # Errors
    /// `corrupt`: no such entry can be.
    pub(super) fn absorb(
        &self,
        entry: &FileEntry,
        asked: Asked,
        counted: bool,
    ) -> Result<Option<Arc<Node>>, Error> {
        let FileEntry { node: number, generation, attributes, .. } = entry;
        if *number == crate::ports::NodeNumber::ROOT || number.0 == 0 {
            let message = format!("an entry leads to node {}, which is no node of a directory", number.0);
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        let of = StoreNode {
            number: *number,
            generation: *generation,
            inode: attributes.inode,
            kind: attributes.kind,
        };
        let mut nodes = self.lock();
        let known = nodes.get(number).filter(|node| {
            (node.of.generation, node.of.kind) == (of.generation, of.kind)
                && (!counted || self.inodes.look_up_again(node.ino))
        });
        let node = match known {
            Some(node) => node.clone(),
            None if counted => {
                let node = Node::new(of, self.inodes.look_up(self.identity(of)));
                if let Some(before) = nodes.insert(*number, node.clone()) {
                    self.forgets.add(before.of.number, before.lock().references);
                }
                node
            }
            None => {
                drop(nodes);
                self.forgets.add(*number, 1);
                return Ok(None);
            }
        };
        node.lock().references += 1;
        drop(nodes);
        self.learn(&node, attributes, entry.validity.attributes_ms, asked);
        Ok(Some(node))
    }

    /// Counts one look-up more of a node; false: the kernel has forgotten it meanwhile.
    pub(super) fn count(&self, node: &Arc<Node>) -> bool {
        let nodes = self.lock();
        nodes.get(&node.of.number).is_some_and(|known| Arc::ptr_eq(known, node))
            && self.inodes.look_up_again(node.ino)
    }

    /// The kernel gives look-ups back.
    pub(crate) fn forget(&self, of: StoreNode, ino: Ino, count: u64) {
        let mut nodes = self.lock();
        if !self.inodes.forget(ino, count) {
            return;
        }
        if nodes.get(&of.number).is_none_or(|node| node.ino != ino) {
            return;
        }
        let Some(node) = nodes.remove(&of.number) else { return };
        drop(nodes);
        let mut state = node.lock();
        let references = std::mem::take(&mut state.references);
        self.drop_names(&mut state, |_| true);
        drop(state);
        drop(self.ahead.take(&node));
        self.forgets.add(of.number, references);
    }

    /// The number that an entry of a listing has, of which nothing else is known.
    pub(super) fn listed_number(&self, inode: u64, kind: wasmount_types::FileKind) -> Ino {
        let number = crate::ports::NodeNumber(inode);
        self.identity(StoreNode { number, generation: 0, inode, kind }).number(0)
    }

    fn identity(&self, of: StoreNode) -> Identity {
        let (mount, mount_id) = (self.mount, self.context.id.clone());
        Identity { mount, mount_id, path: "".into(), kind: NodeKind::Node(of) }
    }

    /// Keeps attributes, if they may be.
    pub(super) fn learn(&self, node: &Node, attributes: &FileAttributes, ms: u32, asked: Asked) {
        let until = Until::new(ms, asked.at, self.caps.coherence);
        let mut state = node.lock();
        if self.is_current(asked) {
            state.attributes = until.map(|until| (attributes.clone(), until));
        }
    }

    /// What the kernel is given about a node: what is believed, or what the store has just said and nobody may keep.
    pub(super) fn entry(&self, node: &Node, said: &FileAttributes, name_ttl: Duration) -> Entry {
        let mut state = node.lock();
        let changing = state.attributes_change.is_some_and(|until| self.clock().now() < until);
        let most = if changing { Duration::ZERO } else { ATTRIBUTES_TTL };
        let (attr, attr_ttl) = match &state.attributes {
            Some((attributes, until)) if until.holds(self.clock()) => {
                (node.attr(attributes), until.left(self.clock(), most))
            }
            _ => (node.attr(said), Duration::ZERO),
        };
        state.attributes_given.give(self.clock(), attr_ttl);
        Entry { attr, ttl: name_ttl, attr_ttl }
    }

    /// Takes note of a name that leads to a node, for people.
    pub(super) fn placed(&self, parent: &Arc<Node>, name: &Name, node: &Node) {
        node.lock().place = Some((Arc::downgrade(parent), name.clone()));
    }
}
