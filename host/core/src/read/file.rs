//! One version of one object, as all its handles share it: the parts that are in memory or on their way.
//!
//! The table of parts owns none of them. Streams, waiting reads and what is kept do; a part that nobody owns any more is
//! cancelled, and its entry is removed when somebody comes across it or
//! there are many of them.

use super::blocks::{Grant, PAGE};
use super::content::{Content, Failure};
use super::kept::Worth;
use super::mend::Holes;
use super::part::Part;
use super::plan;
use super::reading::Reading;
use super::runs::Runs;
use super::scatter::Scatter;
use super::source::Source;
use super::stats::{Gauge, add};
use crate::inode::FileVersion;
use crate::ports::{CacheId, CacheIdentity, CachedFile};
use futures::future::{AbortHandle, Abortable};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use wasmount_pipe::Pipes;
use wasmount_types::{Ino, ObjectKey};

/// Entries of a file's table of parts below which it is never cleaned.
const CLEAN_AT: usize = 1024;

/// One version of one object, and all that is needed to read it.
///
/// # Locking
/// The state's lock comes after a reader's and before those of memory. Nothing waits while holding it.
pub(crate) struct File {
    pub(super) ino: Ino,
    pub(super) key: ObjectKey,
    pub(super) version: FileVersion,
    pub(super) source: Arc<dyn Source>,
    pub(super) reading: Arc<Reading>,
    /// Its bytes are those of a version: whoever opens it later may have them too. Otherwise they are good for those who have it
    /// open, and kept nowhere.
    pub(super) lasting: bool,
    identity: Option<CacheIdentity>,
    /// Others may be changing it: what arrives from now on is kept nowhere.
    revoked: AtomicBool,
    cached: Mutex<Option<Arc<dyn CachedFile>>>,
    readers: AtomicUsize,
    state: Mutex<State>,
}

/// What is in memory or under way.
#[derive(Default)]
pub(super) struct State {
    /// End of each part and the part, by its start. Those that live do not overlap.
    parts: BTreeMap<u64, (u64, Weak<Part>)>,
    /// Entries at which those of dead parts are removed, wherever they are.
    clean_at: usize,
    /// Scattered reads so far.
    pub(super) scatter: Scatter,
    /// Where streams have begun.
    pub(super) runs: Runs,
    /// Blocks on their way that nobody may be waiting for: fetched because the file keeps being hit.
    pub(super) growing: Vec<Arc<Part>>,
    /// What fetches the rest of the file in the background.
    pub(super) fill: Option<AbortHandle>,
    /// What the disk cache has yet to get.
    pub(super) holes: Holes,
}

/// Where the memory for a new part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// Somebody will wait for the part: it waits in line.
    Wait,
    /// What is free now, or no part.
    Free,
}

impl File {
    pub(super) fn new(
        reading: Arc<Reading>,
        source: Arc<dyn Source>,
        identity: Option<CacheIdentity>,
        ino: Ino,
        key: ObjectKey,
        version: FileVersion,
        lasting: bool,
    ) -> Self {
        let (cached, readers, state) = (Mutex::default(), AtomicUsize::new(0), Mutex::default());
        // Without a version nobody can tell two states of an object apart for longer than a handle lives.
        let identity = identity.filter(|_| lasting && version.version.is_some());
        let revoked = AtomicBool::new(false);
        Self { ino, key, version, source, reading, lasting, identity, revoked, cached, readers, state }
    }

    /// Whether it is this version of this file, from this source.
    pub(super) fn is(&self, source: &Arc<dyn Source>, key: &ObjectKey, version: &FileVersion) -> bool {
        let same = match (&self.version.version, &version.version) {
            // A listing and an answer may give the time of one version differently.
            (Some(mine), Some(theirs)) => mine == theirs && self.version.size == version.size,
            _ => self.version == *version,
        };
        same && self.lasting && Arc::ptr_eq(&self.source, source) && self.key == *key
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.version.size
    }

    /// Which version it is.
    pub(crate) fn version(&self) -> &FileVersion {
        &self.version
    }

    /// Nobody may keep what arrives from now on: it might be of another version. When this has returned nothing more of it goes to the kernel.
    pub(crate) fn revoke(&self) {
        let growing = {
            let mut state = self.lock();
            self.revoked.store(true, Ordering::Release);
            state.stop_growing()
        };
        drop(growing);
    }

    /// What arrives is of this version again, and may be kept.
    pub(crate) fn hold(&self) {
        let _state = self.lock();
        self.revoked.store(false, Ordering::Release);
    }

    /// Whether what arrives may be kept.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Its place in the disk cache, if it has one by now.
    pub(crate) fn cached(&self) -> Option<Arc<dyn CachedFile>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds its place in the disk cache. What the cache does not say soon does not matter.
    pub(crate) async fn open_cache(&self) -> Option<Arc<dyn CachedFile>> {
        if let Some(cached) = self.cached() {
            return Some(cached);
        }
        let identity = self.identity.clone()?;
        let id = CacheId { identity, key: self.key.clone(), file: self.version.clone() };
        let opening = self.reading.cache.open(id);
        let cached = self.reading.within_disk_wait(opening).await.flatten()?;
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(cached.clone());
        Some(cached)
    }

    /// Whether the disk cache has all of `from..to`.
    pub(super) fn on_disk(&self, from: u64, to: u64) -> Option<Arc<dyn CachedFile>> {
        self.readable().filter(|cached| cached.run(from, to) >= to)
    }

    /// Pipes for what the kernel reads in whole blocks, unless it is wanted in memory, for the disk cache.
    pub(super) fn pipes(&self) -> Option<&Arc<Pipes>> {
        self.cached().is_none().then_some(&self.reading.pipes)
    }

    /// Whether more of it may be fetched than was asked for because it keeps being hit. Of one that may change nothing is kept
    /// here, but the kernel may keep it for those who have it open.
    pub(super) fn may_grow(&self) -> bool {
        !self.is_revoked() && (self.lasting || self.reading.page_cache().is_some())
    }

    /// Bytes of it that can be kept somewhere once they are fetched. What is missing of `from..to` tells whether the disk cache
    /// takes any: to ask it about the whole file would take longer the more of that it has.
    pub(super) fn room(&self, from: u64, to: u64) -> u64 {
        let config = &self.reading.config;
        let kernel = self.reading.page_cache().map_or(0, |_| config.keep_kernel);
        let disk = self.cached().filter(|cached| cached.wants(from, to)).map_or(0, |_| config.keep_disk);
        let memory = if self.lasting { config.memory / 2 } else { 0 };
        memory.saturating_add(kernel).saturating_add(disk)
    }

    /// Fetches a small file that is expected to be opened soon, if there is memory for it. Nobody waits.
    pub(crate) fn fetch_ahead(self: Arc<Self>) {
        let spawn = self.reading.spawn.clone();
        spawn.spawn(Box::pin(async move {
            self.open_cache().await;
            let size = self.version.size;
            if self.on_disk(0, size).is_some() {
                return;
            }
            let Some(grant) = self.reading.memory.try_reserve(0, size) else { return };
            let begun = {
                let mut state = self.lock();
                let nothing = state.overlapping(0, size).is_empty();
                nothing.then(|| state.begin(&self, 0, size, Some(grant)))
            };
            if let Some((part, drive)) = begun {
                add(&self.reading.counters.siblings, 1);
                drive.await;
                self.reading.memory.keep(part, Worth::Again);
            }
        }));
    }

    /// One reader more.
    pub(super) fn opened(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    /// One reader less; after the last one nothing is fetched any more.
    pub(super) fn closed(&self) {
        if self.readers.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        // Dropped outside the lock.
        let growing = self.lock().stop_growing();
        drop(growing);
    }

    pub(super) fn is_open(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part `start..end` that fetches by itself.
    fn fetch(
        self: &Arc<Self>,
        start: u64,
        end: u64,
        grant: Option<Grant>,
        pipes: Option<&Arc<Pipes>>,
    ) -> Arc<Part> {
        let (part, fetch, registration) = self.part(start, end, grant, pipes);
        self.reading.spawn.spawn(Box::pin(async move {
            // Aborted: the last reader has gone, nobody wants to know.
            let _aborted = Abortable::new(fetch, registration).await;
        }));
        part
    }

    /// A part `start..end` that nobody else will find, and what has to be run to fetch it.
    pub(super) fn part_apart(self: &Arc<Self>, start: u64, end: u64, grant: Grant) -> (Arc<Part>, Drive) {
        let (part, fetch, _never_aborted) = self.part(start, end, Some(grant), None);
        (part, Box::pin(fetch))
    }

    /// A part `start..end` and what has to be run to fetch it.
    fn part(
        self: &Arc<Self>,
        start: u64,
        end: u64,
        grant: Option<Grant>,
        pipes: Option<&Arc<Pipes>>,
    ) -> (Arc<Part>, impl Future<Output = ()> + Send + 'static, futures::future::AbortRegistration) {
        let content = Arc::new(Content::new(self.reading.memory.clone(), pipes.cloned(), start, end));
        let (abort, registration) = AbortHandle::new_pair();
        let part = Arc::new(Part::new(self.clone(), content.clone(), abort));
        let flight = Gauge::new(self.reading.counters.clone(), |counters| &counters.parts_in_flight);
        let abandoned = Abandoned(content.clone());
        let file = self.clone();
        let fetch = async move {
            let (_flight, _abandoned) = (flight, abandoned);
            if let Err(error) = file.run(&content, grant).await {
                content.fail(Failure::Failed(error.context(&file.key)));
                file.lost(&content);
            }
            file.mend_later();
        };
        (part, fetch, registration)
    }
}

/// Tells those who wait for a part when its fetch ends early, however it does.
struct Abandoned(Arc<Content>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.0.filled() < self.0.end && self.0.failure().is_none() {
            self.0.fail(Failure::Abandoned);
        }
    }
}

/// What has to be run for a part that does not run by itself. Dropping it before its end makes those who wait begin anew.
pub(super) type Drive = crate::ports::BoxFuture<'static, ()>;

impl State {
    /// The parts that overlap `from..to`, in order. Those that are dead, have failed or have given these bytes away are forgotten on
    /// the way.
    pub(super) fn overlapping(&mut self, from: u64, to: u64) -> Vec<Arc<Part>> {
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for (start, (end, part)) in self.parts.range(..to).rev() {
            if *end <= from {
                break;
            }
            let useful = |part: &Arc<Part>| !part.is_failed() && !part.is_given_away(from, to);
            match part.upgrade().filter(useful) {
                Some(part) => found.push(part),
                None => gone.push(*start),
            }
        }
        for start in gone {
            self.parts.remove(&start);
        }
        found.reverse();
        found
    }

    /// The parts that hold all of `from..to`, if there are such.
    pub(super) fn covering(&mut self, from: u64, to: u64) -> Option<Vec<Arc<Part>>> {
        let parts = self.overlapping(from, to);
        plan::gaps(from, to, parts.iter().map(|part| (part.start, part.end))).is_empty().then_some(parts)
    }

    /// Where something may be fetched around `at`: between the ends of the parts next to it.
    pub(super) fn space(&mut self, from: u64, to: u64, size: u64) -> (u64, u64) {
        let before = self.overlapping(from.saturating_sub(PAGE), from.saturating_add(1));
        let low = before.iter().map(|part| part.end).filter(|end| *end <= from).max().unwrap_or(0);
        let high = self.overlapping(to.saturating_sub(1), to.saturating_add(super::blocks::BLOCK));
        let high = high.iter().map(|part| part.start).filter(|start| *start >= to).min().unwrap_or(size);
        (low, high.min(size))
    }

    /// The parts that hold `from..to`; starts those that are missing. With [`Budget::Free`] it ends where memory does.
    pub(super) fn claim(&mut self, file: &Arc<File>, from: u64, to: u64, budget: Budget) -> Vec<Arc<Part>> {
        self.claim_with(file, from, to, budget, None)
    }

    /// As [`claim`](Self::claim), with pipes for whole blocks.
    pub(super) fn claim_with(
        &mut self,
        file: &Arc<File>,
        from: u64,
        to: u64,
        budget: Budget,
        pipes: Option<&Arc<Pipes>>,
    ) -> Vec<Arc<Part>> {
        let mut parts = self.overlapping(from, to);
        let spans = parts.iter().map(|part| (part.start, part.end)).collect::<Vec<_>>();
        for (start, end) in plan::gaps(from, to, spans.iter().copied()) {
            let grant = match budget {
                Budget::Wait => None,
                Budget::Free => match file.reading.memory.try_reserve(start, end) {
                    Some(grant) => Some(grant),
                    None => {
                        parts.retain(|part| part.end <= start);
                        break;
                    }
                },
            };
            let part = file.fetch(start, end, grant, pipes);
            self.insert(&part);
            let at = parts.partition_point(|other| other.start < start);
            parts.insert(at, part);
        }
        parts
    }

    /// A new part for `start..end`, where there is none, and what has to be run to fetch it. Without a grant it waits for memory.
    pub(super) fn begin(
        &mut self,
        file: &Arc<File>,
        start: u64,
        end: u64,
        grant: Option<Grant>,
    ) -> (Arc<Part>, Drive) {
        let (part, fetch, _never_aborted) = file.part(start, end, grant, None);
        self.insert(&part);
        (part, Box::pin(fetch))
    }

    fn insert(&mut self, part: &Arc<Part>) {
        // Amortised. A dead part is come across only where the file is read again, and its entry is outside the budget.
        if self.parts.len() >= self.clean_at.max(CLEAN_AT) {
            self.parts.retain(|_, (_, part)| part.strong_count() > 0);
            self.clean_at = self.parts.len() * 2;
        }
        self.parts.insert(part.start, (part.end, Arc::downgrade(part)));
    }
}
