//! Giving back to a rank that wants to remember less.

use super::{FsClient, Vino};
use crate::cephfs::answer::Done;
use crate::cephfs::inode::Inode;
use crate::mds::Rank;
use crate::time::Now;

/// Messages that the user has at one time because something is taken from it which nobody else waits for. More would stand before what others wait for.
const TAKEN_AT_ONCE: usize = 1024;

/// What a rank wants to have back.
#[derive(Debug)]
pub(super) struct Recall {
    /// So many of its capabilities more.
    surplus: usize,
    /// Inodes that were used before this moment were looked at.
    from: u64,
}

/// Whether a rank has given a capability of the inode that is not being given back.
fn is_held(inode: &Inode, rank: Rank) -> bool {
    inode.caps.get(rank).is_some_and(|cap| !cap.leaving)
}

impl FsClient {
    /// A rank asks to hold not more than so many of its capabilities. It counts what it gets back, and complains of a client that gives back less
    /// than it asked for: what cannot be had at once is taken from the user bit by bit, until it is enough.
    pub fn recall(&mut self, rank: Rank, max_caps: u64, now: Now) {
        self.tick += 1;
        let held = self.table.iter().filter(|inode| is_held(inode, rank)).count();
        let surplus = held.saturating_sub(usize::try_from(max_caps).unwrap_or(usize::MAX));
        self.recalls.insert(rank, Recall { surplus, from: 0 });
        self.drop_oldest(surplus, |inode| inode.refs == 0 && is_held(inode, rank));
        let left = self.surplus(rank);
        if left > 0 {
            self.done.push_back(Done::Shrink { count: left as u64 });
        }
        self.take_recalled();
        self.settle(now);
    }

    fn surplus(&self, rank: Rank) -> usize {
        self.recalls.get(&rank).map_or(0, |recall| recall.surplus)
    }

    /// A capability of this rank is about to be given back.
    pub(super) fn gives_back_to(&mut self, rank: Rank) {
        if let Some(recall) = self.recalls.get_mut(&rank) {
            recall.surplus = recall.surplus.saturating_sub(1);
        }
    }

    /// Goes on with what ranks want to have back, of the inodes that were used longest ago.
    pub(super) fn take_recalled(&mut self) {
        let ranks: Vec<Rank> = self.recalls.keys().copied().collect();
        for rank in ranks {
            while self.may_take() > 0 && self.surplus(rank) > 0 {
                let Some(recall) = self.recalls.get_mut(&rank) else { break };
                let Some((moment, vino)) = self.table.oldest_from(recall.from) else {
                    recall.surplus = 0;
                    break;
                };
                recall.from = moment + 1;
                let free = |inode: &Inode| is_held(inode, rank) && inode.opens == 0 && inode.readers == 0;
                if self.table.get(vino).is_some_and(free) {
                    self.take(vino);
                }
            }
            if self.surplus(rank) == 0 {
                self.recalls.remove(&rank);
            }
        }
    }

    /// How much may be taken from the user before it has forgotten what was taken before.
    pub(super) fn may_take(&self) -> usize {
        TAKEN_AT_ONCE.saturating_sub(self.taken.len())
    }

    /// Takes an inode from the user that nobody else waits for.
    pub(super) fn take(&mut self, vino: Vino) {
        let first = self.last_hold + 1;
        self.leave(vino);
        self.taken.extend(first..=self.last_hold);
    }
}
