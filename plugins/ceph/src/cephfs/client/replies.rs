//! What answers of metadata servers mean for what is known.

use super::steps::Outcome;
use super::{Ask, CallId, FsClient, InFlight, Step, Task, Vino, Waits};
use crate::cephfs::answer::Kind;
use crate::cephfs::cap::Issue;
use crate::cephfs::directory::{Dentry, Lease};
use crate::cephfs::error::FsError;
use crate::mds::{
    Caps, FilePath, InodeStat, LeaseStat, Rank, Reply, ReplyExtra, TraceDentry, cap_flags, ino, lease_mask,
};
use crate::time::Now;
use std::sync::Arc;

/// What came of what a rank has told of an inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) vino: Vino,
    /// What the rank gives with it, as far as that counts.
    pub(super) issued: Caps,
    /// Since this was sent another rank has taken the inode over: what it says of leases is void too.
    pub(super) void: bool,
}

impl FsClient {
    /// A request was answered that was sent at `sent_ms` to who answers it: leases count from then, not from when somebody first wanted to ask. Answers and
    /// messages about capabilities of one rank must come in the order in which it sent them.
    pub fn replied(&mut self, number: u64, rank: Rank, sent_ms: u64, reply: Reply, now: Now) {
        self.tick += 1;
        let Some(mut request) = self.requests.remove(&number) else { return };
        request.sent_ms = request.sent_ms.max(sent_ms);
        self.asked.remove(&request.ask);
        let outcome = self.take_over(&request, rank, reply);
        let mut later = Vec::new();
        for (id, from_the_start) in &request.waiters {
            if self.calls.get(id).is_none_or(|call| call.waits != Waits::Request(number)) {
                continue;
            }
            if *from_the_start {
                self.conclude_call(*id, &request.ask, &outcome, now);
            } else {
                later.push(*id);
            }
        }
        self.ready.extend(later);
        self.settle(now);
    }

    fn conclude_call(&mut self, id: CallId, ask: &Ask, outcome: &Result<Outcome, FsError>, now: Now) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.waits = Waits::Nothing;
        let second = (&call.task, ask);
        let asked = matches!(
            second,
            (Task::Read { .. }, Ask::Getattr(..))
                | (Task::Readdir(_), Ask::Readdir(_))
                | (Task::Open { .. }, Ask::Getattr(..) | Ask::Open(_))
        );
        call.asked = call.asked.saturating_add(asked.into());
        let found = call.found;
        // What an MDS has told since of the inode it has found.
        let knows = matches!(outcome, Ok(Outcome { result: 0, .. }));
        call.found = matches!(ask, Ask::Ino(_)) || (found && !knows);
        let task = call.task.clone();
        let step = match outcome {
            Err(error) => Some(Step::Done(Err(error.clone()))),
            Ok(outcome) => self.conclude(&task, ask, outcome, now),
        };
        match step {
            None => self.ready.push_back(id),
            Some(Step::Done(result)) => self.answer(id, result),
            Some(Step::Ask(Ask::Ino(_))) if found || matches!(ask, Ask::Ino(_)) => {
                self.answer(id, Err(FsError::Stale));
            }
            Some(Step::Ask(ask)) => self.ask(id, ask, now),
            Some(Step::Wait(_)) => self.ready.push_back(id),
        }
    }

    /// A request was not answered, and will not be.
    pub fn failed(&mut self, number: u64, error: &FsError, now: Now) {
        self.tick += 1;
        let Some(request) = self.requests.remove(&number) else { return };
        self.asked.remove(&request.ask);
        for (id, _) in request.waiters {
            if self.calls.get(&id).is_some_and(|call| call.waits == Waits::Request(number)) {
                self.answer(id, Err(error.clone()));
            }
        }
        self.settle(now);
    }

    /// Notes what an answer tells.
    fn take_over(&mut self, request: &InFlight, rank: Rank, reply: Reply) -> Result<Outcome, FsError> {
        self.realms.update(&reply.snap_trace);
        let Reply { result, dentry, target, extra, .. } = reply;
        let mut outcome = Outcome { result: result.min(0), target: None };
        let dentry = dentry.map(|dentry| self.take_directory(rank, dentry));
        let mut told = None;
        if let Some(stat) = target {
            let path = (stat.snap < ino::NO_SNAP).then(|| request.path.clone());
            told = self.fill(rank, stat, path);
            outcome.target = told.map(|told| told.vino);
            let asked = request.ask.mask().contains(Caps::XATTR_SHARED);
            if let Some(inode) = outcome.target.filter(|_| asked).and_then(|vino| self.table.get_mut(vino)) {
                inode.has_no_xattrs();
            }
        }
        if let (Ask::Lookup(parent, name), Some(Some((dir, shared, lease)))) = (&request.ask, dentry)
            && dir == *parent
            && (outcome.target.is_some() || result < 0)
        {
            let period = self.period_now(request, dir, shared);
            self.link(dir, name.clone(), outcome.target, self.lease(rank, &lease, request.sent_ms), period);
        }
        if let (Ask::Readdir(listing), ReplyExtra::Readdir(entries), 0) =
            (&request.ask, extra, outcome.result)
        {
            self.take_listing(*listing, request, rank, entries, told)?;
        }
        Ok(outcome)
    }

    /// The directory of a name, and whether the rank that tells the name also says that names in it do not change.
    fn take_directory(&mut self, rank: Rank, dentry: TraceDentry) -> Option<(Vino, bool, LeaseStat)> {
        let Filled { vino, issued, void } = self.fill(rank, dentry.dir, None)?;
        self.served_by(vino, &dentry.frag);
        let lease = if void { LeaseStat::default() } else { dentry.lease };
        Some((vino, issued.contains(Caps::FILE_SHARED), lease))
    }

    pub(super) fn served_by(&mut self, dir: Vino, frag: &crate::mds::DirStat) {
        if let Some(directory) = self.table.get_mut(dir).and_then(|inode| inode.directory.as_mut()) {
            directory.served_by(frag.frag, (frag.auth.0 >= 0).then_some(frag.auth));
        }
    }

    /// The period to which a name belongs that was told just now: the present one, if nothing can have changed since it was told. That is so if
    /// who tells it gives the right in the same breath, or if the right has been held since the question was asked.
    pub(super) fn period_now(&self, request: &InFlight, dir: Vino, shared: bool) -> u64 {
        let Some(inode) = self.table.get(dir).filter(|inode| inode.caps.held().contains(Caps::FILE_SHARED))
        else {
            return 0;
        };
        let period = inode.directory.as_deref().map_or(0, |directory| directory.period);
        if shared || request.period == Some((dir, period)) { period } else { 0 }
    }

    pub(super) fn lease(&self, rank: Rank, lease: &LeaseStat, sent_ms: u64) -> Option<Lease> {
        let valid =
            lease.mask & lease_mask::VALID != 0 && lease.duration_ms > 0 && self.open_ranks.count(rank);
        let until_ms = sent_ms.saturating_add(u64::from(lease.duration_ms));
        valid.then_some(Lease { until_ms })
    }

    /// Notes an inode, and what is issued with it. `path`: how it is found, if it is in a snapshot.
    pub(super) fn fill(&mut self, rank: Rank, stat: InodeStat, path: Option<FilePath>) -> Option<Filled> {
        let vino = Vino { ino: stat.ino, snap: stat.snap };
        let kind = Kind::of_mode(stat.mode).filter(|_| !vino.is_snapshots())?;
        if self.table.get(vino).is_some_and(|inode| inode.attributes.kind != kind) {
            self.drop_inode(vino);
        }
        let layout = self.table.layout(&stat.layout);
        let valid = self.open_ranks.count(rank);
        let inode = self.table.entry(vino, kind, layout.clone());
        let (before, held, size_before) =
            (inode.caps.issued(), inode.caps.held(), inode.attributes.recursive.bytes);
        let (mut issued, mut void) = (stat.cap.caps, false);
        if !vino.is_head() {
            inode.caps.frozen |= issued;
            inode.path = path.or(inode.path.take());
        } else if !stat.cap.caps.is_empty() {
            let cap = stat.cap;
            void = !inode.caps.add(
                rank,
                Issue {
                    id: cap.cap_id,
                    caps: cap.caps,
                    wanted: cap.wanted,
                    seq: cap.seq,
                    mseq: cap.mseq,
                    realm: cap.realm,
                    auth: cap.flags & cap_flags::AUTH != 0,
                    valid,
                },
            );
            if void || !valid {
                issued = Caps::NONE;
            }
        }
        let gained = inode.caps.issued() - before;
        let (hash, tree) = (stat.dir_layout.hash, stat.frag_tree.clone());
        inode.fill(stat, held, issued, gained, layout);
        if inode.attributes.nlink == 0 && vino.is_head() {
            self.unlinked.insert(vino);
        }
        let size_is_old = inode.told.attributes && inode.attributes.recursive.bytes != size_before;
        let mut forgotten = Vec::new();
        if let Some(directory) = inode.directory.as_mut() {
            forgotten = directory.set_hash(hash);
            directory.tree = tree;
        }
        for (name, dentry) in forgotten {
            self.unlink_back(vino, &name, &dentry);
        }
        if size_is_old {
            self.attributes_are_old(vino);
        }
        self.table.weigh(vino);
        self.changed(vino, before);
        self.give_back(vino);
        Some(Filled { vino, issued, void })
    }

    /// Notes what a name leads to.
    pub(super) fn link(
        &mut self,
        dir: Vino,
        name: Arc<[u8]>,
        target: Option<Vino>,
        lease: Option<Lease>,
        period: u64,
    ) {
        let Some(inode) = self.table.get_mut(dir) else { return };
        let held = inode.caps.held().contains(Caps::FILE_SHARED);
        let Some(directory) = inode.directory.as_mut() else { return };
        let place = directory.place(&name);
        let present = directory.period;
        if let Some(known) = directory.get_mut(&place)
            && period == 0
            && held
            && known.period == present
        {
            // What is known under the directory's right is newer than an answer that was on its way while that was had.
            if known.target == target {
                known.lease = lease.or(known.lease);
            }
            return;
        }
        let told = directory.get(&place).is_some_and(|old| old.told && old.target == target);
        let old = directory.insert(place, Dentry { target, period, lease, told });
        self.absent.note(dir, directory.absent());
        if let Some(old) = old.filter(|old| old.target != target) {
            self.unlink_back(dir, &name, &old);
        }
        if let Some(inode) = target.and_then(|vino| self.table.get_mut(vino)) {
            let parent = (dir, name);
            if !inode.parents.contains(&parent) {
                inode.parents.push(parent);
            }
        }
    }

    /// A name does not lead to an inode any more, as far as is known.
    pub(super) fn unlink_back(&mut self, dir: Vino, name: &Arc<[u8]>, dentry: &Dentry) {
        if let Some(inode) = dentry.target.and_then(|vino| self.table.get_mut(vino)) {
            inode.parents.retain(|(parent, of)| *parent != dir || of != name);
        }
    }
}
