//! Forgetting what was not used for long.

use super::{FsClient, Vino};
use crate::cephfs::INODE_BYTES;
use crate::cephfs::answer::{Done, Invalid};
use crate::mds::Rank;
use crate::time::Now;

/// Inodes that are taken from the user at one time: each may take a message of the user and one to an MDS.
const TAKEN_AT_ONCE: usize = 1024;

impl FsClient {
    /// A rank asks to hold not more than so many of its capabilities.
    pub fn recall(&mut self, rank: Rank, max_caps: u64, now: Now) {
        self.tick += 1;
        let held =
            self.table.iter().filter(|inode| inode.caps.get(rank).is_some_and(|cap| !cap.leaving)).count();
        let wanted = usize::try_from(max_caps).unwrap_or(usize::MAX);
        let mut surplus = held.saturating_sub(wanted);
        if surplus > 0 {
            let has = |client: &Self, vino: Vino| {
                client
                    .table
                    .get(vino)
                    .is_some_and(|inode| inode.caps.get(rank).is_some_and(|cap| !cap.leaving))
            };
            surplus -= self.drop_oldest(surplus, |client, vino| has(client, vino) && client.is_idle(vino));
            if surplus > 0 {
                self.done.push_back(Done::Shrink { count: surplus as u64 });
                self.take_oldest(surplus, |client, vino| has(client, vino));
            }
        }
        self.settle(now);
    }

    /// Whether nobody would miss an inode.
    fn is_idle(&self, vino: Vino) -> bool {
        self.table.get(vino).is_some_and(|inode| inode.refs == 0) && self.is_unused(vino)
    }

    /// Whether an inode can be forgotten, and be found again by its number.
    fn is_unused(&self, vino: Vino) -> bool {
        let unused = self.table.get(vino).is_some_and(|inode| {
            let told = inode.told.attributes || inode.told.pages || inode.told.entries;
            inode.opens == 0 && inode.readers == 0 && inode.holds.is_empty() && !told
        });
        unused && !self.waiting.contains_key(&vino)
    }

    /// Forgets the inodes that were used longest ago, up to a number, and tells how many.
    fn drop_oldest(&mut self, count: usize, which: impl Fn(&Self, Vino) -> bool) -> usize {
        let (mut dropped, mut from) = (0, 0);
        while dropped < count {
            let Some((moment, vino)) = self.table.oldest_from(from) else { break };
            from = moment + 1;
            if which(self, vino) {
                self.drop_inode(vino);
                dropped += 1;
            }
        }
        dropped
    }

    /// Takes the inodes that were used longest ago from the user, and gives their capabilities back.
    fn take_oldest(&mut self, count: usize, which: impl Fn(&Self, Vino) -> bool) {
        let (mut taken, mut from) = (0, 0);
        while taken < count.min(TAKEN_AT_ONCE) {
            let Some((moment, vino)) = self.table.oldest_from(from) else { break };
            from = moment + 1;
            let open = self.table.get(vino).is_none_or(|inode| inode.opens > 0 || inode.readers > 0);
            if !open && which(self, vino) {
                self.leave(vino);
                taken += 1;
            }
        }
    }

    /// Forgets an inode, and gives back what is held of it.
    pub(super) fn drop_inode(&mut self, vino: Vino) {
        let Some(inode) = self.table.remove(vino) else { return };
        for (rank, cap) in inode.caps.iter() {
            self.release(rank, vino.ino, cap.gone());
        }
        for (dir, name) in &inode.parents {
            let place = self.place(*dir, name);
            if let Some(directory) = self.table.get_mut(*dir).and_then(|inode| inode.directory.as_mut()) {
                directory.remove(&place);
            }
        }
        if let Some(directory) = &inode.directory {
            for ((_, name), dentry) in directory.names() {
                self.unlink_back(vino, name, dentry);
                if dentry.told {
                    // The MDS may ask for the lease at any time, and then nothing will be known of it.
                    self.tell(Invalid::Entry(vino, name.clone()), None);
                }
            }
        }
        self.unlinked.remove(&vino);
        self.absent.remove(&vino);
    }

    /// Keeps to the limits.
    pub(super) fn trim(&mut self) {
        self.trim_stored();
        self.trim_unlinked();
        self.trim_absent();
        let surplus = self.table.len().saturating_sub(self.config.idle_inodes);
        // One by one would walk over the same inodes in use again and again.
        if surplus > 0 && self.table.len() >= self.trim_again {
            self.drop_oldest(surplus, Self::is_idle);
            self.trim_again = self.table.len() + (self.config.idle_inodes / 16).max(1);
        }
        self.trim_known();
    }

    /// Inodes that the user has references to.
    fn trim_known(&mut self) {
        let all = self.config.all_inodes;
        if self.table.len() <= all {
            return;
        }
        // Some room besides, of which the user is given to keep what comes next.
        let surplus = self.table.len() - (all - all / 16);
        let dropped = self.drop_oldest(surplus, |client, vino| vino.is_head() && client.is_unused(vino));
        // The user is just forgetting some.
        let wanted = (surplus - dropped).saturating_sub(self.holds.len());
        self.take_oldest(wanted, |client, vino| {
            vino.is_head() && client.table.get(vino).is_some_and(|inode| inode.holds.is_empty())
        });
    }

    /// What is stored with inodes can be had again, so that goes before the inodes themselves: of those that were used longest ago. The rights to it
    /// stay, and nobody has to be told.
    fn trim_stored(&mut self) {
        let inodes = self.table.len().saturating_mul(INODE_BYTES);
        let most = self.config.memory.saturating_sub(inodes).max(self.config.memory / 4);
        if self.table.stored() <= most {
            return;
        }
        let mut from = 0;
        // Some more than has to be, or all would be walked over again for each that comes.
        while self.table.stored() > most / 4 * 3 {
            let Some((moment, vino)) = self.table.oldest_from(from) else { break };
            from = moment + 1;
            self.table.let_go(vino);
        }
    }

    /// Inodes without names: their space is freed only when nobody holds them.
    fn trim_unlinked(&mut self) {
        let unlinked: Vec<Vino> = self.unlinked.iter().copied().collect();
        for vino in unlinked {
            let Some(inode) = self.table.get(vino).filter(|inode| inode.attributes.nlink == 0) else {
                self.unlinked.remove(&vino);
                continue;
            };
            if inode.opens == 0 && inode.readers == 0 {
                self.unlinked.remove(&vino);
                self.leave(vino);
            }
        }
    }

    /// Names that do not exist.
    fn trim_absent(&mut self) {
        let all: usize = self.absent.values().sum();
        if all <= self.config.absent_names {
            return;
        }
        for (dir, _) in std::mem::take(&mut self.absent) {
            if let Some(directory) = self.table.get_mut(dir).and_then(|inode| inode.directory.as_mut()) {
                directory.remove_absent();
                let left = directory.absent();
                if left > 0 {
                    self.absent.insert(dir, left);
                }
            }
        }
    }
}
