//! What metadata servers say about capabilities, leases, snapshots and quotas.

use super::{Command, FsClient, Vino};
use crate::cephfs::answer::{Invalid, RecursiveStat};
use crate::cephfs::cap::{Gone, Issue, Moved};
use crate::cephfs::inode::PAGES;
use crate::mds::{
    CapOp, Caps, CapsMessage, LeaseAction, LeaseMessage, QuotaMessage, Rank, SnapMessage, SnapOp, cap_flags,
};
use crate::time::Now;
use crate::types::Epoch;
use std::sync::Arc;

impl FsClient {
    /// A rank says something about a capability.
    pub fn caps(&mut self, rank: Rank, message: &CapsMessage, now: Now) {
        self.tick += 1;
        self.realms.update(&message.snap_trace);
        self.take_caps(rank, message);
        self.settle(now);
    }

    /// No object may be read or written with an older map of OSDs than this.
    pub fn osd_barrier(&mut self, epoch: Epoch) {
        self.barrier = self.barrier.max(epoch);
    }

    fn take_caps(&mut self, rank: Rank, message: &CapsMessage) {
        let vino = Vino::head(message.ino);
        let Some(inode) = self.table.get_mut(vino) else { return self.disown(rank, message) };
        let known = inode.caps.get(rank).is_some_and(|cap| cap.id == message.cap_id);
        let before = inode.caps.issued();
        match message.op {
            CapOp::Import => self.imported(rank, vino, message),
            CapOp::Export => {
                let to = message.peer.filter(|peer| peer.cap_id != 0).map(|peer| Moved {
                    to: peer.rank,
                    id: peer.cap_id,
                    seq: peer.seq,
                    mseq: peer.mseq,
                    valid: self.open_ranks.count(peer.rank),
                });
                inode.caps.export(rank, message.cap_id, to);
                if let Some(to) = to {
                    self.commands.push_back(Command::Open { rank: to.to });
                }
            }
            CapOp::Grant | CapOp::Revoke if known => {
                inode.caps.change(rank, message.caps, message.seq, message.op == CapOp::Revoke);
                if let Some(cap) = inode.caps.get_mut(rank) {
                    // What it has not heard yet of what this client wants less or more it does not know here.
                    cap.wanted |= message.wanted;
                }
            }
            CapOp::Trunc => self.truncated(vino, message),
            _ if !known => return self.disown(rank, message),
            _ => return,
        }
        if matches!(message.op, CapOp::Import | CapOp::Grant | CapOp::Revoke) {
            let layout = self.table.layout(&message.body.layout);
            if let Some(inode) = self.table.get_mut(vino) {
                let issued = inode.caps.issued() & message.caps;
                inode.fill_from_caps(message, issued, layout);
                if inode.attributes.nlink == 0 {
                    self.unlinked.insert(vino);
                }
            }
            self.table.weigh(vino);
        }
        self.changed(vino, before);
        self.give_back(vino);
    }

    /// An inode has moved to this rank.
    fn imported(&mut self, rank: Rank, vino: Vino, message: &CapsMessage) {
        let valid = self.open_ranks.count(rank);
        let Some(inode) = self.table.get_mut(vino) else { return };
        let issue = Issue {
            id: message.cap_id,
            caps: message.caps,
            wanted: message.wanted,
            seq: message.seq,
            mseq: message.migrate_seq,
            realm: message.realm,
            auth: true,
            valid,
        };
        let peer = message.peer.filter(|peer| peer.cap_id != 0);
        let peer = peer.map(|peer| (peer.rank, peer.cap_id, peer.flags & cap_flags::RELEASE != 0));
        if let Some((peer, gone)) = inode.caps.import(rank, issue, peer) {
            self.release(peer, vino.ino, gone);
        }
    }

    /// The file was cut. Whoever could keep bytes of it has been asked to forget them before; this is for those who kept them all the same.
    fn truncated(&mut self, vino: Vino, message: &CapsMessage) {
        let Some(inode) = self.table.get_mut(vino) else { return };
        let body = &message.body;
        inode.truncated(body.size, body.truncate_seq, body.truncate_size);
        let told = inode.told;
        if told.attributes {
            inode.told.attributes = false;
            self.hold(Invalid::Attributes(vino), vino, Caps::ANY_SHARED);
        }
        if told.pages {
            if let Some(inode) = self.table.get_mut(vino) {
                inode.told.pages = false;
            }
            self.hold(Invalid::Data(vino), vino, PAGES);
        }
    }

    /// A capability of an inode that is not known (any more) is given back, so that nobody waits for it.
    fn disown(&mut self, rank: Rank, message: &CapsMessage) {
        if matches!(message.op, CapOp::Import | CapOp::Grant | CapOp::Revoke) {
            let gone = Gone { id: message.cap_id, mseq: message.migrate_seq, issue_seq: message.seq };
            self.release(rank, message.ino, gone);
        }
    }

    /// A rank says something about the lease of a name.
    pub fn lease_message(&mut self, rank: Rank, message: LeaseMessage, now: Now) {
        self.tick += 1;
        if message.action == LeaseAction::Revoke {
            let dir = Vino::head(message.ino);
            let name: Arc<[u8]> = message.name.as_slice().into();
            let answer = LeaseMessage { action: LeaseAction::RevokeAck, ..message };
            let place = self.place(dir, &name);
            let directory = self.table.get_mut(dir).and_then(|inode| inode.directory.as_mut());
            let dentry = directory.and_then(|directory| directory.get_mut(&place));
            let mut told = false;
            // Whichever rank gave it: the directory may have moved since.
            if let Some(dentry) = dentry {
                dentry.lease = None;
                told = std::mem::take(&mut dentry.told);
            }
            if told {
                self.hold_lease(Invalid::Entry(dir, name), rank, answer);
            } else {
                self.answer_lease(dir, name, rank, answer);
            }
        }
        self.settle(now);
    }

    /// Snapshots came or went, which changes the times of the directories they are of.
    pub fn snapshots(&mut self, message: &SnapMessage) {
        self.realms.update(&message.trace);
        for ino in message.trace.realms.iter().map(|realm| realm.ino).chain([message.split]) {
            let vino = Vino::head(ino);
            let Some(inode) = self.table.get_mut(vino) else { continue };
            inode.doubt();
            if inode.told.attributes {
                self.attributes_are_old(vino);
            }
        }
        match message.op {
            SnapOp::Split => {
                for ino in &message.split_inos {
                    let Some(inode) = self.table.get_mut(Vino::head(*ino)) else { continue };
                    inode.caps.iter_mut().for_each(|(_, cap)| cap.realm = message.split);
                }
            }
            SnapOp::Destroy => self.realms.remove(message.split),
            SnapOp::Update | SnapOp::Create | SnapOp::Other(_) => {}
        }
        if self.realms.len() > self.config.all_inodes {
            let used = self.table.iter().flat_map(|inode| inode.caps.iter().map(|(_, cap)| cap.realm));
            self.realms.retain(used);
        }
    }

    /// How much of a quota is used.
    pub fn quota(&mut self, message: &QuotaMessage) {
        if let Some(inode) = self.table.get_mut(Vino::head(message.ino)) {
            inode.attributes.quota = message.quota;
            inode.attributes.recursive = RecursiveStat {
                ctime: message.rctime,
                bytes: message.rbytes,
                files: message.rfiles,
                subdirs: message.rsubdirs,
                snaps: inode.attributes.recursive.snaps,
            };
        }
    }
}
