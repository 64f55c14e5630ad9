//! A block cache in memory that forgets, breaks and refuses as it is told to.

use super::random::Random;
use crate::ports::{BlockCache, BoxFuture, CACHE_PAGE, CacheId, CachedFile, Offer};
use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What goes wrong, in percent of the calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheFaults {
    /// Seed of the dice.
    pub seed: u64,
    /// Opens that answer `None`.
    pub opens: u8,
    /// Offers that are dropped.
    pub offers: u8,
    /// Reads that find their bytes damaged; these are forgotten.
    pub reads: u8,
}

/// A block cache in memory. It outlives the mount tables that use it, as a directory on a disk does.
pub struct MemoryCache {
    files: Mutex<HashMap<(String, String, String), Arc<MemoryCached>>>,
    shared: Arc<Shared>,
}

struct Shared {
    faults: CacheFaults,
    dice: Mutex<Random>,
    /// How long a read takes, in milliseconds.
    read_ms: AtomicU64,
    reads: AtomicU64,
    /// What offers are held by, as long as they are not written, and how much that is.
    queue: Mutex<Vec<(Arc<dyn Any + Send + Sync>, u64)>>,
    holding: AtomicBool,
    crowded: AtomicBool,
    full: AtomicBool,
}

impl MemoryCache {
    /// An empty cache.
    pub fn new(faults: CacheFaults) -> Arc<Self> {
        let shared = Shared {
            faults,
            dice: Mutex::new(Random::new(faults.seed)),
            read_ms: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            queue: Mutex::default(),
            holding: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            full: AtomicBool::new(false),
        };
        Arc::new(Self { files: Mutex::default(), shared: Arc::new(shared) })
    }

    /// How long each read takes from now on.
    pub fn set_read_delay(&self, delay: Duration) {
        self.shared.read_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// Whether it says that much waits to be written.
    pub fn set_crowded(&self, crowded: bool) {
        self.shared.crowded.store(crowded, Ordering::SeqCst);
    }

    /// Whether its queue has no room for anything.
    pub fn set_full(&self, full: bool) {
        self.shared.full.store(full, Ordering::SeqCst);
    }

    /// Reads so far that gave bytes.
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::SeqCst)
    }

    /// Holds on to what is offered from now on, as a disk that is slow does; or lets go of it.
    pub fn hold_offers(&self, hold: bool) {
        self.shared.holding.store(hold, Ordering::SeqCst);
        if !hold {
            lock(&self.shared.queue).clear();
        }
    }

    /// Bytes of memory that the offers it holds on to are said to take.
    pub fn charged(&self) -> u64 {
        lock(&self.shared.queue).iter().map(|(_, charge)| charge).sum()
    }

    /// Forgets pages: each one in `percent` of 100 cases.
    pub fn lose(&self, percent: u8) {
        for file in lock(&self.files).values() {
            let mut pages = lock(&file.pages);
            for page in &mut pages.present {
                *page &= !lock(&self.shared.dice).percent(percent);
            }
        }
    }

    /// Flips every byte that is there, without anybody noticing before it is read.
    pub fn damage(&self) {
        for file in lock(&self.files).values() {
            let mut pages = lock(&file.pages);
            pages.bytes.iter_mut().for_each(|byte| *byte = !*byte);
            pages.damaged = pages.present.clone();
        }
    }

    /// Bytes in all files.
    pub fn bytes(&self) -> u64 {
        lock(&self.files).values().map(|file| file.cached_bytes()).sum()
    }
}

impl BlockCache for MemoryCache {
    fn open(&self, id: CacheId) -> BoxFuture<'_, Option<Arc<dyn CachedFile>>> {
        let refused = lock(&self.shared.dice).percent(self.shared.faults.opens);
        let Some(version) = id.file.version.filter(|_| !refused) else {
            return Box::pin(std::future::ready(None));
        };
        let name = (id.identity.to_string(), id.key.to_string(), version.as_str().to_owned());
        let new = || Arc::new(MemoryCached::new(id.file.size, self.shared.clone()));
        let file: Arc<dyn CachedFile> = lock(&self.files).entry(name).or_insert_with(new).clone();
        Box::pin(std::future::ready(Some(file)))
    }
}

struct MemoryCached {
    size: u64,
    pages: Mutex<Pages>,
    shared: Arc<Shared>,
}

struct Pages {
    bytes: Vec<u8>,
    present: Vec<bool>,
    damaged: Vec<bool>,
}

impl Pages {
    /// A page is there as it should be, or not there.
    fn set(&mut self, page: usize, there: bool) {
        if let (Some(present), Some(damaged)) = (self.present.get_mut(page), self.damaged.get_mut(page)) {
            (*present, *damaged) = (there, false);
        }
    }
}

impl MemoryCached {
    fn new(size: u64, shared: Arc<Shared>) -> Self {
        let count = size.div_ceil(CACHE_PAGE) as usize;
        let (present, damaged) = (vec![false; count], vec![false; count]);
        Self { size, pages: Mutex::new(Pages { bytes: vec![0; size as usize], present, damaged }), shared }
    }
}

fn pages(from: u64, to: u64) -> std::ops::Range<usize> {
    (from / CACHE_PAGE) as usize..to.div_ceil(CACHE_PAGE) as usize
}

impl CachedFile for MemoryCached {
    fn run(&self, from: u64, to: u64) -> u64 {
        let held = lock(&self.pages);
        let missing = pages(from, to).find(|page| !held.present.get(*page).copied().unwrap_or(false));
        missing.map_or(to, |page| (page as u64 * CACHE_PAGE).max(from))
    }

    fn read(&self, from: u64, to: u64, mut into: BytesMut) -> BoxFuture<'_, Result<BytesMut, BytesMut>> {
        Box::pin(async move {
            let delay = Duration::from_millis(self.shared.read_ms.load(Ordering::SeqCst));
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let broken = lock(&self.shared.dice).percent(self.shared.faults.reads);
            let mut held = lock(&self.pages);
            let held = &mut *held;
            let damaged = pages(from, to).any(|page| held.damaged.get(page).copied().unwrap_or(true));
            let gone = pages(from, to).any(|page| !held.present.get(page).copied().unwrap_or(false));
            let bytes = held.bytes.get(from as usize..to as usize);
            let Some(bytes) = bytes.filter(|_| !broken && !damaged && !gone) else {
                for page in pages(from, to) {
                    held.set(page, false);
                }
                return Err(into);
            };
            assert!(into.capacity() - into.len() >= bytes.len(), "there is room for what is read");
            into.extend_from_slice(bytes);
            self.shared.reads.fetch_add(1, Ordering::SeqCst);
            Ok(into)
        })
    }

    fn wants(&self, from: u64, to: u64) -> bool {
        self.run(from, to) < to
    }

    fn crowded(&self) -> bool {
        self.shared.crowded.load(Ordering::SeqCst)
    }

    fn offer(&self, at: u64, pieces: Vec<Bytes>, held: Arc<dyn Any + Send + Sync>, charge: u64) -> Offer {
        let end = at + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        assert!(at.is_multiple_of(CACHE_PAGE), "an offer begins at a page");
        assert!(
            end == self.size || end.is_multiple_of(CACHE_PAGE) && end < self.size,
            "an offer ends at one"
        );
        let full = self.shared.full.load(Ordering::SeqCst);
        if full || lock(&self.shared.dice).percent(self.shared.faults.offers) {
            return Offer::NoRoom;
        }
        let mut pages_held = lock(&self.pages);
        let mut begin = at as usize;
        for piece in pieces {
            if let Some(room) = pages_held.bytes.get_mut(begin..begin + piece.len()) {
                room.copy_from_slice(&piece);
            }
            begin += piece.len();
        }
        for page in pages(at, end) {
            pages_held.set(page, true);
        }
        if self.shared.holding.load(Ordering::SeqCst) {
            lock(&self.shared.queue).push((held, charge));
        }
        Offer::Queued
    }

    fn backing(&self) -> BoxFuture<'_, Option<Arc<OwnedFd>>> {
        Box::pin(async move {
            let held = lock(&self.pages);
            if !held.present.iter().all(|present| *present) || held.damaged.contains(&true) {
                return None;
            }
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("wasmount-testing-{}-{number}", std::process::id()));
            let options = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            let mut file = options.ok()?;
            let written = file.write_all(&held.bytes);
            // The descriptor is all that is needed.
            let _removed = std::fs::remove_file(&path);
            written.ok()?;
            Some(Arc::new(file.into()))
        })
    }

    fn cached_bytes(&self) -> u64 {
        let held = lock(&self.pages);
        let length = |page: usize| CACHE_PAGE.min(self.size - page as u64 * CACHE_PAGE);
        held.present.iter().enumerate().filter(|(_, present)| **present).map(|(page, _)| length(page)).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
