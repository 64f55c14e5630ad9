//! Snapshot realms: trees that have a list of snapshots of their own.
//!
//! A reader needs no list of snapshots. But an MDS that takes a rank over wants to be told which realms the client knows, and the time of a directory of
//! snapshots is that of its realm.

use crate::mds::{ReconnectRealm, SnapTrace};
use crate::types::UTime;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Realm {
    /// Goes up with each snapshot in it.
    seq: u64,
    /// The realm around it; 0: none.
    parent: u64,
    /// When a snapshot was last made or removed; not told before Ceph 18.
    modified: Option<UTime>,
}

/// Realms that are known, by the number of the inode at which they begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Realms {
    realms: BTreeMap<u64, Realm>,
}

/// Realms above one another. Linux has no limit; a path of Ceph is not longer.
const DEPTH_MAX: usize = 4096;

impl Realms {
    /// Notes what a message says of realms: the innermost one first, each followed by the one around it.
    pub(super) fn update(&mut self, trace: &SnapTrace) {
        for realm in &trace.realms {
            let known = self.realms.get(&realm.ino);
            if known.is_none_or(|known| known.seq <= realm.seq) {
                self.realms.insert(
                    realm.ino,
                    Realm { seq: realm.seq, parent: realm.parent, modified: realm.last_modified },
                );
            }
        }
    }

    /// When a snapshot of a realm was last made or removed, if that is known.
    pub(super) fn modified(&self, ino: u64) -> Option<UTime> {
        self.realms.get(&ino)?.modified
    }

    /// A realm has become part of the one around it.
    pub(super) fn remove(&mut self, ino: u64) {
        self.realms.remove(&ino);
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.realms.len()
    }

    /// Forgets all but these and those around them.
    pub(super) fn retain(&mut self, used: impl Iterator<Item = u64>) {
        let mut wanted = BTreeSet::new();
        for ino in used {
            let mut at = ino;
            for _ in 0..DEPTH_MAX {
                let Some(realm) = self.realms.get(&at).filter(|_| wanted.insert(at)) else { break };
                at = realm.parent;
            }
        }
        self.realms.retain(|ino, _| wanted.contains(ino));
    }

    /// All of them, for an MDS that asks.
    pub(super) fn tell(&self) -> Vec<ReconnectRealm> {
        let tell =
            |(&ino, realm): (&u64, &Realm)| ReconnectRealm { ino, seq: realm.seq, parent: realm.parent };
        self.realms.iter().map(tell).collect()
    }
}
