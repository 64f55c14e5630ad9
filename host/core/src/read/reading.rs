//! What all reads of a process share, and the files that are open or in memory.

use super::blocks::BLOCK;
use super::config::ReadConfig;
use super::disk::Rest;
use super::file::File;
use super::gather::Gathered;
use super::memory::ReadMemory;
use super::mend::Mending;
use super::source::Source;
use super::stats::{Counters, ReadStats, add};
use crate::inode::FileVersion;
use crate::ports::{BlockCache, CacheIdentity, Clock, KernelPages, Spawn};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use wasmount_pipe::Pipes;
use wasmount_types::{Ino, ObjectKey};

/// Files of which bytes are in memory or under way are found by their node; the table is cleaned when it is this full and
/// has doubled.
const CLEAN_AT: usize = 1024;

/// Small files opened in a row without a read after which nobody is expected to read the next ones: the kernel has their bytes.
const UNREAD: u64 = 32;
/// Large files read from start to end in a row after which the next one is expected to be as well.
const WHOLE: u64 = 4;
/// Part of the memory that may be filled with files that nobody has opened yet.
const EXPECTED_SHARE: u64 = 8;

/// The memory, the disk cache and the counters of all reads of a mount table.
pub(crate) struct Reading {
    pub(super) config: ReadConfig,
    pub(super) memory: Arc<ReadMemory>,
    pub(super) cache: Arc<dyn BlockCache>,
    pub(super) rest: Rest,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) counters: Arc<Counters>,
    pub(super) kernel: OnceLock<Arc<dyn KernelPages>>,
    /// For blocks that stay in the kernel.
    pub(super) pipes: Arc<Pipes>,
    pub(super) mending: Mending,
    /// Small files opened since bytes were asked for last.
    unread: AtomicU64,
    /// Large files read from start to end since one was not.
    whole: AtomicU64,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    by_node: HashMap<Ino, Weak<File>>,
    clean_at: usize,
}

impl Reading {
    pub(crate) fn new(
        config: ReadConfig,
        cache: Arc<dyn BlockCache>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
    ) -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::new(ReadMemory::new(config.memory, clock.now())),
            pipes: Pipes::new(config.pipes, BLOCK as usize),
            config,
            mending: Mending::default(),
            cache,
            rest: Rest::new(),
            clock,
            spawn,
            counters: Arc::default(),
            kernel: OnceLock::new(),
            unread: AtomicU64::new(0),
            whole: AtomicU64::new(0),
            files: Mutex::default(),
        })
    }

    /// The file behind a node, the same one for everybody who asks while it is open or in memory.
    pub(crate) fn file(
        self: &Arc<Self>,
        source: &Arc<dyn Source>,
        identity: Option<&CacheIdentity>,
        ino: Ino,
        key: &ObjectKey,
        version: &FileVersion,
    ) -> Arc<File> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // A number may come to stand for something else once the kernel has forgotten the node.
        if let Some(file) = files.by_node.get(&ino).and_then(Weak::upgrade)
            && file.is(source, key, version)
        {
            return file;
        }
        if files.by_node.len() >= files.clean_at.max(CLEAN_AT) {
            files.by_node.retain(|_, file| file.strong_count() > 0);
            files.clean_at = files.by_node.len() * 2;
        }
        let (source, identity) = (source.clone(), identity.cloned());
        let file = File::new(self.clone(), source, identity, ino, key.clone(), version.clone(), true);
        let file = Arc::new(file);
        files.by_node.insert(ino, Arc::downgrade(&file));
        file
    }

    /// A file whose bytes others may change: as it is from now on, for those who have it open. Nothing of it is kept.
    pub(crate) fn live_file(
        self: &Arc<Self>,
        source: &Arc<dyn Source>,
        ino: Ino,
        key: &ObjectKey,
        version: &FileVersion,
    ) -> Arc<File> {
        let (source, key, version) = (source.clone(), key.clone(), version.clone());
        Arc::new(File::new(self.clone(), source, None, ino, key, version, false))
    }

    /// A small file was opened: whether the next ones are worth fetching. They are not where enough is under way, nor where nobody reads what he opens.
    pub(crate) fn is_expecting(&self) -> bool {
        let unread = self.unread.fetch_add(1, Ordering::Relaxed);
        unread < UNREAD && self.in_flight() < self.config.siblings as u64
    }

    /// Bytes that are asked for.
    pub(super) fn asked_for(&self) {
        if self.unread.load(Ordering::Relaxed) > 0 {
            self.unread.store(0, Ordering::Relaxed);
        }
    }

    /// A large file was closed: whether it had been read from start to end.
    pub(super) fn was_read(&self, whole: bool) {
        if !whole {
            self.whole.store(0, Ordering::Relaxed);
        } else if self.whole.load(Ordering::Relaxed) < WHOLE {
            self.whole.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether who begins to read a large file is expected to read all of it.
    pub(super) fn expects_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed) >= WHOLE
    }

    /// Of files that are expected to be read next, by their sizes, those that are worth fetching.
    pub(crate) fn worth_fetching<T>(
        &self,
        files: impl IntoIterator<Item = (T, u64)>,
    ) -> impl Iterator<Item = T> {
        let mut room = self.config.memory / EXPECTED_SHARE;
        let whole = self.config.whole;
        files.into_iter().filter(move |(_, size)| (1..=whole).contains(size)).map_while(
            move |(file, size)| {
                room = room.checked_sub(size)?;
                Some(file)
            },
        )
    }

    /// What the kernel knows of a node is no longer true.
    pub(crate) fn outdated(&self, ino: Ino) {
        if let Some(kernel) = self.kernel.get() {
            kernel.invalidate(ino);
        }
    }

    /// The kernel, once it is there.
    pub(crate) fn kernel(&self) -> Option<&Arc<dyn KernelPages>> {
        self.kernel.get()
    }

    /// The local file with exactly the bytes of `file`, if the disk cache has one that the kernel may read.
    pub(crate) async fn backing(&self, file: &File) -> Option<Arc<OwnedFd>> {
        let cached = file.open_cache().await?;
        let backing = self.within_disk_wait(cached.backing()).await.flatten()?;
        add(&self.counters.passthrough_offers, 1);
        Some(backing)
    }

    /// Room for an answer that nobody keeps.
    pub(crate) fn gather(&self, size: usize) -> Gathered {
        Gathered::new(&self.memory, size)
    }

    /// The kernel's page cache, if it takes pages.
    pub(crate) fn page_cache(&self) -> Option<&Arc<dyn KernelPages>> {
        self.kernel.get().filter(|kernel| kernel.takes_pages())
    }

    /// The kernel is there from now on.
    pub(crate) fn mounted(&self, kernel: Arc<dyn KernelPages>) {
        // A second call would be a mistake of the adapter, and changes nothing.
        let _first = self.kernel.set(kernel);
    }

    /// Nobody will read any more. What is kept leads back here, and would keep itself alive.
    pub(crate) fn close(&self) {
        self.memory.kept.close();
        self.mending.close();
    }

    /// Parts that are being fetched.
    pub(crate) fn in_flight(&self) -> u64 {
        self.counters.parts_in_flight.load(Ordering::Relaxed)
    }

    /// Settings.
    pub(crate) fn config(&self) -> &ReadConfig {
        &self.config
    }

    /// What reading has done so far and holds now.
    pub(crate) fn stats(&self) -> ReadStats {
        let (kept, in_use) = (self.memory.kept.bytes(), self.memory.in_use());
        ReadStats {
            memory_limit: self.memory.limit(),
            memory_in_use_windows: in_use.saturating_sub(kept),
            memory_kept: kept,
            memory_waiters: self.memory.waiters() as u64,
            reads_joined: self.memory.joined(),
            ..self.counters.snapshot()
        }
    }
}
