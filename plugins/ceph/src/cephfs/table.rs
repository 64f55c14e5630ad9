//! All inodes that are known, in the order in which they were used.

use super::answer::Kind;
use super::ids::Vino;
use super::inode::Inode;
use crate::mds::FileLayout;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Layouts that are shared between inodes: a file system has few.
const LAYOUTS: usize = 16;

/// All inodes.
#[derive(Debug, Default)]
pub(super) struct Table {
    // In boxes: a table that grows has all its entries twice for a moment.
    inodes: HashMap<Vino, Box<Inode>>,
    /// Which inode was used when, the longest ago first.
    order: BTreeMap<u64, Vino>,
    /// Places in that order of inodes that may be spare, see [`may_be_spare`](Self::may_be_spare).
    spare: BTreeSet<u64>,
    clock: u64,
    /// Inodes that were ever known; wraps after longer than anything of before is remembered.
    births: u32,
    layouts: Vec<Arc<FileLayout>>,
    /// Bytes of what is stored with all inodes.
    stored: usize,
    /// Inodes that were looked at one after the other, to see how much work that is.
    #[cfg(test)]
    pub(super) walked: std::cell::Cell<usize>,
}

impl Table {
    pub(super) fn get(&self, vino: Vino) -> Option<&Inode> {
        self.inodes.get(&vino).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, vino: Vino) -> Option<&mut Inode> {
        self.inodes.get_mut(&vino).map(Box::as_mut)
    }

    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Inode> {
        self.inodes.values().map(Box::as_ref)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Inode> {
        self.inodes.values_mut().map(Box::as_mut)
    }

    /// Numbers of all inodes, in an order that depends only on what was told.
    pub(super) fn vinos(&self) -> Vec<Vino> {
        self.order.values().copied().collect()
    }

    /// The inode, made if it is new; its use is noted.
    pub(super) fn entry(&mut self, vino: Vino, kind: Kind, layout: Arc<FileLayout>) -> &mut Inode {
        self.clock += 1;
        let births = &mut self.births;
        let inode = self.inodes.entry(vino).or_insert_with(|| {
            *births = births.wrapping_add(1).max(1);
            Box::new(Inode::new(vino, kind, layout, *births))
        });
        let is_new = self.order.remove(&inode.used).is_none();
        if self.spare.remove(&inode.used) || is_new {
            self.spare.insert(self.clock);
        }
        inode.used = self.clock;
        self.order.insert(self.clock, vino);
        inode
    }

    /// The inode was used.
    pub(super) fn touch(&mut self, vino: Vino) {
        // What was used last often is what is used next.
        if let Some(inode) = self.inodes.get_mut(&vino).filter(|inode| inode.used != self.clock) {
            self.clock += 1;
            self.order.remove(&inode.used);
            if self.spare.remove(&inode.used) {
                self.spare.insert(self.clock);
            }
            inode.used = self.clock;
            self.order.insert(self.clock, vino);
        }
    }

    /// The inode may be one that can be forgotten. Whatever can be has been named here since it last could not, and every inode begins so: who looks
    /// for some to forget finds them without walking over all that are in use.
    pub(super) fn may_be_spare(&mut self, vino: Vino) {
        if let Some(inode) = self.inodes.get(&vino) {
            self.spare.insert(inode.used);
        }
    }

    /// The same for all inodes.
    pub(super) fn all_may_be_spare(&mut self) {
        self.spare = self.order.keys().copied().collect();
    }

    /// The inode that was used at this moment cannot be forgotten.
    pub(super) fn is_not_spare(&mut self, moment: u64) {
        self.spare.remove(&moment);
    }

    /// As [`oldest_from`](Self::oldest_from), of those that may be spare.
    pub(super) fn oldest_spare_from(&self, moment: u64) -> Option<(u64, Vino)> {
        #[cfg(test)]
        self.walked.set(self.walked.get() + 1);
        let moment = *self.spare.range(moment..).next()?;
        Some((moment, *self.order.get(&moment)?))
    }

    pub(super) fn remove(&mut self, vino: Vino) -> Option<Inode> {
        let inode = self.inodes.remove(&vino)?;
        self.order.remove(&inode.used);
        self.spare.remove(&inode.used);
        self.stored -= inode.weighed;
        Some(*inode)
    }

    /// Bytes of what is stored with all inodes.
    pub(super) fn stored(&self) -> usize {
        self.stored
    }

    /// What is stored with an inode may have changed.
    pub(super) fn weigh(&mut self, vino: Vino) {
        if let Some(inode) = self.inodes.get_mut(&vino) {
            let stored = inode.stored();
            self.stored = self.stored - inode.weighed + stored;
            inode.weighed = stored;
        }
    }

    /// Lets go of what is stored with an inode.
    pub(super) fn let_go(&mut self, vino: Vino) {
        if let Some(inode) = self.inodes.get_mut(&vino).filter(|inode| inode.weighed > 0) {
            inode.let_go();
            self.weigh(vino);
        }
    }

    /// Inodes used longest ago, from a moment on: that moment and the inode.
    pub(super) fn oldest_from(&self, moment: u64) -> Option<(u64, Vino)> {
        #[cfg(test)]
        self.walked.set(self.walked.get() + 1);
        self.order.range(moment..).next().map(|(moment, vino)| (*moment, *vino))
    }

    /// A layout, shared with others that are the same.
    pub(super) fn layout(&mut self, layout: &FileLayout) -> Arc<FileLayout> {
        if let Some(known) = self.layouts.iter().find(|known| ***known == *layout) {
            return known.clone();
        }
        let new = Arc::new(layout.clone());
        if self.layouts.len() >= LAYOUTS {
            self.layouts.remove(0);
        }
        self.layouts.push(new.clone());
        new
    }
}
