//! Open files, and the right to read them.

use super::{Ask, FsClient, Step, Vino};
use crate::cephfs::answer::{Answer, Kind, ReadPlan};
use crate::cephfs::error::{FsError, errno};
use crate::cephfs::ids::FileId;
use crate::cephfs::inode::{Inode, PAGES};
use crate::mds::Caps;
use crate::time::Now;

/// How often an MDS is asked on behalf of one who wants to keep bytes of a file that others write. It gives the right each time, but may have taken
/// it back by the time it is used, or still be waiting for another MDS to take over what it wants to give. With the pauses between the questions that is 15 s.
pub(super) const KEEP_ASKED: u32 = 300;

impl FsClient {
    /// Ends a read that [`read_right`](Self::read_right) allowed. To be called once for each, however the read has ended.
    pub fn read_done(&mut self, vino: Vino, now: Now) {
        self.tick += 1;
        if let Some(inode) = self.table.get_mut(vino) {
            inode.readers = inode.readers.saturating_sub(1);
            if inode.readers == 0 {
                self.give_back(vino);
                self.wake(vino);
                self.let_alone(vino);
            }
        }
        self.settle(now);
    }

    /// Closes a file. Reads under way go on.
    pub fn close(&mut self, file: FileId, now: Now) {
        self.tick += 1;
        if let Some(vino) = self.files.remove(&file)
            && let Some(inode) = self.table.get_mut(vino)
        {
            inode.opens = inode.opens.saturating_sub(1);
            if inode.opens == 0 {
                self.let_alone(vino);
            }
        }
        self.settle(now);
    }

    /// Files that nobody has open, and that servers believe to be wanted, are wanted for a while yet. A file may have been closed before the server has
    /// said that it knows of its opening, or nobody waited for that any more.
    pub(super) fn plan_to_want_less(&mut self, now: Now) {
        for vino in std::mem::take(&mut self.unneeded) {
            let too_much = self.table.get(vino).is_some_and(Inode::is_wanted_too_much);
            // Whoever waits for rights to it wants it; the end of that comes here again.
            if too_much && !self.waiting.contains_key(&vino) {
                self.unwanted.insert((now.after(self.config.unwanted_after_ms), vino));
            }
        }
    }

    /// Files that were closed a while ago are not wanted any more.
    pub(super) fn on_unwanted(&mut self, now: Now) {
        while let Some((at, vino)) = self.unwanted.first().copied().filter(|(at, _)| now.reached(*at)) {
            self.unwanted.remove(&(at, vino));
            let closed = self.table.get(vino).is_some_and(|inode| inode.opens == 0);
            if closed && !self.waiting.contains_key(&vino) {
                self.want_less(vino);
            }
        }
    }

    pub(super) fn step_open(&mut self, vino: Vino, keep: bool, asked: u32) -> Step {
        self.table.touch(vino);
        let Some(inode) = self.table.get(vino) else {
            if vino.is_frozen() {
                return Step::Done(Err(FsError::Unknown("such inode in a snapshot")));
            }
            return Step::Ask(Ask::Open(vino));
        };
        match inode.attributes.kind {
            Kind::Regular => {}
            Kind::Directory => return Step::Done(Err(FsError::IsDirectory)),
            _ => return Step::Done(Err(FsError::Errno(errno::ENXIO))),
        }
        if keep && !vino.is_frozen() && !inode.pages_may_be_kept() && asked < KEEP_ASKED {
            return Self::step_keep(inode);
        }
        if vino.is_frozen() || inode.caps.issued().contains(Caps::FILE_RD) || asked >= KEEP_ASKED {
            return Step::Done(self.opened(vino));
        }
        Step::Ask(Ask::Open(vino))
    }

    /// How to come by the right to keep bytes. Where others write, an MDS lets several clients read and write, and none keep anything (`LOCK_MIX`); but
    /// to say how the file is at this moment it has to stop the writers (`LOCK_SYNC`), and in that state it gives all readers all rights.
    fn step_keep(inode: &Inode) -> Step {
        if inode.held_by_user().intersects(PAGES) {
            // It is just being lost, and has to be given back first.
            return Step::Wait(inode.vino());
        }
        let wanted = inode.caps.iter().any(|(_, cap)| cap.valid && cap.wanted.contains(PAGES));
        if wanted {
            return Step::Ask(Ask::Getattr(inode.vino(), (Caps::FILE_SHARED | Caps::FILE_RD).0));
        }
        Step::Ask(Ask::Open(inode.vino()))
    }

    /// Notes an open file.
    pub(super) fn opened(&mut self, vino: Vino) -> Result<Answer, FsError> {
        if self.files.len() >= self.config.handles {
            return Err(FsError::TooMany(format!("more than {} open files", self.config.handles)));
        }
        let pages = self.rights(vino).pages;
        let inode = self.table.get_mut(vino).ok_or(FsError::Stale)?;
        inode.opens = inode.opens.saturating_add(1);
        let data_version = inode.attributes.data_version();
        self.last_handle += 1;
        let file = FileId(self.last_handle);
        self.files.insert(file, vino);
        Ok(Answer::Opened { file, pages, immutable: vino.is_frozen() && pages, data_version })
    }

    /// Whether reads may begin: the right is there, or it is being taken back and its user is still being asked to forget bytes.
    ///
    /// In the second case a reader must not wait: the kernel may hold a page for it that has to be forgotten. When the user has
    /// forgotten everything, new readers wait behind those that are under way, so that the right is given back in the end.
    fn may_read(inode: &Inode) -> bool {
        inode.caps.issued().contains(Caps::FILE_RD)
            || (inode.caps.held().contains(Caps::FILE_RD) && Self::is_held_by_user(inode))
    }

    pub(super) fn step_read(&mut self, file: FileId, end: u64, asked: bool) -> Step {
        let Some(vino) = self.files.get(&file).copied() else {
            return Step::Done(Err(FsError::Unknown("such open file")));
        };
        self.table.touch(vino);
        let Some(inode) = self.table.get(vino) else {
            return Step::Ask(Ask::Open(vino));
        };
        if !Self::may_read(inode) {
            if vino.is_frozen() {
                // Somebody who had written before the snapshot was made has not told all of it yet. The MDS waits for that.
                return if asked { self.plan(vino) } else { Step::Ask(Ask::Getattr(vino, PAGES.0)) };
            }
            let wanted = inode.caps.iter().any(|(_, cap)| cap.valid && cap.wanted.contains(Caps::FILE_RD));
            return if wanted { Step::Wait(vino) } else { Step::Ask(Ask::Open(vino)) };
        }
        // Without the right to know the size it may only have grown, and what lies before it is there.
        let knows_end = inode.caps.held().contains(Caps::FILE_SHARED) || end <= inode.attributes.size;
        if !asked && (!knows_end || inode.lacks_inline()) {
            return Step::Ask(Ask::Getattr(vino, (Caps::FILE_SHARED | Caps::FILE_RD).0));
        }
        self.plan(vino)
    }

    /// Lets a reader begin.
    fn plan(&mut self, vino: Vino) -> Step {
        let cacheable = self.rights(vino).pages;
        let Some(inode) = self.table.get_mut(vino) else { return Step::Done(Err(FsError::Stale)) };
        inode.readers = inode.readers.saturating_add(1);
        let a = &inode.attributes;
        Step::Done(Ok(Answer::Read(Box::new(ReadPlan {
            vino,
            layout: a.layout.clone(),
            size: a.size,
            truncate_seq: a.truncate_seq,
            truncate_size: a.truncate_size,
            inline: inode.inline.clone(),
            cacheable,
            data_version: a.data_version(),
        }))))
    }
}
