//! What the fate of sessions means for what is held.

use super::{Command, FsClient, Vino};
use crate::cephfs::answer::Invalid;
use crate::mds::{Caps, Rank, ReconnectCap};
use crate::time::Now;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ranks with an open session, and whether it was renewed in time: only then does what they give count. A rank with which there is no session can take
/// nothing back, and lets others have it after a while.
#[derive(Debug, Default)]
pub(super) struct OpenRanks(BTreeMap<Rank, bool>);

impl OpenRanks {
    /// Whether what this rank gives counts.
    pub(super) fn count(&self, rank: Rank) -> bool {
        self.0.get(&rank) == Some(&true)
    }
}

impl FsClient {
    /// Nothing of this rank counts at present. `revoked`: and what it gave does not count later either.
    pub fn suspended(&mut self, rank: Rank, revoked: bool, now: Now) {
        self.tick += 1;
        if let Some(counts) = self.open_ranks.0.get_mut(&rank) {
            *counts = false;
        }
        self.without_notice(rank, |cap| {
            cap.valid = false;
            if revoked {
                (cap.issued, cap.implemented, cap.wanted) = (Caps::PIN, Caps::PIN, Caps::NONE);
            }
        });
        self.drop_leases(false);
        self.settle(now);
    }

    /// What is held of this rank counts: its session is open, or was renewed.
    pub fn resumed(&mut self, rank: Rank, now: Now) {
        self.tick += 1;
        if self.open_ranks.0.insert(rank, true) != Some(true) {
            for vino in self.table.vinos() {
                let Some(inode) = self.table.get_mut(vino) else { continue };
                let before = inode.caps.issued();
                if let Some(cap) = inode.caps.get_mut(rank) {
                    cap.valid = true;
                    self.changed(vino, before);
                }
            }
        }
        self.wake_all();
        self.settle(now);
    }

    /// The session with this rank has ended or is not to be had, and all that was held in it is void.
    pub fn closed(&mut self, rank: Rank, now: Now) {
        self.tick += 1;
        let was_open = self.open_ranks.0.remove(&rank).is_some();
        self.releases.remove(&rank);
        self.recalls.remove(&rank);
        self.without_notice(rank, |cap| {
            (cap.valid, cap.issued, cap.implemented) = (false, Caps::NONE, Caps::NONE);
        });
        if was_open {
            self.drop_leases(false);
        }
        for inode in self.table.iter_mut() {
            inode.caps.remove(rank);
            inode.caps.forget_void(rank);
            if was_open {
                inode.forget_versions();
            }
        }
        self.wake_all();
        self.settle(now);
    }

    /// Changes all capabilities of a rank. If anything is lost, the user has to forget everything, and nobody waits until it has.
    fn without_notice(&mut self, rank: Rank, change: impl Fn(&mut crate::cephfs::cap::Cap)) {
        let mut lost = false;
        for inode in self.table.iter_mut() {
            let before = inode.caps.issued();
            let Some(cap) = inode.caps.get_mut(rank) else { continue };
            change(cap);
            lost |= !(before - inode.caps.issued() - Caps::PIN).is_empty();
        }
        if lost {
            self.tell_everything();
        }
    }

    fn wake_all(&mut self) {
        let waiting: Vec<Vino> = self.waiting.keys().copied().collect();
        for vino in waiting {
            self.wake(vino);
        }
    }

    /// Leases count no more. All of them: directories move between ranks, and nobody says which rank has a lease now. `tell`: name what the
    /// user may have kept under them, because it is not told to forget everything.
    fn drop_leases(&mut self, tell: bool) {
        let mut told: Vec<(Vino, Arc<[u8]>)> = Vec::new();
        for inode in self.table.iter_mut() {
            let dir = inode.vino();
            let Some(directory) = inode.directory.as_mut() else { continue };
            for ((_, name), dentry) in directory.dentries_mut() {
                dentry.lease = None;
                if std::mem::take(&mut dentry.told) {
                    told.push((dir, name.clone()));
                }
            }
        }
        told.sort();
        match (tell, told.is_empty()) {
            (true, _) => {
                for (dir, name) in told {
                    self.tell(Invalid::Entry(dir, name), None);
                }
            }
            (false, false) => self.tell_everything(),
            (false, true) => {}
        }
    }

    /// Another daemon takes the rank over, and asks what the client holds.
    pub fn reconnect(&mut self, rank: Rank, now: Now) {
        self.tick += 1;
        // What was to be given back is not told to be held: that gives it back.
        self.releases.remove(&rank);
        self.recalls.remove(&rank);
        self.drop_leases(true);
        let mut caps = Vec::new();
        for vino in self.table.vinos() {
            let Some(inode) = self.table.get_mut(vino) else { continue };
            let wanted = inode.wanted();
            let (path_base, path) =
                inode.parents.first().map_or((0, Vec::new()), |(parent, name)| (parent.ino, name.to_vec()));
            inode.forget_versions();
            inode.caps.forget_void(rank);
            let Some(cap) = inode.caps.get_mut(rank) else { continue };
            (cap.seq, cap.issue_seq, cap.mseq, cap.wanted) = (0, 0, 0, wanted);
            // What could not be given back yet is told to be held: the new daemon takes it back again, if it has to.
            cap.answer_due = false;
            if !cap.leaving {
                cap.issued = cap.implemented;
            }
            caps.push(ReconnectCap {
                ino: vino.ino,
                cap_id: cap.id,
                wanted,
                issued: cap.implemented | Caps::PIN,
                realm: cap.realm,
                path_base,
                path,
                snap_follows: 0,
            });
        }
        let used = self.table.iter().flat_map(|inode| inode.caps.iter().map(|(_, cap)| cap.realm));
        self.realms.retain(used);
        let realms = self.realms.tell();
        self.commands.push_back(Command::Reconnect { rank, caps, realms });
        self.settle(now);
    }
}
