//! The capabilities of one inode: what each MDS has issued, what of it is still held, and what is wanted.
//!
//! Words as in Ceph: *issued* is what the MDS last said the client may have, *implemented* what the client has not given back yet.
//! The difference is being revoked. Every message about a capability has a number (`seq`); a message that gave the capability out anew
//! is remembered as `issue_seq`; `mseq` counts moves from one MDS to another.

use crate::mds::{Caps, Rank};

/// Whether a number of a sequence comes before another one (`ceph_seq_cmp`): numbers may wrap.
#[must_use]
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// A capability given out by one MDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cap {
    /// Names it at its MDS.
    pub(super) id: u64,
    pub(super) issued: Caps,
    pub(super) implemented: Caps,
    /// What the MDS believes that is wanted.
    pub(super) wanted: Caps,
    pub(super) seq: u32,
    pub(super) issue_seq: u32,
    pub(super) mseq: u32,
    /// Snapshot realm of the inode.
    pub(super) realm: u64,
    /// It is given back as a whole as soon as nobody uses it any more.
    pub(super) leaving: bool,
    /// The MDS waits for an answer, even if there is nothing to give back.
    pub(super) answer_due: bool,
    /// The session in which it was given is open and alive. Otherwise the MDS may have given it to others meanwhile.
    pub(super) valid: bool,
}

/// What an MDS says when it gives a capability out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issue {
    pub(super) id: u64,
    pub(super) caps: Caps,
    pub(super) wanted: Caps,
    pub(super) seq: u32,
    pub(super) mseq: u32,
    pub(super) realm: u64,
    /// It comes from the MDS that is responsible for the inode.
    pub(super) auth: bool,
    /// [`Cap::valid`].
    pub(super) valid: bool,
}

/// Where an inode moves, as the MDS says that had it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) to: Rank,
    /// Names the capability there.
    pub(super) id: u64,
    pub(super) seq: u32,
    pub(super) mseq: u32,
    /// [`Cap::valid`] of the session there.
    pub(super) valid: bool,
}

/// What a client has to tell an MDS to give a capability back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) id: u64,
    pub(super) mseq: u32,
    pub(super) issue_seq: u32,
}

/// The capabilities of an inode, at most one from each MDS.
#[derive(Clone, Debug, Default)]
pub(super) struct CapSet {
    caps: Vec<(Rank, Cap)>,
    /// The MDS that is responsible for the inode, if it has given a capability.
    auth: Option<Rank>,
    /// Of an inode in a snapshot: what never changes. It is not counted and not revoked.
    pub(super) frozen: Caps,
    /// Capabilities that another MDS has taken over, the last of each MDS: an answer that this one sent before may come late, and would give
    /// out again what nobody takes back.
    void: Vec<(Rank, u64)>,
}

impl CapSet {
    pub(super) fn get(&self, rank: Rank) -> Option<&Cap> {
        self.caps.iter().find(|(of, _)| *of == rank).map(|(_, cap)| cap)
    }

    pub(super) fn get_mut(&mut self, rank: Rank) -> Option<&mut Cap> {
        self.caps.iter_mut().find(|(of, _)| *of == rank).map(|(_, cap)| cap)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Rank, &Cap)> {
        self.caps.iter().map(|(rank, cap)| (*rank, cap))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Rank, &mut Cap)> {
        self.caps.iter_mut().map(|(rank, cap)| (*rank, cap))
    }

    /// The MDS to ask about the inode.
    pub(super) fn authority(&self) -> Option<Rank> {
        self.auth.or_else(|| self.caps.first().map(|(rank, _)| *rank))
    }

    /// The realm of the inode, if a capability of it is there.
    pub(super) fn realm(&self) -> Option<u64> {
        self.authority().and_then(|rank| self.get(rank)).map(|cap| cap.realm)
    }

    /// What may be used, and be kept by the user.
    ///
    /// What the responsible MDS is taking back is not counted although another one may still give it: that one is about to take it
    /// back too.
    pub(super) fn issued(&self) -> Caps {
        let valid = self.caps.iter().filter(|(_, cap)| cap.valid);
        let all = valid.fold(self.frozen, |all, (_, cap)| all | cap.issued);
        match self.auth.and_then(|rank| self.get(rank)) {
            Some(auth) => all - (auth.implemented - auth.issued),
            None => all,
        }
    }

    /// What is still held: what is issued, and what is being revoked and was not given back yet.
    pub(super) fn held(&self) -> Caps {
        let valid = self.caps.iter().filter(|(_, cap)| cap.valid);
        valid.fold(self.frozen, |all, (_, cap)| all | cap.implemented)
    }

    /// A capability given out by a reply or by the MDS to which the inode moved (`ceph_add_cap`). `false`: it is void, and so is all that was told with
    /// it.
    pub(super) fn add(&mut self, rank: Rank, issue: Issue) -> bool {
        if self.void.contains(&(rank, issue.id)) {
            return false;
        }
        let mut auth = issue.auth;
        match self.get_mut(rank) {
            None => self.caps.push((
                rank,
                Cap {
                    id: issue.id,
                    issued: issue.caps,
                    implemented: issue.caps,
                    wanted: issue.wanted,
                    seq: issue.seq,
                    issue_seq: issue.seq,
                    mseq: issue.mseq,
                    realm: issue.realm,
                    leaving: false,
                    answer_due: false,
                    valid: issue.valid,
                },
            )),
            Some(cap) => {
                let mut issue = issue;
                if cap.id == issue.id && !before(cap.seq, issue.seq) {
                    // It was sent before the message that announced the move of the inode hither, which was seen first.
                    issue.seq = cap.seq;
                    issue.mseq = cap.mseq;
                    issue.caps |= cap.issued;
                    auth = true;
                }
                cap.wanted =
                    if before(cap.mseq, issue.mseq) { issue.wanted } else { cap.wanted | issue.wanted };
                cap.id = issue.id;
                cap.issued = issue.caps;
                cap.implemented |= issue.caps;
                cap.seq = issue.seq;
                cap.issue_seq = issue.seq;
                cap.mseq = issue.mseq;
                if issue.realm != 0 {
                    cap.realm = issue.realm;
                }
                cap.leaving = false;
                cap.valid = issue.valid;
            }
        }
        if auth {
            self.auth_from(rank, issue.mseq);
        }
        true
    }

    /// Another MDS is responsible, unless that is known to be older news.
    fn auth_from(&mut self, rank: Rank, mseq: u32) {
        let newer = match self.auth.and_then(|auth| self.get(auth)) {
            Some(auth) => self.auth == Some(rank) || before(auth.mseq, mseq),
            None => true,
        };
        if newer {
            self.auth = Some(rank);
        }
    }

    /// The MDS changes what is issued (`GRANT`, `REVOKE`; `handle_cap_grant`).
    pub(super) fn change(&mut self, rank: Rank, caps: Caps, seq: u32, must_answer: bool) -> bool {
        let Some(cap) = self.get_mut(rank) else { return false };
        let (mut caps, mut seq) = (caps, seq);
        if !before(cap.seq, seq) {
            // Sent before the move of the inode that is known already.
            caps |= cap.issued;
            seq = cap.seq;
        }
        cap.seq = seq;
        cap.issued = caps;
        cap.implemented |= caps;
        if !(caps - Caps::PIN).is_empty() {
            cap.leaving = false;
        }
        cap.answer_due |= must_answer;
        true
    }

    /// Takes a capability out. What it issued is no longer held.
    pub(super) fn remove(&mut self, rank: Rank) -> Option<Cap> {
        let at = self.caps.iter().position(|(of, _)| *of == rank)?;
        if self.auth == Some(rank) {
            self.auth = None;
        }
        Some(self.caps.swap_remove(at).1)
    }

    /// The inode moves from `rank` to another MDS (`handle_cap_export`). `to`: where, and the capability there, as far as `rank` knows.
    /// `false`: the message is about a capability that is not there any more.
    pub(super) fn export(&mut self, rank: Rank, id: u64, to: Option<Moved>) -> bool {
        // The last that this MDS says of it.
        self.void.retain(|void| *void != (rank, id));
        if self.get(rank).is_none_or(|cap| cap.id != id) {
            return false;
        }
        let was_auth = self.auth == Some(rank);
        let Some(old) = self.remove(rank) else { return false };
        let Some(Moved { to: target, id, seq, mseq, valid }) = to.filter(|to| to.to != rank) else {
            return true;
        };
        // What the message of the new MDS will have begins at `seq`, so that its message is newer than this one.
        let seq = seq.wrapping_sub(1);
        match self.get_mut(target) {
            Some(cap) if cap.id == id && before(cap.seq, seq.wrapping_add(1)) => {
                cap.seq = seq;
                cap.issue_seq = seq;
                cap.mseq = mseq;
                cap.issued |= old.issued;
                cap.implemented |= old.implemented;
                cap.answer_due |= old.answer_due;
            }
            Some(_) => return true,
            None => self
                .caps
                .push((target, Cap { id, seq, issue_seq: seq, mseq, wanted: Caps::NONE, valid, ..old })),
        }
        if was_auth {
            self.auth = Some(target);
        }
        true
    }

    /// What this MDS gives from now on has nothing to do with what it gave.
    pub(super) fn forget_void(&mut self, rank: Rank) {
        self.void.retain(|(of, _)| *of != rank);
    }

    /// The inode has moved here, and the capability that `peer` gave is void (`handle_cap_import`). Or only the right to it has moved, and the peer
    /// wants back what it gave: that is returned, and may be given anew.
    pub(super) fn import(
        &mut self,
        rank: Rank,
        issue: Issue,
        peer: Option<(Rank, u64, bool)>,
    ) -> Option<(Rank, Gone)> {
        self.void.retain(|void| *void != (rank, issue.id));
        self.add(rank, Issue { auth: true, ..issue });
        let (peer, id, give_back) = peer.filter(|(peer, ..)| *peer != rank)?;
        if !give_back {
            self.forget_void(peer);
            self.void.push((peer, id));
        }
        if self.get(peer).is_none_or(|cap| cap.id != id) {
            return None;
        }
        let old = self.remove(peer)?;
        if let Some(cap) = self.get_mut(rank) {
            // What was held stays held until it is given back to the new one.
            cap.implemented |= old.implemented;
            cap.answer_due |= old.answer_due;
        }
        if self.auth.is_none() {
            self.auth = Some(rank);
        }
        give_back.then_some((peer, old.gone()))
    }
}

impl Cap {
    /// What is being revoked.
    pub(super) fn revoking(&self) -> Caps {
        self.implemented - self.issued
    }

    /// How to give it back.
    pub(super) fn gone(&self) -> Gone {
        Gone { id: self.id, mseq: self.mseq, issue_seq: self.issue_seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Rank = Rank(0);
    const B: Rank = Rank(1);
    const FILE: Caps = Caps(Caps::FILE_SHARED.0 | Caps::FILE_CACHE.0 | Caps::FILE_RD.0);

    fn issue(id: u64, caps: Caps, seq: u32, mseq: u32) -> Issue {
        Issue { id, caps: caps | Caps::PIN, wanted: Caps::NONE, seq, mseq, realm: 1, auth: true, valid: true }
    }

    fn moved(seq: u32) -> Option<Moved> {
        Some(Moved { to: B, id: 20, seq, mseq: 1, valid: true })
    }

    #[test]
    fn what_is_revoked_stays_held_until_it_is_given_back() {
        let mut set = CapSet::default();
        set.add(A, issue(7, FILE, 1, 0));
        assert!(set.change(A, Caps::PIN, 2, true));
        assert_eq!(set.issued(), Caps::PIN);
        assert_eq!(set.held(), FILE | Caps::PIN);
        let cap = set.get(A).unwrap();
        assert_eq!((cap.revoking(), cap.seq, cap.issue_seq, cap.answer_due), (FILE, 2, 1, true));
        // A grant overtakes the answer: what was revoked is had again, and nothing of it is being revoked.
        assert!(set.change(A, FILE | Caps::PIN, 3, false));
        assert_eq!(set.get(A).unwrap().revoking(), Caps::NONE);
        assert!(!set.change(B, FILE, 1, false));
    }

    #[test]
    fn what_the_responsible_mds_revokes_is_not_issued_by_others() {
        let mut set = CapSet::default();
        set.add(B, Issue { auth: false, ..issue(9, FILE, 1, 0) });
        set.add(A, issue(7, FILE, 1, 0));
        assert_eq!(set.authority(), Some(A));
        set.change(A, Caps::PIN, 2, true);
        assert_eq!(set.issued(), Caps::PIN);
        assert_eq!(set.held(), FILE | Caps::PIN);
        // Another one revokes while the responsible one still gives: nothing is lost.
        set.change(A, FILE | Caps::PIN, 3, false);
        set.change(B, Caps::PIN, 2, true);
        assert_eq!(set.issued(), FILE | Caps::PIN);
    }

    #[test]
    fn moves_arrive_in_either_order() {
        // The old MDS speaks first.
        let mut set = CapSet::default();
        set.add(A, issue(7, FILE, 4, 0));
        assert!(set.export(A, 7, moved(1)));
        assert_eq!((set.issued(), set.authority()), (FILE | Caps::PIN, Some(B)));
        assert_eq!(set.import(B, issue(20, FILE, 1, 1), Some((A, 7, false))), None);
        assert_eq!((set.issued(), set.get(B).unwrap().seq), (FILE | Caps::PIN, 1));
        // The new one speaks first.
        let mut set = CapSet::default();
        set.add(A, issue(7, FILE, 4, 0));
        assert_eq!(set.import(B, issue(20, Caps::FILE_RD, 1, 1), Some((A, 7, false))), None);
        assert_eq!((set.issued(), set.held()), (Caps::FILE_RD | Caps::PIN, FILE | Caps::PIN));
        // An answer that the old one sent before the move comes late: it gives nothing. A new capability is another matter.
        assert!(!set.add(A, issue(7, FILE, 5, 0)));
        assert_eq!((set.issued(), set.iter().count()), (Caps::FILE_RD | Caps::PIN, 1));
        assert!(set.add(A, Issue { auth: false, ..issue(8, FILE, 1, 1) }));
        assert_eq!((set.issued(), set.authority()), (Caps::FILE_RD | Caps::PIN, Some(B)));
        assert!(!set.export(A, 7, moved(1)));
        // Only who is responsible has changed: the old one wants back what it gave, and may give it again.
        let mut set = CapSet::default();
        set.add(A, issue(7, FILE, 4, 0));
        let gone = set.import(B, issue(20, Caps::FILE_RD, 1, 1), Some((A, 7, true)));
        assert_eq!(gone, Some((A, Gone { id: 7, mseq: 0, issue_seq: 4 })));
        assert!(set.add(A, Issue { auth: false, ..issue(7, FILE, 5, 0) }));
        assert_eq!((set.get(A).unwrap().issued, set.authority()), (FILE | Caps::PIN, Some(B)));
        // A message that the new MDS sent before the one about the move takes nothing away.
        let mut set = CapSet::default();
        set.add(A, issue(7, FILE, 4, 0));
        assert!(set.export(A, 7, moved(5)));
        assert!(set.change(B, Caps::PIN, 3, false));
        assert_eq!(set.issued(), FILE | Caps::PIN);
        // Nobody knows where to.
        assert!(set.export(B, 20, None));
        assert_eq!(set.iter().count(), 0);
    }

    #[test]
    fn numbers_wrap() {
        assert!(before(u32::MAX, 0) && !before(0, u32::MAX) && !before(5, 5));
    }
}
