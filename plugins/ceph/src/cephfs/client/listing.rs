//! Listing directories.
//!
//! Names are listed by the hashes by which they are spread over fragments, and those of one hash by their bytes. So a place in a directory
//! is a hash and a count of names that have it, whatever happens to fragments and to other names meanwhile, and whether the names come
//! from what is known or from the MDS. A place is what a cookie says.

use super::replies::Filled;
use super::{Ask, FsClient, InFlight, Step, Vino};
use crate::cephfs::answer::{Answer, Kind, ListedEntry};
use crate::cephfs::error::FsError;
use crate::cephfs::ids::ListingId;
use crate::mds::{Caps, FilePath, Frag, Op, Rank, ReaddirArgs, ReaddirReply, ino, readdir_flags};
use crate::time::Now;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bits of a cookie that count names of one hash. More have one hash only if somebody makes them on purpose; then the last ones share a
/// cookie, and a listing that is resumed there from the beginning may miss some.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Part of a directory that is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageWanted {
    pub(super) listing: ListingId,
    pub(super) cookie: u64,
    pub(super) limit: usize,
    pub(super) with_attributes: bool,
}

/// A directory that is being listed.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) vino: Vino,
    /// The place before the first of `entries`.
    start: u64,
    entries: VecDeque<Listed>,
    /// The place of the last entry that was received, or where the listing goes on.
    last: u64,
    /// The name of the last entry that was received of this fragment.
    last_name: Option<Arc<[u8]>>,
    /// The first hash that was not received yet; `None`: everything was.
    next: Option<u32>,
    /// The state of the directory when the listing began at its beginning; `None`: it did not.
    undisturbed: Option<u64>,
    /// Entries to pass over: those of the first hash, or of a directory of snapshots, before the place where the listing goes on.
    skip: u64,
}

#[derive(Clone, Debug)]
struct Listed {
    name: Arc<[u8]>,
    vino: Vino,
    kind: Kind,
    cookie: u64,
    /// It counts among those for which inodes are kept until they are given to the user.
    waits: bool,
}

impl Listing {
    fn new(vino: Vino) -> Self {
        Self {
            vino,
            start: 0,
            entries: VecDeque::new(),
            last: 0,
            last_name: None,
            next: Some(0),
            undisturbed: None,
            skip: 0,
        }
    }

    /// Begins anew at a place. Returns what is not given to the user now.
    #[must_use]
    fn seek(&mut self, cookie: u64) -> VecDeque<Listed> {
        let given_up = std::mem::take(&mut self.entries);
        self.start = cookie;
        (self.last, self.last_name, self.undisturbed) = (cookie, None, None);
        (self.next, self.skip) = (Some((cookie >> COUNT_BITS) as u32), cookie & COUNT_MAX);
        if self.vino.is_snapshots() {
            (self.last, self.next, self.skip) = (0, Some(0), cookie);
        }
        given_up
    }

    /// Whether nothing was received since it began at the beginning.
    fn is_at_start(&self) -> bool {
        self.start == 0 && self.last == 0 && self.next == Some(0)
    }

    /// The number of the entry that follows a place, if what was received goes so far back.
    fn after(&self, cookie: u64) -> Option<usize> {
        if cookie == self.start {
            return Some(0);
        }
        let at = self.entries.partition_point(|entry| entry.cookie < cookie);
        (self.entries.get(at)?.cookie == cookie).then_some(at + 1)
    }
}

impl FsClient {
    /// Begins to list a directory. `keep`: what is listed may be kept, also from before, until it is invalidated.
    ///
    /// # Errors
    /// Too many are being listed.
    pub fn open_directory(&mut self, vino: Vino) -> Result<(ListingId, bool), FsError> {
        if self.listings.len() >= self.config.handles {
            return Err(FsError::TooMany(format!("more than {} open directories", self.config.handles)));
        }
        let keep = !vino.is_snapshots() && self.rights(vino).pages;
        self.last_handle += 1;
        let id = ListingId(self.last_handle);
        self.listings.insert(id, Listing::new(vino));
        Ok((id, keep))
    }

    /// Ends a listing.
    pub fn close_directory(&mut self, id: ListingId) {
        if let Some(listing) = self.listings.remove(&id) {
            self.given(listing.entries);
        }
    }

    /// The user has been given these entries, or will not be.
    fn given(&mut self, entries: impl IntoIterator<Item = Listed>) {
        for listed in entries.into_iter().filter(|listed| listed.waits) {
            self.listed -= 1;
            if let Some(inode) = self.table.get_mut(listed.vino) {
                inode.listed = inode.listed.saturating_sub(1);
                if self.is_spare(listed.vino) {
                    self.table.may_be_spare(listed.vino);
                }
            }
        }
    }

    pub(super) fn step_readdir(&mut self, wanted: &PageWanted, asked: bool, now: Now) -> Step {
        let Some(listing) = self.listings.get_mut(&wanted.listing) else {
            return Step::Done(Err(FsError::Unknown("such open directory")));
        };
        let vino = listing.vino;
        self.table.touch(vino);
        match self.table.get(vino).map(|inode| inode.attributes.kind) {
            Some(Kind::Directory) => {}
            Some(_) => return Step::Done(Err(FsError::NotDirectory)),
            // How its names are ordered must be known.
            None if vino.is_head() => return Step::Ask(Ask::Getattr(vino, Caps::ANY_SHARED.0)),
            None if vino.is_frozen() => return Step::Done(Err(FsError::Unknown("such inode in a snapshot"))),
            None => {}
        }
        if let Some(step) = self.page_of_known(wanted, now).filter(|_| !asked) {
            return step;
        }
        if let Some(step) = self.page(wanted, asked, now) {
            return step;
        }
        let disturbed = self.disturbed(vino);
        let Some(listing) = self.listings.get_mut(&wanted.listing) else {
            return Step::Done(Err(FsError::Unknown("such open directory")));
        };
        if !self.asked.contains_key(&Ask::Readdir(wanted.listing))
            && ((wanted.cookie == 0 && !asked) || listing.after(wanted.cookie).is_none())
        {
            let given_up = listing.seek(wanted.cookie);
            if wanted.cookie == 0 {
                listing.undisturbed = disturbed;
            }
            self.given(given_up);
        }
        Step::Ask(Ask::Readdir(wanted.listing))
    }

    fn disturbed(&self, vino: Vino) -> Option<u64> {
        self.table.get(vino)?.directory.as_deref().map(|directory| directory.disturbed())
    }

    /// A page of what was received, if there is anything at this place. `fresh`: it was received just now, for this call.
    pub(super) fn page(&mut self, wanted: &PageWanted, fresh: bool, now: Now) -> Option<Step> {
        let listing = self.listings.get_mut(&wanted.listing)?;
        // From the beginning everything is listed anew: what was received before may be old.
        let at = listing.after(wanted.cookie).filter(|_| fresh || wanted.cookie != 0)?;
        let left = listing.entries.len() - at;
        if left == 0 && listing.next.is_some() {
            return None;
        }
        let (vino, entries): (Vino, Vec<Listed>) =
            (listing.vino, listing.entries.range(at..).take(wanted.limit).cloned().collect());
        let end = listing.next.is_none() && entries.len() == left;
        // What lies before is not asked for again, or from the beginning.
        if at > 0 {
            listing.start = wanted.cookie;
            let before: Vec<Listed> = listing.entries.drain(..at).collect();
            self.given(before);
        }
        Some(Step::Done(Ok(self.listed(vino, &entries, end, wanted.with_attributes, fresh, now))))
    }

    /// A page of what is known, if all names are, and most of their attributes if those are wanted.
    fn page_of_known(&mut self, wanted: &PageWanted, now: Now) -> Option<Step> {
        let vino = self.listings.get(&wanted.listing)?.vino;
        let inode = self.table.get(vino)?;
        let directory = inode.directory.as_deref()?;
        if !directory.is_complete() || !inode.caps.held().contains(Caps::FILE_SHARED) {
            return None;
        }
        let (hash, passed) = ((wanted.cookie >> COUNT_BITS) as u32, wanted.cookie & COUNT_MAX);
        let (mut at, mut count) = (hash, 0);
        let (mut entries, mut unknown, mut end) = (Vec::new(), 0, true);
        for ((hash, name), dentry) in directory.from(&(hash, Arc::default())) {
            let Some(target) = dentry.target.filter(|_| dentry.period == directory.period) else { continue };
            (at, count) = if *hash == at { (at, (count + 1).min(COUNT_MAX)) } else { (*hash, 1) };
            if wanted.cookie != 0 && (at, count) <= ((wanted.cookie >> COUNT_BITS) as u32, passed) {
                continue;
            }
            if entries.len() == wanted.limit {
                end = false;
                break;
            }
            let inode = self.table.get(target)?;
            unknown += usize::from(!inode.knows(Caps::ANY_SHARED));
            let cookie = (u64::from(at) << COUNT_BITS) | count;
            let kind = inode.attributes.kind;
            entries.push(Listed { name: name.clone(), vino: target, kind, cookie, waits: false });
        }
        // To ask for many single inodes costs more than to list them again.
        if wanted.with_attributes && unknown * 8 > entries.len() {
            return None;
        }
        Some(Step::Done(Ok(self.listed(vino, &entries, end, wanted.with_attributes, false, now))))
    }

    fn listed(
        &mut self,
        dir: Vino,
        entries: &[Listed],
        end: bool,
        with_attributes: bool,
        fresh: bool,
        now: Now,
    ) -> Answer {
        let mut page = Vec::with_capacity(entries.len());
        for listed in entries {
            let mut entry = None;
            let known =
                self.table.get(listed.vino).is_some_and(|inode| fresh || inode.knows(Caps::ANY_SHARED));
            if with_attributes && known {
                // The name may have come to mean something else since it was listed.
                let right = self.entry_right_to(dir, &listed.name, Some(listed.vino), now);
                entry = self.entry(listed.vino, right);
            }
            page.push(ListedEntry {
                name: listed.name.clone(),
                vino: listed.vino,
                kind: Some(listed.kind),
                cookie: listed.cookie,
                entry,
            });
        }
        Answer::Page { entries: page, end }
    }

    /// What is asked to go on with a listing.
    pub(super) fn question_of_listing(
        &self,
        id: ListingId,
    ) -> Result<(Op, FilePath, FilePath, Option<Rank>), FsError> {
        let listing = self.listings.get(&id).ok_or(FsError::Unknown("such open directory"))?;
        let vino = listing.vino;
        let hash = listing.next.unwrap_or(0);
        let tree = self.table.get(vino).and_then(|inode| inode.directory.as_deref());
        let frag = tree.map_or(Frag::WHOLE, |directory| directory.tree.leaf(hash));
        let args = ReaddirArgs {
            frag,
            max_entries: self.config.readdir_entries,
            max_bytes: self.config.readdir_bytes,
            offset_hash: if listing.last_name.is_some() || vino.is_snapshots() { 0 } else { hash },
        };
        let op = if vino.is_snapshots() {
            Op::LsSnap(ReaddirArgs { frag: Frag::WHOLE, ..args })
        } else {
            Op::Readdir(args)
        };
        let after = FilePath::new(0, listing.last_name.as_deref().unwrap_or_default());
        Ok((op, self.path_of(vino)?, after, self.server(vino, Some(hash))))
    }

    /// Notes entries of a directory.
    pub(super) fn take_listing(
        &mut self,
        id: ListingId,
        request: &InFlight,
        rank: Rank,
        reply: ReaddirReply,
        told: Option<Filled>,
    ) -> Result<(), FsError> {
        // Nobody lists it any more: what is issued has to be noted all the same.
        let vino = self.listings.get(&id).map(|listing| listing.vino);
        let dir = vino.or(request.period.map(|(dir, _)| dir)).unwrap_or(Vino { ino: 0, snap: ino::SNAP_DIR });
        if !dir.is_snapshots() {
            self.served_by(dir, &reply.dir);
        }
        let shared = told.is_some_and(|told| told.issued.contains(Caps::FILE_SHARED));
        let void = told.is_some_and(|told| told.void);
        let period = self.period_now(request, dir, shared);
        let disturbed = self.disturbed(dir);
        if let Some(listing) = self.listings.get_mut(&id).filter(|listing| shared && listing.is_at_start()) {
            // Names are listed under a right that came with the first of them.
            listing.undisturbed = disturbed;
        }
        let frag = reply.dir.frag;
        let flags = reply.flags;
        let mut taken = 0;
        for entry in reply.entries {
            let name: Arc<[u8]> = entry.name.into();
            let Some(kind) = Kind::of_mode(entry.inode.mode) else { continue };
            let path = if entry.inode.snap < ino::NO_SNAP {
                Some(below(&request.path, dir.is_snapshots(), &name))
            } else {
                None
            };
            let lease = self.lease(rank, &entry.lease, request.sent_ms).filter(|_| !void);
            let Some(Filled { vino: target, .. }) = self.fill(rank, entry.inode, path) else { continue };
            if !dir.is_snapshots() {
                self.link(dir, name.clone(), Some(target), lease, period);
            }
            let hash = self.place(dir, &name).0;
            // Who lists more directories at a time than there is memory for has to ask for single inodes again.
            let waits = self.listed < self.config.idle_inodes / 2;
            if let Some(listing) = self.listings.get_mut(&id) {
                let before = listing.entries.len();
                taken += usize::from(listing.take(hash, name, target, kind, waits));
                if waits && listing.entries.len() > before {
                    self.listed += 1;
                    self.table.get_mut(target).into_iter().for_each(|inode| inode.listed += 1);
                }
            }
        }
        let end = flags & readdir_flags::FRAG_END != 0;
        let Some(listing) = self.listings.get_mut(&id) else { return Ok(()) };
        listing.advance(dir.is_snapshots(), frag, end, taken)?;
        if listing.next.is_none() && !dir.is_snapshots() {
            let undisturbed = listing.undisturbed;
            self.listed_all(dir, undisturbed);
        }
        Ok(())
    }

    /// All of a directory was listed.
    fn listed_all(&mut self, dir: Vino, undisturbed: Option<u64>) {
        let Some(inode) = self.table.get_mut(dir) else { return };
        let issued = inode.caps.issued().contains(Caps::FILE_SHARED);
        let Some(directory) = inode.directory.as_mut() else { return };
        if issued && undisturbed == Some(directory.disturbed()) {
            let forgotten = directory.completed();
            for (name, dentry) in forgotten {
                self.unlink_back(dir, &name, &dentry);
            }
        }
    }
}

impl Listing {
    /// Appends an entry, if it comes after the last one.
    fn take(&mut self, hash: u32, name: Arc<[u8]>, vino: Vino, kind: Kind, waits: bool) -> bool {
        let last_hash = (self.last >> COUNT_BITS) as u32;
        let cookie = if self.vino.is_snapshots() {
            self.last.saturating_add(1)
        } else {
            let follows = match &self.last_name {
                Some(last_name) => (hash, &name) > (last_hash, last_name),
                None => hash >= last_hash,
            };
            if !follows {
                return false;
            }
            let same = hash == last_hash && self.last != 0;
            if same && self.skip > 0 {
                self.skip -= 1;
                self.last_name = Some(name);
                return true;
            }
            self.skip = 0;
            let count = if same { ((self.last & COUNT_MAX) + 1).min(COUNT_MAX) } else { 1 };
            (u64::from(hash) << COUNT_BITS) | count
        };
        (self.last, self.last_name) = (cookie, Some(name.clone()));
        if !self.vino.is_snapshots() || cookie > self.skip {
            self.entries.push_back(Listed { name, vino, kind, cookie, waits });
        }
        true
    }

    /// Entries of a fragment were received; `end`: its last ones.
    fn advance(&mut self, snapshots: bool, frag: Frag, end: bool, taken: usize) -> Result<(), FsError> {
        let nonsense = |what: &str| Err(FsError::Malformed(what.to_owned()));
        if snapshots {
            if end {
                self.next = None;
            } else if taken == 0 {
                return nonsense("a part of a list of snapshots with nothing in it");
            }
            return Ok(());
        }
        let Some(next) = self.next else { return Ok(()) };
        if !frag.contains(next) {
            return nonsense("entries of another fragment of the directory");
        }
        if end {
            self.next = frag.next().map(Frag::value);
            // The next fragment begins with its first name.
            (self.last_name, self.skip) = (None, 0);
        } else if taken == 0 {
            return nonsense("a part of a directory with nothing in it");
        } else {
            self.next = Some((self.last >> COUNT_BITS) as u32);
        }
        Ok(())
    }
}

/// The path of a name below a path in a snapshot.
fn below(path: &FilePath, of_snapshots: bool, name: &[u8]) -> FilePath {
    let mut below = path.clone();
    if !below.path.is_empty() || of_snapshots {
        below.path.push(b'/');
    }
    below.path.extend_from_slice(name);
    below
}
