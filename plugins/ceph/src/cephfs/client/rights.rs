//! What is held, what the user was told, and what has to be forgotten before something is given back.

use super::{Command, FsClient, Token, Vino};
use crate::cephfs::answer::{Done, Entry, EntryRight, Invalid, Rights};
use crate::cephfs::cap::{Cap, Gone};
use crate::cephfs::directory::Place;
use crate::cephfs::inode::{Inode, PAGES, Told};
use crate::mds::{CapItem, CapOp, CapRelease, Caps, CapsMessage, LeaseMessage, Rank};
use crate::time::Now;
use std::sync::Arc;

/// What waits until the user has forgotten something.
#[derive(Clone, Debug)]
pub(super) enum Hold {
    /// Capabilities of this inode.
    Inode(Vino),
    /// The lease of a name: the rank that wants it, and what it is answered.
    Lease(Rank, LeaseMessage),
    /// What is answered about the lease of a name that is not known any more.
    Name(Vino, Arc<[u8]>),
}

/// A name that is not known any more, but of which the user may still have kept what was leased.
#[derive(Debug)]
pub(super) struct NameHold {
    /// The last that the user was told to forget it.
    hold: u64,
    /// Who wants the lease back, and what it is answered then.
    answers: Vec<(Rank, LeaseMessage)>,
}

/// Most things that the user is told to forget at once.
const ITEMS_MAX: usize = 256;

impl FsClient {
    /// The user has forgotten what an [`Done::Invalidate`] named: kernel included, nobody sees it any more.
    pub fn invalidated(&mut self, token: Token, now: Now) {
        self.tick += 1;
        for id in self.tokens.remove(&token).unwrap_or_default() {
            self.taken.remove(&id);
            match self.holds.remove(&id) {
                Some(Hold::Inode(vino)) => {
                    if let Some(inode) = self.table.get_mut(vino) {
                        inode.holds.retain(|(hold, _)| *hold != id);
                    }
                    self.give_back(vino);
                    self.wake(vino);
                    self.let_alone(vino);
                }
                Some(Hold::Lease(rank, message)) => self.commands.push_back(Command::Lease { rank, message }),
                Some(Hold::Name(dir, name)) => self.name_forgotten(id, (dir, name)),
                None => {}
            }
        }
        self.take_recalled();
        self.settle(now);
    }

    /// Takes references back. Without any, the user does not know the inode any more, and keeps nothing of it.
    pub fn forget(&mut self, vino: Vino, count: u64, now: Now) {
        self.tick += 1;
        if let Some(inode) = self.table.get_mut(vino) {
            inode.refs = inode.refs.saturating_sub(count);
            if inode.refs == 0 && inode.opens == 0 {
                inode.told = Told::default();
                self.trim_again = self.trim_again.saturating_sub(1);
                self.let_alone(vino);
            }
        }
        self.settle(now);
    }

    /// What may be kept of an inode. Whatever is said here is remembered: it has to be taken back.
    pub(super) fn rights(&mut self, vino: Vino) -> Rights {
        let Some(inode) = self.table.get_mut(vino) else { return Rights::NONE };
        let (attributes, pages) = (inode.attributes_may_be_kept(), inode.pages_may_be_kept());
        inode.told.attributes |= attributes;
        let told = if inode.directory.is_some() { &mut inode.told.entries } else { &mut inode.told.pages };
        *told |= pages;
        let (used, told) = (inode.used, inode.told);
        if told != Told::default() {
            self.table.is_not_spare(used);
        }
        Rights { attributes, entry: EntryRight::No, pages }
    }

    /// What may be kept of a name.
    pub(super) fn entry_right(&mut self, dir: Vino, place: &Place, now: Now) -> EntryRight {
        if dir.is_snapshots() {
            return EntryRight::No;
        }
        let (room, room_absent) = (self.has_room(), self.absent.all() <= self.config.absent_names);
        let Some(inode) = self.table.get_mut(dir) else { return EntryRight::No };
        let listed = inode.pages_may_be_kept();
        let Some(directory) = inode.directory.as_mut() else { return EntryRight::No };
        let (period, complete) = (directory.period, directory.is_complete());
        let right = match directory.get_mut(place) {
            Some(dentry) if listed && (dentry.period == period || dir.is_frozen()) => {
                EntryRight::UntilInvalidated
            }
            None if listed && complete => EntryRight::UntilInvalidated,
            Some(dentry) => {
                // What is kept under a lease cannot be forgotten again without asking the user either.
                let room = if dentry.target.is_some() { room } else { room_absent };
                match dentry.lease.filter(|lease| room && !now.reached(lease.until_ms)) {
                    Some(lease) => {
                        dentry.told = true;
                        directory.kept_until_ms = directory.kept_until_ms.max(lease.until_ms);
                        EntryRight::For(lease.until_ms.saturating_sub(now.monotonic_ms))
                    }
                    None => EntryRight::No,
                }
            }
            None => EntryRight::No,
        };
        inode.told.entries |= right == EntryRight::UntilInvalidated;
        right
    }

    /// An entry for the user, with a reference.
    ///
    /// Where more inodes are known than may be, the user is given nothing of it to keep: it can be forgotten again without asking the user, who may take
    /// longer to let go of a large directory than an MDS to list it.
    pub(super) fn entry(&mut self, vino: Vino, entry: EntryRight) -> Option<Entry> {
        let kept = if self.has_room() { self.rights(vino) } else { Rights::NONE };
        let rights = Rights { entry, ..kept };
        self.table.touch(vino);
        let inode = self.table.get_mut(vino)?;
        inode.refs = inode.refs.saturating_add(1);
        Some(Entry { attributes: Box::new(inode.attributes.clone()), rights })
    }

    /// Whether not more inodes are known than may be.
    fn has_room(&self) -> bool {
        self.table.len() <= self.config.all_inodes
    }

    /// What is issued has changed from `before` to what it is now: tells the user what to forget, and wakes who waits.
    pub(super) fn changed(&mut self, vino: Vino, before: Caps) {
        let Some(inode) = self.table.get_mut(vino) else { return };
        let after = inode.caps.issued();
        let (lost, gained) = (before - after, after - before);
        if inode.is_wanted_too_much() {
            self.unneeded.push(vino);
        }
        if gained.intersects(Caps::FILE_SHARED)
            && let Some(directory) = inode.directory.as_mut()
        {
            directory.begin_period();
        }
        if !lost.is_empty() {
            self.take_from_user(vino, lost);
        }
        if gained.intersects(PAGES) {
            self.wake(vino);
        }
    }

    /// Tells the user to forget what these capabilities covered.
    fn take_from_user(&mut self, vino: Vino, lost: Caps) {
        let Some(inode) = self.table.get_mut(vino) else { return };
        let (told, is_directory) = (inode.told, inode.directory.is_some());
        if told.attributes && lost.intersects(Caps::ANY_SHARED) {
            inode.told.attributes = false;
            self.hold(Invalid::Attributes(vino), vino, Caps::ANY_SHARED);
        }
        if is_directory && told.entries && lost.intersects(Caps::FILE_SHARED) {
            if let Some(inode) = self.table.get_mut(vino) {
                inode.told.entries = false;
            }
            self.hold(Invalid::Directory(vino), vino, Caps::FILE_SHARED);
        }
        if !is_directory && told.pages && lost.intersects(PAGES) {
            if let Some(inode) = self.table.get_mut(vino) {
                inode.told.pages = false;
            }
            self.hold(Invalid::Data(vino), vino, PAGES);
        }
    }

    /// Nothing of these capabilities is given back before the user has forgotten this.
    pub(super) fn hold(&mut self, item: Invalid, vino: Vino, caps: Caps) {
        self.last_hold += 1;
        let id = self.last_hold;
        if let Some(inode) = self.table.get_mut(vino) {
            inode.holds.push((id, caps));
        }
        self.holds.insert(id, Hold::Inode(vino));
        self.tell(item, Some(id));
    }

    /// The same for the lease of a name.
    pub(super) fn hold_lease(&mut self, item: Invalid, rank: Rank, answer: LeaseMessage) {
        self.last_hold += 1;
        self.holds.insert(self.last_hold, Hold::Lease(rank, answer));
        self.tell(item, Some(self.last_hold));
    }

    /// The same for a name that is forgotten here, of which the user may have kept what is leased: whoever takes the lease back will find nothing of it.
    pub(super) fn hold_name(&mut self, dir: Vino, name: &Arc<[u8]>) {
        self.last_hold += 1;
        let hold = self.last_hold;
        let named = self.names.entry((dir, name.clone())).or_insert(NameHold { hold, answers: Vec::new() });
        named.hold = hold;
        self.holds.insert(hold, Hold::Name(dir, name.clone()));
        self.tell(Invalid::Entry(dir, name.clone()), Some(hold));
    }

    fn name_forgotten(&mut self, hold: u64, named: (Vino, Arc<[u8]>)) {
        if self.names.get(&named).is_some_and(|name| name.hold == hold)
            && let Some(name) = self.names.remove(&named)
        {
            let lease = |(rank, message)| Command::Lease { rank, message };
            self.commands.extend(name.answers.into_iter().map(lease));
        }
    }

    /// Answers who takes back the lease of a name that the user need not be told of, or is just forgetting.
    pub(super) fn answer_lease(&mut self, dir: Vino, name: Arc<[u8]>, rank: Rank, message: LeaseMessage) {
        match self.names.get_mut(&(dir, name)) {
            Some(name) => name.answers.push((rank, message)),
            None => self.commands.push_back(Command::Lease { rank, message }),
        }
    }

    /// Tells the user to forget something. Things are told together, but not with bytes of a file: to forget those may take as long as a read.
    pub(super) fn tell(&mut self, item: Invalid, hold: Option<u64>) {
        let slow = |item: &Invalid| matches!(item, Invalid::Data(_) | Invalid::Everything);
        let joins = match self.done.back_mut() {
            Some(Done::Invalidate { token, items })
                if items.len() < ITEMS_MAX && !slow(&item) && !items.iter().any(slow) =>
            {
                items.push(item.clone());
                Some(*token)
            }
            _ => None,
        };
        let token = joins.unwrap_or_else(|| {
            self.last_token += 1;
            let token = Token(self.last_token);
            self.done.push_back(Done::Invalidate { token, items: vec![item] });
            token
        });
        self.tokens.entry(token).or_default().extend(hold);
    }

    /// Attributes that the user was told have changed in something that no capability covers: no right is lost, so nobody waits until they are forgotten.
    pub(super) fn attributes_are_old(&mut self, vino: Vino) {
        self.tell(Invalid::Attributes(vino), None);
    }

    /// The user must forget everything. Nobody waits for it: the rights are gone already.
    pub(super) fn tell_everything(&mut self) {
        for inode in self.table.iter_mut() {
            inode.told = Told::default();
            if let Some(directory) = inode.directory.as_mut() {
                directory.dentries_mut().for_each(|(_, dentry)| dentry.told = false);
            }
        }
        self.table.all_may_be_spare();
        self.tell(Invalid::Everything, None);
    }

    /// Gives back what is being revoked, as far as nobody uses it.
    pub(super) fn give_back(&mut self, vino: Vino) {
        let Some(inode) = self.table.get_mut(vino) else { return };
        let (in_use, wanted) = (inode.in_use(), inode.wanted());
        let mut gone = Vec::new();
        for (rank, cap) in inode.caps.iter_mut() {
            if cap.leaving {
                if !cap.implemented.intersects(in_use) {
                    gone.push(rank);
                }
                continue;
            }
            let revoking = cap.revoking();
            if (revoking.is_empty() && !cap.answer_due) || revoking.intersects(in_use) {
                continue;
            }
            cap.implemented = cap.issued;
            cap.answer_due = false;
            cap.wanted = wanted;
            let message = Box::new(update(&inode.attributes, cap, wanted));
            self.commands.push_back(Command::Caps { rank, message });
        }
        for rank in gone {
            let Some(inode) = self.table.get_mut(vino) else { return };
            if let Some(cap) = inode.caps.remove(rank) {
                self.release(rank, vino.ino, cap.gone());
            }
        }
    }

    /// Tells servers that an inode is not wanted as before, if they believe it.
    pub(super) fn want_less(&mut self, vino: Vino) {
        let Some(inode) = self.table.get_mut(vino) else { return };
        let wanted = inode.wanted();
        for (rank, cap) in inode.caps.iter_mut().filter(|(_, cap)| !cap.leaving) {
            if !(cap.wanted - wanted - Caps::PIN).is_empty() {
                cap.wanted = wanted;
                let message = Box::new(update(&inode.attributes, cap, wanted));
                self.commands.push_back(Command::Caps { rank, message });
            }
        }
    }

    /// Takes all capabilities of an inode from the user, to give them back.
    pub(super) fn leave(&mut self, vino: Vino) {
        let Some(inode) = self.table.get_mut(vino) else { return };
        let before = inode.caps.issued();
        let mut ranks = Vec::new();
        for (rank, cap) in inode.caps.iter_mut() {
            cap.issued &= Caps::PIN;
            if !std::mem::replace(&mut cap.leaving, true) {
                ranks.push(rank);
            }
        }
        ranks.into_iter().for_each(|rank| self.gives_back_to(rank));
        self.changed(vino, before);
        self.give_back(vino);
    }

    /// A capability is given back, with others.
    pub(super) fn release(&mut self, rank: Rank, ino: u64, gone: Gone) {
        let item = CapItem { ino, cap_id: gone.id, migrate_seq: gone.mseq, seq: gone.issue_seq };
        self.releases.entry(rank).or_default().push(item);
    }

    pub(super) fn flush_releases(&mut self) {
        for (rank, items) in std::mem::take(&mut self.releases) {
            for items in items.chunks(CapRelease::ITEMS_MAX) {
                let release = CapRelease { items: items.to_vec(), osd_epoch_barrier: self.barrier };
                self.commands.push_back(Command::Release { rank, release });
            }
        }
    }

    /// Whether calls about an inode are answered under rights that are being taken back.
    pub(super) fn is_held_by_user(inode: &Inode) -> bool {
        !inode.holds.is_empty()
    }
}

/// What a server is told of a capability: what of it is still held, and what is wanted.
fn update(attributes: &crate::cephfs::answer::Attributes, cap: &Cap, wanted: Caps) -> CapsMessage {
    let mut message = CapsMessage::new(CapOp::Update, attributes.vino.ino, cap.id);
    (message.seq, message.issue_seq, message.migrate_seq) = (cap.seq, cap.issue_seq, cap.mseq);
    (message.caps, message.wanted) = (cap.implemented | Caps::PIN, wanted);
    message.body.size = attributes.size;
    message.body.truncate_seq = attributes.truncate_seq;
    message.body.truncate_size = attributes.truncate_size;
    (message.body.mtime, message.body.atime, message.body.ctime) =
        (attributes.mtime, attributes.atime, attributes.ctime);
    message.body.layout = (*attributes.layout).clone();
    message.change_attr = attributes.change_attr;
    message
}
