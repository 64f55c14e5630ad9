//! Calls of the file system's client, each with an answer of its own.
//!
//! They have no limits of time: the deadline of the operation that a call is made for, which only the host knows, is the limit, and a call whose
//! future is dropped is given up. So whatever is over before that (an MDS that is replaced, a network that comes back) is no error.

use wasmount_ceph::Now;
use wasmount_ceph::cephfs::{
    Answer, Attributes, CallId, Done, Entry, EntryRight, FileId, FsClient, FsError, FsMount, ListedEntry,
    ListingId, ReadPlan, RecursiveStat, Rights, Token, Vino,
};
use wasmount_ceph::mds::{Caps, FileLayout, FilePath, QuotaInfo};
use wasmount_ceph::mon::Usage;
use wasmount_ceph::rados::Machine as _;
use wasmount_ceph_guest::{Client, HostBytes, HostCiphers};
use wasmount_sdk::system;

/// The machine that is driven.
pub type Mount = FsMount<HostBytes, HostCiphers>;

/// Longest wait for the root when a mount is opened. The host waits 30 s for connection and root together, and would not know the reason.
const ROOT_MS: u64 = 12_000;
/// Longest wait for metadata servers to let go. Whoever does not answer forgets this client by itself, after minutes.
const UNMOUNT_MS: u64 = 2_000;
/// How often it is looked whether they have.
const UNMOUNT_STEP_MS: u64 = 20;

/// A mounted file system. Clones are the same.
#[derive(Clone, Debug)]
pub struct Fs(Client<Mount>);

/// What opening a file gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Its number.
    pub file: FileId,
    /// Whether bytes may be kept.
    pub pages: bool,
    /// Whether they never change.
    pub immutable: bool,
}

/// The right to read a file, given back when it is dropped.
#[derive(Debug)]
pub struct Reading {
    fs: Fs,
    /// How to read it.
    pub plan: Box<ReadPlan>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let vino = self.plan.vino;
        self.fs.tell(|fs, now| fs.read_done(vino, now));
    }
}

type Result<T, E = FsError> = std::result::Result<T, E>;

impl Fs {
    /// Calls over this client.
    #[must_use]
    pub fn new(client: Client<Mount>) -> Self {
        Self(client)
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client<Mount> {
        &self.0
    }

    /// Follows a name.
    ///
    /// # Errors
    /// What the MDS says; `Stale`: the directory is gone.
    pub async fn lookup(&self, parent: Vino, name: &[u8]) -> Result<Result<Entry, EntryRight>> {
        match self.call(|fs, now| fs.lookup(parent, name, None, now)).await? {
            Answer::Found(entry) => Ok(Ok(Entry { attributes: tidy(entry.attributes), ..entry })),
            Answer::Absent(right) => Ok(Err(right)),
            other => Err(nonsense(&other)),
        }
    }

    /// What a path leads to, as the MDS says now. One reference more.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub async fn find_path(&self, path: FilePath) -> Result<Entry> {
        self.find_path_until(path, |_| None).await
    }

    /// The same for the root of a mount that is being opened.
    ///
    /// # Errors
    /// As [`find_path`](Self::find_path); `TimedOut`: nobody answers.
    pub async fn find_root(&self, path: FilePath) -> Result<Entry> {
        self.find_path_until(path, |now| Some(now.after(ROOT_MS))).await
    }

    async fn find_path_until(&self, path: FilePath, until: impl FnOnce(Now) -> Option<u64>) -> Result<Entry> {
        match self.call(|fs, now| fs.find_path(path, until(now), now)).await? {
            Answer::Found(entry) => Ok(entry),
            other => Err(nonsense(&other)),
        }
    }

    /// The attributes that these capabilities cover.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub async fn getattr(&self, vino: Vino, mask: Caps) -> Result<(Box<Attributes>, Rights)> {
        match self.call(|fs, now| fs.getattr(vino, mask, None, now)).await? {
            Answer::Attributes(attributes, rights) => Ok((tidy(attributes), rights)),
            other => Err(nonsense(&other)),
        }
    }

    /// Opens a file; `keep`: with the right to keep its bytes, if that can be had.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub async fn open(&self, vino: Vino, keep: bool) -> Result<OpenFile> {
        match self.call(|fs, now| fs.open(vino, keep, None, now)).await? {
            Answer::Opened { file, pages, immutable, .. } => Ok(OpenFile { file, pages, immutable }),
            other => Err(nonsense(&other)),
        }
    }

    /// Closes a file.
    pub fn close_file(&self, file: FileId) {
        self.tell(|fs, now| fs.close(file, now));
    }

    /// Waits for the right to read an open file up to `end`.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup); `Unknown`: it is not open.
    pub async fn read_right(&self, file: FileId, end: u64) -> Result<Reading> {
        match self.call(|fs, now| fs.read_right(file, end, None, now)).await? {
            Answer::Read(plan) => Ok(Reading { fs: self.clone(), plan }),
            other => Err(nonsense(&other)),
        }
    }

    /// Begins a listing, and tells whether it may be kept.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn open_directory(&self, vino: Vino) -> Result<(ListingId, bool)> {
        self.tell(|fs, _| fs.open_directory(vino))
    }

    /// Ends a listing.
    pub fn close_directory(&self, listing: ListingId) {
        self.tell(|fs, _| fs.close_directory(listing));
    }

    /// Entries after `cookie`, and whether these were the last.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup); `Unknown`: it is not open.
    pub async fn readdir(
        &self,
        listing: ListingId,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> Result<(Vec<ListedEntry>, bool)> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let begin = |fs: &mut FsClient, now| fs.readdir(listing, cookie, limit, with_attributes, None, now);
        match self.call(begin).await? {
            Answer::Page { entries, end } => Ok((entries, end)),
            other => Err(nonsense(&other)),
        }
    }

    /// Takes references back. Those to a directory of snapshots are to its directory.
    pub fn forget(&self, nodes: impl Iterator<Item = (Vino, u64)>) {
        let referenced = |vino: Vino| if vino.is_snapshots() { Vino::head(vino.ino) } else { vino };
        self.tell(|fs, now| nodes.for_each(|(vino, count)| fs.forget(referenced(vino), count, now)));
    }

    /// The host has forgotten what it was told to.
    pub fn invalidated(&self, token: Token) {
        self.tell(|fs, now| fs.invalidated(token, now));
    }

    /// Gives back what was answered to somebody who does not wait any more.
    pub fn give_back(&self, answer: Answer) {
        let entries: Vec<Entry> = match answer {
            Answer::Found(entry) => vec![entry],
            Answer::Page { entries, .. } => entries.into_iter().filter_map(|listed| listed.entry).collect(),
            Answer::Opened { file, .. } => return self.close_file(file),
            Answer::Read(plan) => return drop(Reading { fs: self.clone(), plan }),
            Answer::Absent(_) | Answer::Attributes(..) => return,
        };
        self.forget(entries.into_iter().map(|entry| (entry.attributes.vino, 1)));
    }

    /// How much room there is: in the pool of the data if there is one only, else in the cluster.
    ///
    /// # Errors
    /// `Unavailable`: the mount is being closed.
    pub async fn usage(&self) -> Result<Usage> {
        let pool = self.0.look(|mount| match mount.sessions().map().map(|map| &map.data_pools[..]) {
            Some([pool]) => Some(*pool),
            _ => None,
        });
        self.0.usage(pool).await.ok_or_else(closing)
    }

    /// Leaves the file system: metadata servers forget this client at once, unless they do not answer.
    pub async fn unmount(&self) {
        self.0.tell(|mount, now| mount.close(now));
        let until = system::monotonic_ms().saturating_add(UNMOUNT_MS);
        while !self.0.look(Mount::is_closed) && system::monotonic_ms() < until {
            system::sleep(UNMOUNT_STEP_MS).await;
        }
        self.0.close();
    }

    /// Where an inode of a snapshot was found.
    #[must_use]
    pub fn snapshot_path(&self, vino: Vino) -> Option<FilePath> {
        self.0.look(|mount| mount.fs().snapshot_path(vino))
    }

    fn tell<T>(&self, what: impl FnOnce(&mut FsClient, Now) -> T) -> T {
        self.0.tell(|mount, now| {
            let told = what(mount.fs_mut(), now);
            mount.settle(now);
            told
        })
    }

    /// Makes a call and waits for its answer. Dropping the future gives the call up.
    async fn call(&self, begin: impl FnOnce(&mut FsClient, Now) -> CallId) -> Result<Answer> {
        let begin = |mount: &mut Mount, now: Now| {
            let call = begin(mount.fs_mut(), now);
            mount.settle(now);
            call.0
        };
        match self.0.call(begin).await {
            Some(Done::Call { result, .. }) => result,
            _ => Err(closing()),
        }
    }
}

fn closing() -> FsError {
    FsError::Unavailable("the mount is being closed".into())
}

/// A directory of snapshots has owner, mode and times of its directory, and nothing else of it (`Client::open_snapdir`).
fn tidy(mut attributes: Box<Attributes>) -> Box<Attributes> {
    if attributes.vino.is_snapshots() {
        (attributes.dir_files, attributes.dir_subdirs) = (0, 0);
        attributes.recursive = RecursiveStat::default();
        attributes.quota = QuotaInfo::default();
        (attributes.layout, attributes.dir_pin) = (std::sync::Arc::new(FileLayout::default()), -1);
        attributes.xattrs = Some(std::sync::Arc::default());
    }
    attributes
}

/// An answer to another question.
fn nonsense(answer: &Answer) -> FsError {
    FsError::Malformed(format!("the answer to another question: {answer:?}"))
}
