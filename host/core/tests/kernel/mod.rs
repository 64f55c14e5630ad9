//! A kernel that keeps exactly what it is allowed to: attributes, names, pages with locks, listings. What it does with an answer it
//! does some time after the answer, as Linux does.
//!
//! From `fs/fuse` of Linux 6.18: `fuse_lookup` notes the epoch and the version of attributes before it asks, `fuse_direntplus_link` the
//! epoch when the answer is there; `fuse_reverse_inval_inode` knows only nodes that have been taken in; a page is locked until its READ
//! is answered.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use wasmount_core::FileSystem;
use wasmount_core::fs::{Entry, ReadDir, ReadRequest};
use wasmount_core::mounts::MountTable;
use wasmount_core::ports::{BoxFuture, Clock, KernelPages, SystemClock};
use wasmount_core::testing::Random;
use wasmount_types::{Attr, Error, ErrorKind, Fh, Ino, Name, RequestCtx};

pub const PAGE: u64 = 4096;

enum Page {
    Locked,
    /// Less than a page where the file ends.
    Uptodate(Bytes),
}

#[derive(Default)]
struct Listing {
    names: Vec<(Name, u64)>,
    complete: bool,
    /// Pages of it are gone.
    broken: bool,
}

struct Inode {
    owner: u32,
    lookups: u64,
    pins: usize,
    attr: Option<(Attr, Instant)>,
    attr_version: u64,
    pages: BTreeMap<u64, Page>,
    listing: Listing,
}

#[derive(Default)]
struct State {
    epoch: u64,
    attr_version: u64,
    inodes: HashMap<Ino, Inode>,
    names: HashMap<(Ino, Name), (Ino, Instant, u64)>,
}

pub struct Kernel {
    /// Weak: the mount table has the kernel.
    fs: OnceLock<Weak<MountTable>>,
    epochs: bool,
    state: Mutex<State>,
    changed: Notify,
    random: Mutex<Random>,
}

/// The port of a kernel.
pub struct Port(pub Arc<Kernel>);

/// An inode that cannot be evicted.
pub struct Pin {
    kernel: Arc<Kernel>,
    pub ino: Ino,
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(inode) = self.kernel.lock().inodes.get_mut(&self.ino) {
            inode.pins -= 1;
        }
    }
}

pub struct OpenFile {
    pin: Pin,
    fh: Fh,
    direct: bool,
}

impl OpenFile {
    /// The kernel keeps nothing of what is read through it, unless it is mapped.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    pub fn ino(&self) -> Ino {
        self.pin.ino
    }
}

pub fn ctx() -> RequestCtx {
    RequestCtx::internal(SystemClock.now() + Duration::from_secs(60))
}

impl Kernel {
    pub fn new(epochs: bool, seed: u64) -> Arc<Self> {
        let mut state = State { epoch: 1, attr_version: 1, ..State::default() };
        state.inodes.insert(Ino::ROOT, Inode::new());
        let (state, random) = (Mutex::new(state), Mutex::new(Random::new(seed)));
        Arc::new(Self { fs: OnceLock::new(), epochs, state, changed: Notify::new(), random })
    }

    pub fn mount(self: &Arc<Self>, fs: &Arc<MountTable>) {
        assert!(self.fs.set(Arc::downgrade(fs)).is_ok());
        fs.mounted(Arc::new(Port(self.clone())));
    }

    fn fs(&self) -> Arc<MountTable> {
        self.fs.get().and_then(Weak::upgrade).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A thread that waits for a processor.
    async fn slice(&self) {
        let (some, long) = {
            let mut random = self.random.lock().unwrap();
            (random.below(4), random.below(6))
        };
        match some {
            0 => {}
            1 => tokio::time::sleep(Duration::from_millis(long)).await,
            _ => tokio::task::yield_now().await,
        }
    }

    fn pin(self: &Arc<Self>, ino: Ino) -> Pin {
        self.lock().inodes.get_mut(&ino).unwrap().pins += 1;
        Pin { kernel: self.clone(), ino }
    }

    pub async fn lookup(self: &Arc<Self>, parent: &Pin, name: &Name) -> Result<Pin, Error> {
        let (epoch, version) = {
            let state = self.lock();
            if let Some((ino, until, epoch)) = state.names.get(&(parent.ino, name.clone()))
                && Instant::now() < *until
                && *epoch == state.epoch
                && state.inodes.contains_key(ino)
            {
                let ino = *ino;
                drop(state);
                return Ok(self.pin(ino));
            }
            (state.epoch, state.attr_version)
        };
        self.slice().await;
        let answer = self.fs().lookup(ctx(), parent.ino, name).await;
        self.slice().await;
        match answer {
            Ok(entry) => Ok(self.take_in(parent.ino, name, &entry, epoch, version)),
            Err(error) => {
                if error.kind == ErrorKind::NotFound {
                    self.lock().names.remove(&(parent.ino, name.clone()));
                }
                Err(error)
            }
        }
    }

    fn take_in(self: &Arc<Self>, parent: Ino, name: &Name, entry: &Entry, epoch: u64, version: u64) -> Pin {
        let now = Instant::now();
        let mut state = self.lock();
        let inode = state.inodes.entry(entry.attr.ino).or_insert_with(Inode::new);
        inode.lookups += 1;
        inode.pins += 1;
        inode.learn(entry, version, now);
        state.names.insert((parent, name.clone()), (entry.attr.ino, now + entry.ttl, epoch));
        Pin { kernel: self.clone(), ino: entry.attr.ino }
    }

    pub async fn walk(self: &Arc<Self>, path: &[&Name]) -> Result<Pin, Error> {
        let mut at = self.pin(Ino::ROOT);
        for name in path {
            at = self.lookup(&at, name).await?;
        }
        Ok(at)
    }

    pub async fn getattr(&self, pin: &Pin) -> Result<Attr, Error> {
        let version = {
            let state = self.lock();
            if let Some((attr, until)) = state.inodes[&pin.ino].attr
                && Instant::now() < until
            {
                return Ok(attr);
            }
            state.attr_version
        };
        self.slice().await;
        let entry = self.fs().getattr(ctx(), pin.ino).await?;
        self.slice().await;
        self.lock().inodes.get_mut(&pin.ino).unwrap().learn(&entry, version, Instant::now());
        Ok(entry.attr)
    }

    pub async fn open(self: &Arc<Self>, pin: Pin) -> Result<OpenFile, Error> {
        self.slice().await;
        let open = self.fs().open(ctx(), pin.ino).await?;
        self.slice().await;
        if !open.keep_cache && !open.direct_io {
            self.drop_pages(pin.ino, None).await;
        }
        Ok(OpenFile { pin, fh: open.fh, direct: open.direct_io })
    }

    pub async fn close(&self, file: OpenFile) {
        self.slice().await;
        self.fs().release(file.fh);
    }

    /// Bytes of whole pages, one piece for each. `mapped`: by touching memory.
    pub async fn read(&self, file: &OpenFile, pages: Range<u64>, mapped: bool) -> Result<Vec<Bytes>, Error> {
        if file.direct && !mapped {
            let bytes = self.request(file, pages.clone(), false).await?;
            return Ok(pieces(&bytes, &pages));
        }
        let mut found = Vec::new();
        for page in pages.clone() {
            found.push(self.page(file, page, pages.end).await?);
        }
        Ok(found)
    }

    async fn request(&self, file: &OpenFile, pages: Range<u64>, kept: bool) -> Result<Bytes, Error> {
        self.slice().await;
        let size = ((pages.end - pages.start) * PAGE) as u32;
        let wanted = ReadRequest { offset: pages.start * PAGE, size, kept };
        Ok(self.fs().read(ctx(), file.fh, wanted).await?.bytes)
    }

    async fn page(&self, file: &OpenFile, page: u64, last: u64) -> Result<Bytes, Error> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let missing = {
                let mut state = self.lock();
                let inode = state.inodes.get_mut(&file.pin.ino).unwrap();
                match inode.pages.get(&page) {
                    Some(Page::Uptodate(bytes)) => return Ok(bytes.clone()),
                    Some(Page::Locked) => None,
                    None => {
                        let mut end = page + 1;
                        while end < last && !inode.pages.contains_key(&end) {
                            end += 1;
                        }
                        for page in page..end {
                            inode.pages.insert(page, Page::Locked);
                        }
                        Some(page..end)
                    }
                }
            };
            let Some(missing) = missing else {
                changed.await;
                continue;
            };
            let answer = self.request(file, missing.clone(), true).await;
            self.slice().await;
            let mut state = self.lock();
            let inode = state.inodes.get_mut(&file.pin.ino).unwrap();
            let first = match &answer {
                Ok(bytes) => {
                    let pieces = pieces(bytes, &missing);
                    for (page, piece) in missing.clone().zip(&pieces) {
                        inode.pages.insert(page, Page::Uptodate(piece.clone()));
                    }
                    pieces.first().cloned().unwrap_or_default()
                }
                Err(_) => {
                    missing.clone().for_each(|page| drop(inode.pages.remove(&page)));
                    Bytes::new()
                }
            };
            drop(state);
            self.changed.notify_waiters();
            return answer.map(|_| first);
        }
    }

    /// Names in a directory, in the order they came.
    pub async fn list(self: &Arc<Self>, pin: &Pin, limit: usize) -> Result<Vec<Name>, Error> {
        self.slice().await;
        let open = self.fs().opendir(ctx(), pin.ino).await?;
        self.slice().await;
        if !open.keep_cache {
            self.drop_pages(pin.ino, None).await;
        }
        let mut names: Vec<Name> = Vec::new();
        let mut offset = 0;
        let outcome = loop {
            if open.cache && offset == 0 {
                let mut state = self.lock();
                let listing = &mut state.inodes.get_mut(&pin.ino).unwrap().listing;
                if listing.broken {
                    *listing = Listing::default();
                }
                if listing.complete {
                    break Ok(listing.names.iter().map(|(name, _)| name.clone()).collect());
                }
            }
            let version = self.lock().attr_version;
            self.slice().await;
            let request = ReadDir { offset, limit, plus: true };
            let page = match self.fs().readdir(ctx(), open.fh, request).await {
                Ok(page) => page,
                Err(error) => break Err(error),
            };
            self.slice().await;
            if page.is_empty() {
                let mut state = self.lock();
                let listing = &mut state.inodes.get_mut(&pin.ino).unwrap().listing;
                if open.cache && listing.at() == offset {
                    listing.complete = true;
                }
                break Ok(names);
            }
            for entry in page {
                if open.cache {
                    let mut state = self.lock();
                    let listing = &mut state.inodes.get_mut(&pin.ino).unwrap().listing;
                    if !listing.complete && listing.at() == offset {
                        listing.names.push((entry.name.clone(), entry.next_offset));
                    }
                }
                if let Some(found) = &entry.entry {
                    let epoch = self.lock().epoch;
                    drop(self.take_in(pin.ino, &entry.name, found, epoch, version));
                }
                offset = entry.next_offset;
                names.push(entry.name);
                if self.random.lock().unwrap().percent(5) {
                    self.slice().await;
                }
            }
        };
        self.slice().await;
        self.fs().releasedir(open.fh);
        outcome
    }

    /// Forgets an inode that nobody uses, if chance picks one.
    pub async fn evict(&self) {
        let evicted = {
            let mut state = self.lock();
            let mut free: Vec<Ino> = state
                .inodes
                .iter()
                .filter(|(ino, inode)| **ino != Ino::ROOT && inode.pins == 0 && inode.lookups > 0)
                .map(|(ino, _)| *ino)
                .collect();
            free.sort();
            let picked = self.random.lock().unwrap().below(free.len() as u64) as usize;
            free.get(picked).and_then(|ino| {
                state.names.retain(|(parent, _), (child, ..)| parent != ino && child != ino);
                state.inodes.remove(ino).map(|inode| (*ino, inode.lookups))
            })
        };
        self.slice().await;
        if let Some((ino, lookups)) = evicted {
            self.fs().forget(ino, lookups);
        }
    }

    /// Owner of an inode when somebody last heard of it.
    pub fn owner(&self, ino: Ino) -> u64 {
        u64::from(self.lock().inodes[&ino].owner)
    }

    pub fn inodes(&self) -> usize {
        self.lock().inodes.len()
    }

    async fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> bool {
        let range = range.unwrap_or(0..u64::MAX);
        let within = range.start / PAGE..range.end.div_ceil(PAGE);
        let mut waited = false;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                state.attr_version += 1;
                let version = state.attr_version;
                let Some(inode) = state.inodes.get_mut(&ino) else { return false };
                if !waited {
                    (inode.attr, inode.attr_version) = (None, version);
                    // There is a page of it: even an empty one has `.` and `..`.
                    inode.listing.broken |= inode.listing.complete || !inode.listing.names.is_empty();
                }
                inode.pages.retain(|page, content| !within.contains(page) || matches!(content, Page::Locked));
                if inode.pages.range(within.clone()).next().is_none() {
                    return true;
                }
            }
            waited = true;
            changed.await;
        }
    }
}

impl Listing {
    fn at(&self) -> u64 {
        self.names.last().map_or(0, |(_, next)| *next)
    }
}

impl Inode {
    fn new() -> Self {
        let (pages, listing) = (BTreeMap::new(), Listing::default());
        Self { owner: 0, lookups: 0, pins: 0, attr: None, attr_version: 0, pages, listing }
    }

    fn learn(&mut self, entry: &Entry, version: u64, now: Instant) {
        self.owner = entry.attr.uid;
        if self.attr_version <= version {
            self.attr = Some((entry.attr, now + entry.attr_ttl));
        }
    }
}

/// The pieces of some pages; less than a page where the file ends, and nothing beyond.
fn pieces(bytes: &Bytes, pages: &Range<u64>) -> Vec<Bytes> {
    let piece = |index: u64| {
        let from = ((index * PAGE) as usize).min(bytes.len());
        bytes.slice(from..(from + PAGE as usize).min(bytes.len()))
    };
    (0..pages.end - pages.start).map(piece).collect()
}

impl KernelPages for Port {
    fn takes_pages(&self) -> bool {
        false
    }

    fn store(&self, _ino: Ino, _offset: u64, _bytes: Bytes, _held: Option<Arc<dyn Any + Send + Sync>>) {}

    fn invalidate(&self, _ino: Ino) {}

    fn drop_attributes(&self, ino: Ino) -> BoxFuture<'static, bool> {
        let mut state = self.0.lock();
        state.attr_version += 1;
        let version = state.attr_version;
        let known = state.inodes.get_mut(&ino).map(|inode| {
            (inode.attr, inode.attr_version) = (None, version);
        });
        Box::pin(std::future::ready(known.is_some()))
    }

    fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> BoxFuture<'static, bool> {
        let kernel = self.0.clone();
        Box::pin(async move {
            kernel.slice().await;
            kernel.drop_pages(ino, range).await
        })
    }

    fn drop_entries(&self) -> bool {
        if self.0.epochs {
            self.0.lock().epoch += 1;
        }
        self.0.epochs
    }

    fn keeps_entries(&self) -> bool {
        self.0.epochs
    }
}
