//! How calls about names and attributes go on.

use super::{Ask, FsClient, Step, Task, Vino};
use crate::cephfs::answer::{Answer, Attributes, EntryRight, Kind};
use crate::cephfs::error::{FsError, errno};
use crate::mds::{Caps, FilePath, Op, Rank, open_flags};
use crate::time::Now;
use std::sync::Arc;

/// Longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// The directory of snapshots in every directory (`client_snapdir`).
pub(super) const SNAPSHOTS: &[u8] = b".snap";

/// What an answer to a question says, once it was taken over.
pub(super) struct Outcome {
    /// 0, or an errno below 0.
    pub(super) result: i32,
    /// The inode that was asked about.
    pub(super) target: Option<Vino>,
}

impl Ask {
    /// The attributes that the inode in the answer comes with whatever else is true.
    pub(super) fn mask(&self) -> Caps {
        match self {
            Self::Getattr(_, mask) => Caps(*mask),
            Self::Lookup(..) | Self::Open(_) | Self::Ino(_) | Self::Path(..) => Caps::ANY_SHARED,
            Self::Readdir(_) => Caps::NONE,
        }
    }
}

impl FsClient {
    /// What a call can do now.
    pub(super) fn step(&mut self, task: &Task, asked: u32, now: Now) -> Step {
        match task {
            Task::Lookup { parent, name } => self.step_lookup(*parent, name, now),
            Task::Getattr { vino, mask } => self.step_getattr(*vino, *mask),
            Task::Readdir(request) => self.step_readdir(request, asked > 0, now),
            Task::Open { vino, keep } => self.step_open(*vino, *keep, asked),
            Task::Read { file, end } => self.step_read(*file, *end, asked > 0),
            Task::Find { ino } => {
                let vino = Vino::head(*ino);
                let known = self.table.get(vino).is_some_and(|inode| inode.knows(Caps::ANY_SHARED));
                match self.entry(vino, EntryRight::No).filter(|_| known) {
                    Some(entry) => Step::Done(Ok(Answer::Found(entry))),
                    None => Step::Ask(Ask::Ino(*ino)),
                }
            }
            Task::Path { path } => Step::Ask(Ask::Path(path.ino, path.path.clone())),
        }
    }

    fn step_lookup(&mut self, parent: Vino, name: &Arc<[u8]>, now: Now) -> Step {
        if name.len() > NAME_MAX {
            return Step::Done(Err(FsError::NameTooLong));
        }
        if parent.is_head() && **name == *SNAPSHOTS {
            return self.step_snapshots(parent);
        }
        if parent.is_snapshots() {
            return Step::Ask(Ask::Lookup(parent, name.clone()));
        }
        self.table.touch(parent);
        let Some(inode) = self.table.get(parent) else {
            return Step::Ask(Ask::Lookup(parent, name.clone()));
        };
        let Some(directory) = inode.directory.as_deref() else {
            return Step::Done(Err(FsError::NotDirectory));
        };
        let shared = inode.caps.held().contains(Caps::FILE_SHARED);
        let place = directory.place(name);
        let known = match directory.get(&place) {
            Some(dentry) => {
                let counts = shared && (dentry.period == directory.period || parent.is_frozen());
                let leased = dentry.lease.is_some_and(|lease| !now.reached(lease.until_ms));
                (counts || leased).then_some(dentry.target)
            }
            None => (shared && directory.is_complete()).then_some(None),
        };
        match known {
            Some(None) => Step::Done(Ok(Answer::Absent(self.entry_right(parent, &place, now)))),
            Some(Some(vino)) if self.table.get(vino).is_some_and(|inode| inode.knows(Caps::ANY_SHARED)) => {
                let right = self.entry_right(parent, &place, now);
                match self.entry(vino, right) {
                    Some(entry) => Step::Done(Ok(Answer::Found(entry))),
                    None => Step::Ask(Ask::Lookup(parent, name.clone())),
                }
            }
            _ => Step::Ask(Ask::Lookup(parent, name.clone())),
        }
    }

    /// The directory of snapshots is made here: it looks like its directory.
    fn step_snapshots(&mut self, parent: Vino) -> Step {
        let known = self.table.get(parent).filter(|inode| inode.knows(Caps::ANY_SHARED));
        match known.map(|inode| inode.attributes.kind) {
            Some(Kind::Directory) => Step::Done(self.snapshots_of(parent)),
            Some(_) => Step::Done(Err(FsError::NotDirectory)),
            None => Step::Ask(Ask::Getattr(parent, Caps::ANY_SHARED.0)),
        }
    }

    /// Makes attributes of a directory those of its snapshots. Its times are when one was last made or removed, where MDSs tell that.
    fn make_snapshots(&self, attributes: &mut Attributes) {
        let realm = self.table.get(attributes.vino).and_then(|inode| inode.caps.realm());
        if let Some(modified) = realm.and_then(|realm| self.realms.modified(realm)) {
            (attributes.mtime, attributes.ctime) = (modified, modified);
        }
        attributes.vino = attributes.vino.snapshots();
    }

    fn snapshots_of(&mut self, parent: Vino) -> Result<Answer, FsError> {
        let mut entry = self.entry(parent, EntryRight::No).ok_or(FsError::Stale)?;
        // The reference is to the directory, which must be known as long as that of its snapshots is.
        self.make_snapshots(&mut entry.attributes);
        entry.rights = crate::cephfs::answer::Rights::NONE;
        Ok(Answer::Found(entry))
    }

    fn step_getattr(&mut self, vino: Vino, mask: Caps) -> Step {
        let asked = if vino.is_snapshots() { Vino::head(vino.ino) } else { vino };
        // What lies below changes in the live directory only.
        let mask = if vino.is_head() { mask } else { mask - Caps::RSTAT };
        self.table.touch(asked);
        match self.table.get(asked) {
            Some(inode) if inode.knows(mask) => Step::Done(self.attributes(vino)),
            None if vino.is_frozen() => Step::Done(Err(FsError::Unknown("such inode in a snapshot"))),
            _ => Step::Ask(Ask::Getattr(asked, (mask & (Caps::ANY_SHARED | Caps::RSTAT)).0)),
        }
    }

    fn attributes(&mut self, vino: Vino) -> Result<Answer, FsError> {
        let of = if vino.is_snapshots() { Vino::head(vino.ino) } else { vino };
        let rights = self.rights(of);
        let inode = self.table.get(of).ok_or(FsError::Stale)?;
        let mut attributes = Box::new(inode.attributes.clone());
        if vino.is_snapshots() {
            self.make_snapshots(&mut attributes);
            return Ok(Answer::Attributes(attributes, crate::cephfs::answer::Rights::NONE));
        }
        Ok(Answer::Attributes(attributes, rights))
    }

    /// How a call goes on whose question was answered just now.
    pub(super) fn conclude(&mut self, task: &Task, ask: &Ask, outcome: &Outcome, now: Now) -> Option<Step> {
        match (task, ask, outcome.result) {
            (Task::Lookup { parent, .. }, Ask::Getattr(..), 0) => {
                return Some(Step::Done(self.snapshots_of(*parent)));
            }
            // Not the call's own question, but one that had to be answered before.
            (Task::Read { .. } | Task::Open { keep: true, .. }, _, 0) => return None,
            (Task::Find { .. }, Ask::Ino(_), _) => {}
            (_, Ask::Ino(_), 0) => return None,
            _ => {}
        }
        Some(match (task, outcome.result) {
            (Task::Readdir(request), 0) => self.page(request, true, now)?,
            (Task::Lookup { parent, name }, 0) => {
                let right = self.entry_right_to(*parent, name, outcome.target, now);
                Step::Done(self.found(outcome.target, right))
            }
            (Task::Lookup { parent, name }, result)
                if result == -errno::ENOENT && matches!(ask, Ask::Lookup(..)) =>
            {
                Step::Done(Ok(Answer::Absent(self.entry_right_to(*parent, name, None, now))))
            }
            (Task::Getattr { vino, .. }, 0) => Step::Done(self.attributes(*vino)),
            (Task::Open { vino, .. }, 0) => Step::Done(self.opened(*vino)),
            (Task::Find { .. } | Task::Path { .. }, 0) => {
                Step::Done(self.found(outcome.target, EntryRight::No))
            }
            (_, result) => self.refused(task, result),
        })
    }

    /// An MDS does not know every inode by its number, unless it is told to look for it.
    fn refused(&mut self, task: &Task, result: i32) -> Step {
        let of = match task {
            Task::Lookup { parent, .. } => *parent,
            Task::Getattr { vino, .. } | Task::Open { vino, .. } => *vino,
            Task::Read { file, .. } => self.files.get(file).copied().unwrap_or(Vino::ROOT),
            Task::Readdir(page) => {
                self.listings.get(&page.listing).map_or(Vino::ROOT, |listing| listing.vino)
            }
            Task::Find { .. } | Task::Path { .. } => return Step::Done(Err(FsError::from_result(result))),
        };
        if result == -errno::ESTALE && !of.is_frozen() {
            return Step::Ask(Ask::Ino(of.ino));
        }
        Step::Done(Err(FsError::from_result(result)))
    }

    fn found(&mut self, target: Option<Vino>, right: EntryRight) -> Result<Answer, FsError> {
        let nothing = || FsError::Malformed("a name that exists, and no inode".to_owned());
        let entry = target.and_then(|vino| self.entry(vino, right)).ok_or_else(nothing)?;
        Ok(Answer::Found(entry))
    }

    /// What may be kept of this: that a name leads there. Nothing if it is known to lead elsewhere by now.
    pub(super) fn entry_right_to(
        &mut self,
        dir: Vino,
        name: &Arc<[u8]>,
        target: Option<Vino>,
        now: Now,
    ) -> EntryRight {
        let place = self.place(dir, name);
        let directory = self.table.get(dir).and_then(|inode| inode.directory.as_deref());
        let known = directory.and_then(|directory| directory.get(&place)).and_then(|dentry| dentry.target);
        if known == target { self.entry_right(dir, &place, now) } else { EntryRight::No }
    }

    pub(super) fn place(&self, parent: Vino, name: &Arc<[u8]>) -> (u32, Arc<[u8]>) {
        let directory = self.table.get(parent).and_then(|inode| inode.directory.as_deref());
        (directory.map_or(0, |directory| directory.hash_of(name)), name.clone())
    }

    /// The message that asks a question: what, about which path, a second path, and whom.
    pub(super) fn question(&self, ask: &Ask) -> Result<(Op, FilePath, FilePath, Option<Rank>), FsError> {
        let mask = Caps::ANY_SHARED;
        let none = FilePath::default();
        Ok(match ask {
            Ask::Lookup(parent, name) => {
                let op = if parent.is_snapshots() { Op::LookupSnap { mask } } else { Op::Lookup { mask } };
                let hash = self.place(*parent, name).0;
                (op, self.path_below(*parent, name)?, none, self.server(*parent, Some(hash)))
            }
            Ask::Getattr(vino, mask) => {
                (Op::Getattr { mask: Caps(*mask) }, self.path_of(*vino)?, none, self.server(*vino, None))
            }
            Ask::Open(vino) => {
                let op = Op::Open { flags: open_flags::RDONLY | open_flags::NOFOLLOW, mask };
                (op, self.path_of(*vino)?, none, self.server(*vino, None))
            }
            Ask::Readdir(listing) => self.question_of_listing(*listing)?,
            Ask::Ino(ino) => {
                let op = Op::LookupIno { mask, snap: 0, parent: 0, hash: 0 };
                (op, FilePath::new(*ino, Vec::new()), none, None)
            }
            Ask::Path(ino, path) => (Op::Getattr { mask }, FilePath::new(*ino, path.clone()), none, None),
        })
    }

    /// The directory a question is about, and its period.
    pub(super) fn period_of(&self, ask: &Ask) -> Option<(Vino, u64)> {
        let vino = match ask {
            Ask::Lookup(parent, _) => *parent,
            Ask::Readdir(listing) => self.listings.get(listing)?.vino,
            _ => return None,
        };
        let inode = self.table.get(vino)?;
        let held = inode.caps.held().contains(Caps::FILE_SHARED);
        Some((vino, inode.directory.as_deref().filter(|_| held)?.period))
    }

    /// How an MDS finds an inode: a live one by its number, one of a snapshot by names from a live directory on. The first of these is empty
    /// and stands for `.snap`.
    pub(super) fn path_of(&self, vino: Vino) -> Result<FilePath, FsError> {
        if !vino.is_frozen() {
            return Ok(FilePath::new(vino.ino, Vec::new()));
        }
        let known = self.table.get(vino).and_then(|inode| inode.path.clone());
        known.ok_or(FsError::Unknown("such inode in a snapshot"))
    }

    /// How an MDS finds a name in a directory.
    pub(super) fn path_below(&self, dir: Vino, name: &[u8]) -> Result<FilePath, FsError> {
        let mut path = self.path_of(dir)?;
        if !path.path.is_empty() || dir.is_snapshots() {
            path.path.push(b'/');
        }
        path.path.extend_from_slice(name);
        Ok(path)
    }

    /// The rank that most probably serves an inode, or the names of this hash in it.
    pub(super) fn server(&self, vino: Vino, hash: Option<u32>) -> Option<Rank> {
        let inode = self.table.get(vino).or_else(|| self.table.get(Vino::head(vino.ino)))?;
        let fragment = hash.and_then(|hash| inode.directory.as_deref()?.authority(hash));
        fragment.or_else(|| inode.caps.authority())
    }
}
