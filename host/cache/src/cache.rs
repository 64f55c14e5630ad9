//! The cache: its table of open files, its threads, its life.

use crate::config::{CacheError, DiskCacheConfig};
use crate::entry::write_all;
use crate::file::{Entry, File, READ_PATIENCE};
use crate::finish::{Finisher, Task};
use crate::format::{EntryHash, Header};
use crate::health::Condition;
use crate::index::Index;
use crate::keep::{Keeper, with_nice};
use crate::read::Patience;
use crate::root::{FILE_MODE, Root};
use crate::slow::{self, Waits};
use crate::space::Space;
use crate::stats::{CacheStats, Counters, add};
use crate::write::Writer;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use wasmount_core::ports::{BlockCache, BoxFuture, CacheId, CacheIdentity, CachedFile};

/// Below this a cache would evict what it has just written.
const LEAST: u64 = 1 << 20;
/// The writer takes its turn like everybody else: it costs a seventh of a processor second per GiB, and behind busy readers it would
/// fall behind and drop what the next epoch wants.
const WRITER_NICE: i32 = 0;
/// Syncing, verifying and housekeeping can wait.
const BACKGROUND_NICE: i32 = 15;

/// What all parts of a cache share.
pub(crate) struct Shared {
    pub config: DiskCacheConfig,
    pub root: Root,
    pub runtime: Handle,
    /// Which boot this is; `None` if the system does not say, then everything is verified after each start.
    pub boot: Option<[u8; 16]>,
    pub condition: Condition,
    pub space: Space,
    pub counters: Counters,
    pub index: Index,
    pub writer: Writer,
    pub finisher: Finisher,
    pub keeper: Keeper,
    pub waits: Waits,
    pub stopping: AtomicBool,
    table: Mutex<HashMap<EntryHash, Weak<Entry>>>,
    began: Instant,
}

impl Shared {
    /// Since the cache was opened.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts an offer that was not taken.
    pub(crate) fn dropped(&self, bytes: u64) {
        add(&self.counters.dropped_offers, 1);
        add(&self.counters.dropped_bytes, bytes);
    }

    /// The entry of this name that is open, or a new one.
    fn entry(&self, hash: EntryHash, new: impl FnOnce() -> Entry) -> Arc<Entry> {
        let lock = || self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Removed by somebody while it is open here: its readers keep it, and the next one gets a new one.
        let usable = |entry: &Arc<Entry>| !entry.is_orphan();
        // No entry may be dropped while the table is locked: dropping one takes the lock.
        let found = lock().get(&hash).and_then(Weak::upgrade);
        if let Some(entry) = found.filter(usable) {
            return entry;
        }
        let new = Arc::new(new());
        let mut table = lock();
        let other = table.get(&hash).and_then(Weak::upgrade);
        if other.as_ref().is_none_or(|entry| !usable(entry)) {
            table.insert(hash, Arc::downgrade(&new));
            drop(table);
            return new;
        }
        drop(table);
        other.unwrap_or(new)
    }

    /// An entry that nobody holds any more.
    pub(crate) fn forget(&self, hash: EntryHash) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.get(&hash).is_some_and(|entry| entry.strong_count() == 0) {
            table.remove(&hash);
        }
    }
}

/// A cache of objects' bytes in a directory of a local disk, which several processes may share.
///
/// Dropping it ends its threads; what waits to be written then is lost, and fetched again some day. [`shutdown`](Self::shutdown) first writes it.
pub struct DiskCache {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl DiskCache {
    /// Opens the cache of a directory, which is made if it is not there. Returns without having read what is in it. `runtime`, with its
    /// time enabled, runs reads that wait for the disk.
    ///
    /// # Errors
    /// The directory cannot be made or used, others could change what is in it, or the limit is too small.
    pub fn open(config: DiskCacheConfig, runtime: Handle) -> Result<Arc<Self>, CacheError> {
        if config.max_bytes < LEAST {
            return Err(CacheError::TooSmall { path: config.dir, max_bytes: config.max_bytes, least: LEAST });
        }
        let root = Root::open(&config.dir)?;
        let shared = Arc::new(Shared {
            root,
            runtime,
            boot: boot_id(),
            condition: Condition::new(config.dir.display().to_string()),
            space: Space::new(config.max_bytes, config.min_free),
            counters: Counters::default(),
            index: Index::default(),
            writer: Writer::default(),
            finisher: Finisher::default(),
            keeper: Keeper::default(),
            waits: Waits::default(),
            stopping: AtomicBool::new(false),
            table: Mutex::default(),
            began: Instant::now(),
            config,
        });
        let cache = Self { shared, threads: Mutex::default() };
        cache.start("cache-writer", WRITER_NICE, |shared| shared.writer.work(shared))?;
        cache.start("cache-finisher", BACKGROUND_NICE, |shared| shared.finisher.work(shared))?;
        cache.start("cache-keeper", BACKGROUND_NICE, |shared| shared.keeper.work(shared))?;
        Ok(Arc::new(cache))
    }

    fn start(&self, name: &str, nice: i32, work: fn(&Shared)) -> Result<(), CacheError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || with_nice(nice, || work(&shared)))
            .map_err(|source| CacheError::Io {
                path: self.shared.config.dir.clone(),
                action: "start a thread for it",
                source,
            })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// What the cache has done and holds.
    pub fn stats(&self) -> CacheStats {
        let shared = &self.shared;
        let mut stats = shared.counters.snapshot();
        stats.used_bytes = shared.space.bytes();
        stats.entries = shared.space.entries();
        stats.queued_bytes = shared.writer.queued();
        stats.health = shared.condition.get();
        stats
    }

    /// Says in words what an identity stands for, for people who list the cache. A no-op while the disk takes no writes. Blocks on the disk.
    pub fn describe(&self, identity: &CacheIdentity, text: &str) {
        let shared = &self.shared;
        let top = shared.root.top();
        let path = format!("{identity}/{}", crate::admin::ABOUT);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let written = shared
            .root
            .make_dirs(identity, EntryHash([0; 20]))
            .and_then(|()| rustix::fs::openat(top.as_ref(), &*path, flags, FILE_MODE))
            .and_then(|fd| write_all(&fd, text.as_bytes(), 0));
        if let Err(error) = written {
            tracing::debug!(%identity, %error, "cache label");
        }
    }

    /// Waits until everything offered so far is written and what is complete is marked, at most for `patience`. Whether it was.
    /// Blocks the thread.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.shared.writer.idle() && self.shared.finisher.idle() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes what waits, for at most two seconds, and ends the threads. Offers are ignored from then on; reads go on. Blocks the thread.
    pub fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.flush(Duration::from_secs(2));
        self.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // A thread that a dead disk holds is left behind.
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && !threads.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if threads.iter().all(JoinHandle::is_finished) && self.shared.condition.writes() {
            let _ = self.shared.space.sync(&self.shared.root);
        }
    }

    fn stop(&self) {
        self.shared.writer.stop();
        self.shared.finisher.stop();
        self.shared.keeper.stop();
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        self.stop();
    }
}

impl BlockCache for DiskCache {
    fn open(&self, id: CacheId) -> BoxFuture<'_, Option<Arc<dyn CachedFile>>> {
        let shared = &self.shared;
        let version = id.file.version.as_ref().map(|version| version.as_str());
        let header = version.and_then(|version| Some((Header::of(&id, version)?, version)));
        let Some((header, version)) = header.filter(|_| shared.condition.reads()) else {
            return Box::pin(ready(None));
        };
        let hash = EntryHash::of(&id, version);
        let entry = shared.entry(hash, || Entry::new(shared.clone(), id.identity, hash, header));
        let opened = |entry: Arc<Entry>| -> Option<Arc<dyn CachedFile>> {
            if entry.disk.get().is_some() && entry.touch_due() {
                entry.shared.finisher.push(Task::Touch(entry.clone()));
            }
            let found = entry.pages.present() > 0;
            add(if found { &shared.counters.opens_found } else { &shared.counters.opens_missed }, 1);
            Some(Arc::new(File(entry)))
        };
        if entry.loaded.load(Ordering::Acquire) {
            return Box::pin(ready(opened(entry)));
        }
        match shared.index.has(&entry.identity, hash) {
            Some(false) => {
                entry.loaded.store(true, Ordering::Release);
                return Box::pin(ready(opened(entry)));
            }
            // What is in the page cache is opened without a switch of threads.
            Some(true) if entry.load(Patience::None).is_ok() => return Box::pin(ready(opened(entry))),
            Some(true) => {}
            None if shared.index.unread() => shared.keeper.wake(),
            None => {}
        }
        Box::pin(async move {
            let (_waiter, asker) = slow::wait(&entry)?;
            let task = {
                let entry = entry.clone();
                shared.runtime.spawn_blocking(move || {
                    let _asker = asker;
                    entry.load(Patience::Some)
                })
            };
            let waited = {
                let _time = shared.runtime.enter();
                tokio::time::timeout(READ_PATIENCE, task)
            };
            let failed = |hung: bool, why: &dyn std::fmt::Display| {
                add(&shared.counters.read_errors, 1);
                shared.condition.read_failed(hung, why);
                None
            };
            match waited.await {
                Ok(Ok(Ok(()))) => opened(entry),
                // Says nothing about the disk.
                Ok(Ok(Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM))) => None,
                Ok(Ok(Err(error))) => failed(false, &error),
                Ok(Err(_)) => None,
                Err(_) => failed(true, &"the disk does not answer"),
            }
        })
    }
}

fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = text.trim().chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    let mut id = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (out, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *out = pair[0] * 16 + pair[1];
    }
    Some(id)
}
