//! Forgetting what was not used for long.

use super::{FsClient, Vino};
use crate::cephfs::INODE_BYTES;
use crate::cephfs::inode::{Inode, Told};
use crate::time::Now;

impl FsClient {
    /// Whether an inode can be forgotten: the user has kept nothing of it, and has no reference or one that is good for an inode that is found
    /// again by its number.
    pub(super) fn is_spare(&self, vino: Vino) -> bool {
        let spare = self.table.get(vino).is_some_and(|inode| {
            let told = inode.told.attributes || inode.told.pages || inode.told.entries;
            let used = inode.opens > 0 || inode.readers > 0 || inode.listed > 0;
            let unused = !used && inode.holds.is_empty() && !told;
            unused && (inode.refs == 0 || vino.is_head())
        });
        spare && !self.waiting.contains_key(&vino)
    }

    /// Forgets the inodes that were used longest ago, up to a number, and tells how many. Directories of which the user keeps leased names stay: it
    /// would have to forget all of these, and they are looked at.
    pub(super) fn drop_oldest(&mut self, count: usize, which: impl Fn(&Inode) -> bool) -> usize {
        let (mut dropped, mut from) = (0, 0);
        while dropped < count {
            let Some((moment, vino)) = self.table.oldest_spare_from(from) else { break };
            from = moment + 1;
            let leases = |inode: &Inode| {
                inode.directory.as_deref().is_some_and(|directory| directory.kept_until_ms > self.seen_ms)
            };
            if !self.is_spare(vino) {
                self.table.is_not_spare(moment);
            } else if self.table.get(vino).is_some_and(|inode| which(inode) && !leases(inode)) {
                self.drop_inode(vino);
                dropped += 1;
            }
        }
        dropped
    }

    /// Forgets an inode, and gives back what is held of it.
    pub(super) fn drop_inode(&mut self, vino: Vino) {
        let Some(inode) = self.table.remove(vino) else { return };
        for (rank, cap) in inode.caps.iter() {
            if !cap.leaving {
                self.gives_back_to(rank);
            }
            self.release(rank, vino.ino, cap.gone());
        }
        for (dir, name) in &inode.parents {
            let place = self.place(*dir, name);
            let directory = self.table.get_mut(*dir).and_then(|inode| inode.directory.as_mut());
            let gone = directory.and_then(|directory| directory.remove(&place));
            if gone.is_some_and(|dentry| dentry.is_kept(self.seen_ms)) {
                self.hold_name(*dir, name);
            }
        }
        if let Some(directory) = &inode.directory {
            for ((_, name), dentry) in directory.names() {
                self.unlink_back(vino, name, dentry);
                if dentry.is_kept(self.seen_ms) {
                    self.hold_name(vino, name);
                }
            }
        }
        self.unlinked.remove(&vino);
        self.absent.note(vino, 0);
    }

    /// Keeps to the limits.
    pub(super) fn trim(&mut self, now: Now) {
        self.trim_stored();
        self.trim_unlinked();
        self.trim_absent(now);
        let surplus = self.table.len().saturating_sub(self.config.idle_inodes);
        // One by one would walk over the same inodes with references again and again.
        if surplus > 0 && self.table.len() >= self.trim_again {
            self.drop_oldest(surplus, |inode| inode.refs == 0);
            self.trim_again = self.table.len() + (self.config.idle_inodes / 16).max(1);
        }
        self.trim_known();
    }

    /// Inodes that the user has references to.
    fn trim_known(&mut self) {
        let all = self.config.all_inodes;
        // Some room besides, of which the user is given to keep what comes next.
        let enough = all - all / 16;
        if self.table.len() <= all {
            if self.table.len() <= enough {
                self.taken_to = 0;
            }
            return;
        }
        let surplus = self.table.len() - enough;
        let dropped = self.drop_oldest(surplus, |_| true);
        // The user is just forgetting some.
        let wanted = (surplus - dropped).saturating_sub(self.taken.len());
        self.take_oldest(wanted);
    }

    /// Takes inodes that were used longest ago from the user, up to a number, and goes on where it has ended the last time.
    fn take_oldest(&mut self, count: usize) {
        let mut taken = 0;
        while taken < count && self.may_take() > 0 {
            let Some((moment, vino)) = self.table.oldest_from(self.taken_to) else { break };
            self.taken_to = moment + 1;
            let free = |inode: &Inode| inode.opens == 0 && inode.readers == 0 && inode.holds.is_empty();
            if vino.is_head() && self.table.get(vino).is_some_and(free) {
                self.take(vino);
                taken += 1;
            }
        }
    }

    /// A use of an inode may have been the last one.
    pub(super) fn let_alone(&mut self, vino: Vino) {
        let Some(inode) = self.table.get(vino) else { return };
        if inode.attributes.nlink == 0 && vino.is_head() {
            self.unlinked.insert(vino);
        }
        if inode.told != Told::default() {
            self.taken_to = self.taken_to.min(inode.used);
        }
        self.unneeded.push(vino);
        if self.is_spare(vino) {
            self.table.may_be_spare(vino);
        }
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

    /// Inodes without names: their space is freed only when nobody holds them. Those that are in use are looked at again when they are not any more.
    fn trim_unlinked(&mut self) {
        for vino in std::mem::take(&mut self.unlinked) {
            let unused =
                |inode: &Inode| inode.attributes.nlink == 0 && inode.opens == 0 && inode.readers == 0;
            if self.table.get(vino).is_some_and(unused) {
                self.leave(vino);
            }
        }
    }

    /// Names that do not exist.
    fn trim_absent(&mut self, now: Now) {
        let most = self.config.absent_names;
        if self.absent.all() <= most.max(self.absent_again) {
            return;
        }
        for dir in self.absent.directories() {
            let directory = self.table.get_mut(dir).and_then(|inode| inode.directory.as_mut());
            let left = directory.map_or(0, |directory| {
                directory.remove_absent(now.monotonic_ms);
                directory.absent()
            });
            self.absent.note(dir, left);
        }
        // What is left is in use: all of it would be walked over again for each that comes.
        self.absent_again = self.absent.all() + most / 16;
    }
}
