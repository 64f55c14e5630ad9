//! The names that are known of one directory.
//!
//! A name is known for one of two reasons. The directory's `Fs` capability says that no name changes while it is held; each time it is had
//! anew begins a new *period*, and a name belongs to the period in which it was told. Or the MDS has leased the single name.
//! A directory is *complete* in a period if all of its names are known: what is not among them does not exist.

use super::ids::Vino;
use crate::mds::{Frag, FragTree, Rank, name_hash};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bits of a hash by which names are ordered.
const HASH_MASK: u32 = (1 << 24) - 1;

/// Where a name stands in its directory: names are listed by hash, and those of one hash by their bytes (`dentry_key_t`).
pub(super) type Place = (u32, Arc<[u8]>);

/// A single name's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// When it ends, on the monotonic clock.
    pub(super) until_ms: u64,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dentry {
    /// What it leads to; `None`: there is no such name.
    pub(super) target: Option<Vino>,
    /// The period in which it was told; 0: it was told without the directory's capability.
    pub(super) period: u64,
    pub(super) lease: Option<Lease>,
    /// The user may have kept it under the lease.
    pub(super) told: bool,
}

impl Dentry {
    /// Whether the user may have kept it under a lease that has not ended at this moment.
    pub(super) fn is_kept(&self, now_ms: u64) -> bool {
        self.told && self.lease.is_some_and(|lease| lease.until_ms > now_ms)
    }
}

/// What is known of a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    names: BTreeMap<Place, Dentry>,
    /// How many of the names do not exist.
    absent: usize,
    /// The present period; the last one if the capability is not held.
    pub(super) period: u64,
    /// All names of this period are known; 0: of none.
    complete: u64,
    /// Goes up whenever a name that may exist stops being known, and with each period.
    disturbed: u64,
    /// Which hash orders the names.
    pub(super) hash: u8,
    /// How it is split into fragments.
    pub(super) tree: FragTree,
    /// Who serves a fragment, where that was told.
    authority: BTreeMap<Frag, Rank>,
    /// Until when the user may keep names under leases.
    pub(super) kept_until_ms: u64,
}

/// Fragments whose server is remembered: a directory has few, and what is told may be wrong.
const AUTHORITIES_MAX: usize = 1024;

impl Directory {
    /// A directory of which nothing is known. `birth` is another number for each: what is counted of a directory that was forgotten and is
    /// known again must not be taken for what was counted before.
    pub(super) fn new(birth: u32) -> Self {
        let first = u64::from(birth) << 32;
        Self { period: first, disturbed: first, ..Self::default() }
    }

    /// The place of a name.
    pub(super) fn place(&self, name: &[u8]) -> Place {
        (self.hash_of(name), name.into())
    }

    /// The bits of a name's hash that count.
    pub(super) fn hash_of(&self, name: &[u8]) -> u32 {
        name_hash(self.hash, name) & HASH_MASK
    }

    /// The layout of the directory says which hash it uses. It never changes; if it does, everything known is in the wrong order.
    pub(super) fn set_hash(&mut self, hash: u8) -> Vec<(Arc<[u8]>, Dentry)> {
        if self.hash == hash {
            return Vec::new();
        }
        self.hash = hash;
        self.disturb();
        self.absent = 0;
        std::mem::take(&mut self.names).into_iter().map(|((_, name), dentry)| (name, dentry)).collect()
    }

    /// The capability is had anew: nobody knows what has changed meanwhile.
    pub(super) fn begin_period(&mut self) {
        self.period += 1;
        self.disturb();
    }

    fn disturb(&mut self) {
        self.disturbed += 1;
        self.complete = 0;
    }

    /// A number that is the same at the end of a listing if nothing came in between.
    pub(super) fn disturbed(&self) -> u64 {
        self.disturbed
    }

    /// All names were listed, from the first to the last one, and [`disturbed`](Self::disturbed) is what it was. What is known from before
    /// this period is forgotten; the names that are no longer known are returned.
    pub(super) fn completed(&mut self) -> Vec<(Arc<[u8]>, Dentry)> {
        self.complete = self.period;
        let period = self.period;
        let old: Vec<Place> = self
            .names
            .iter()
            .filter(|(_, dentry)| dentry.period != period && dentry.lease.is_none())
            .map(|(place, _)| place.clone())
            .collect();
        old.into_iter().filter_map(|place| Some((place.1.clone(), self.take(&place)?))).collect()
    }

    /// Whether all names are known, provided that the capability is held.
    pub(super) fn is_complete(&self) -> bool {
        self.complete != 0 && self.complete == self.period
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Dentry> {
        self.names.get(place)
    }

    pub(super) fn get_mut(&mut self, place: &Place) -> Option<&mut Dentry> {
        self.names.get_mut(place)
    }

    /// Notes a name, and returns what was known of it before.
    pub(super) fn insert(&mut self, place: Place, dentry: Dentry) -> Option<Dentry> {
        self.absent += usize::from(dentry.target.is_none());
        let old = self.names.insert(place, dentry);
        self.absent -= usize::from(old.as_ref().is_some_and(|old| old.target.is_none()));
        old
    }

    fn take(&mut self, place: &Place) -> Option<Dentry> {
        let old = self.names.remove(place)?;
        self.absent -= usize::from(old.target.is_none());
        Some(old)
    }

    /// Forgets a name. If it may exist, not all names are known any more.
    pub(super) fn remove(&mut self, place: &Place) -> Option<Dentry> {
        let old = self.take(place)?;
        if old.target.is_some() && old.period == self.period {
            self.disturb();
        }
        Some(old)
    }

    /// Forgets that names do not exist, but those whose absence the user may have kept under a lease that has not ended at this moment.
    pub(super) fn remove_absent(&mut self, now_ms: u64) {
        self.names.retain(|_, dentry| dentry.target.is_some() || dentry.is_kept(now_ms));
        self.absent = self.names.values().filter(|dentry| dentry.target.is_none()).count();
    }

    /// How many names are known not to exist.
    pub(super) fn absent(&self) -> usize {
        self.absent
    }

    /// Names from a place on.
    pub(super) fn from(&self, place: &Place) -> impl Iterator<Item = (&Place, &Dentry)> {
        self.names.range(place.clone()..)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&Place, &Dentry)> {
        self.names.iter()
    }

    pub(super) fn dentries_mut(&mut self) -> impl Iterator<Item = (&Place, &mut Dentry)> {
        self.names.iter_mut()
    }

    /// Notes who serves a fragment.
    pub(super) fn served_by(&mut self, frag: Frag, rank: Option<Rank>) {
        match rank {
            Some(rank) if self.authority.len() < AUTHORITIES_MAX => {
                self.authority.insert(frag, rank);
            }
            _ => {
                self.authority.remove(&frag);
            }
        }
    }

    /// Who serves the names of this hash, if it was told.
    pub(super) fn authority(&self, hash: u32) -> Option<Rank> {
        self.authority.get(&self.tree.leaf(hash)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dentry(target: Option<u64>, period: u64) -> Dentry {
        Dentry { target: target.map(Vino::head), period, lease: None, told: false }
    }

    #[test]
    fn a_directory_is_complete_in_one_period() {
        let mut directory = Directory { hash: 2, ..Directory::default() };
        directory.begin_period();
        let (a, b) = (directory.place(b"a"), directory.place(b"b"));
        directory.insert(a.clone(), dentry(Some(1), 0));
        directory.insert(b.clone(), dentry(Some(2), 1));
        let before = directory.disturbed();
        let old = directory.completed();
        assert_eq!(old.len(), 1);
        assert!(directory.is_complete() && directory.get(&a).is_none() && directory.disturbed() == before);
        directory.begin_period();
        assert!(!directory.is_complete());
        directory.completed();
        assert!(directory.is_complete());
    }

    #[test]
    fn forgetting_a_name_that_exists_disturbs() {
        let mut directory = Directory { hash: 2, ..Directory::default() };
        directory.begin_period();
        let (a, b) = (directory.place(b"a"), directory.place(b"b"));
        directory.insert(a.clone(), dentry(None, 1));
        directory.insert(b.clone(), dentry(Some(2), 1));
        directory.completed();
        assert_eq!(directory.absent(), 1);
        directory.remove(&a);
        assert!(directory.is_complete() && directory.absent() == 0);
        directory.insert(a.clone(), dentry(None, 1));
        directory.remove_absent(0);
        assert_eq!((directory.absent(), directory.names().count()), (0, 1));
        directory.remove(&b);
        assert!(!directory.is_complete());
    }
}
