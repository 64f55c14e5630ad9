//! One version of one object, as its readers and the writer see it.

use crate::cache::Shared;
use crate::entry::{self, Disk};
use crate::finish::Task;
use crate::format::{EntryHash, FileState, Header, pages};
use crate::health::Health;
use crate::read::{Fail, Patience, fill};
use crate::slow;
use crate::stats::add;
use crate::write::Job;
use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use std::any::Any;
use std::future::ready;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmount_core::ports::{BoxFuture, CACHE_PAGE, CacheIdentity, CachedFile, Offer};

use crate::bitmap::Bitmap;

/// A disk that takes longer to answer is taken for dead until a probe says otherwise; the bytes come from the origin meanwhile.
pub(crate) const READ_PATIENCE: Duration = Duration::from_secs(5);
/// The time of last use on the disk is as exact as this.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// How far ahead a miss looks for what other processes have written: 16 MiB.
const LOOK_AHEAD: u64 = 4096;

/// How far the bytes of a file can be given to the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// They have to be synced or verified first.
    No,
    /// That is under way.
    Pending,
    /// They may be, as long as the data file looks like this.
    Yes(FileState),
}

/// All handles of an object's version in this process share one.
pub(crate) struct Entry {
    pub shared: Arc<Shared>,
    pub identity: CacheIdentity,
    pub hash: EntryHash,
    pub header: Header,
    pub pages: Bitmap,
    /// Set once there is something on the disk.
    pub disk: OnceLock<Disk>,
    /// Whether the disk has been looked at.
    pub loaded: AtomicBool,
    pub loading: Mutex<()>,
    /// Whether pages came from anywhere but this process' writer.
    pub foreign: AtomicBool,
    /// Whether the files have been removed while they were open.
    pub orphan: AtomicBool,
    pub trust: Mutex<Trust>,
    /// Reads of it that nobody waits for any more and that the disk has not answered yet.
    pub given_up: AtomicU32,
    /// Pages of which this process is writing the words: from one on, up to another.
    writing: Mutex<(u64, u64)>,
    /// Whether words are on the disk of pages that are not here: they could not be taken away.
    wrong_words: AtomicBool,
    damage_logged: AtomicBool,
    /// Milliseconds since the cache was opened.
    touched: AtomicU64,
    /// Whether the time of last use on the disk is from before that.
    touch_soon: AtomicBool,
}

impl Entry {
    pub(crate) fn new(shared: Arc<Shared>, identity: CacheIdentity, hash: EntryHash, header: Header) -> Self {
        Self {
            pages: Bitmap::new(pages(header.size)),
            shared,
            identity,
            hash,
            header,
            disk: OnceLock::new(),
            loaded: AtomicBool::new(false),
            loading: Mutex::new(()),
            foreign: AtomicBool::new(false),
            orphan: AtomicBool::new(false),
            trust: Mutex::new(Trust::No),
            given_up: AtomicU32::new(0),
            writing: Mutex::new((0, 0)),
            wrong_words: AtomicBool::new(false),
            damage_logged: AtomicBool::new(false),
            touched: AtomicU64::new(0),
            touch_soon: AtomicBool::new(false),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.header.size
    }

    /// Whether its files have been removed.
    pub(crate) fn is_orphan(&self) -> bool {
        if self.disk.get().is_some_and(Disk::orphan) {
            self.orphan.store(true, Ordering::Relaxed);
        }
        self.orphan.load(Ordering::Relaxed)
    }

    pub(crate) fn trust(&self, trust: Trust) {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    /// Looks at the disk, once. Without patience it fails where it would have to wait for it, and can be tried again.
    pub(crate) fn load(&self, patience: Patience) -> Result<(), Errno> {
        let _once = match patience {
            Patience::Some => self.loading.lock().unwrap_or_else(PoisonError::into_inner),
            Patience::None => self.loading.try_lock().map_err(|_| Errno::AGAIN)?,
        };
        if self.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let found = entry::find(&self.shared.root, &self.identity, self.hash, &self.header, patience)?;
        if let Some(found) = found {
            let all = pages(self.size());
            let long = found.cut.is_some() || (found.mark.is_none() && all > LOOK_AHEAD);
            if long && patience == Patience::None {
                return Err(Errno::AGAIN);
            }
            self.foreign.store(true, Ordering::Relaxed);
            self.shared.index.insert(&self.identity, self.hash);
            let disk = found.disk;
            match found.mark {
                // Every page was there. Those that have been dropped since have no word, which a read sees.
                Some(mark) => {
                    self.pages.set(0, all);
                    if Some(mark.boot) == self.shared.boot && disk.state() == Ok(mark.state) {
                        self.trust(Trust::Yes(mark.state));
                    }
                }
                None => {
                    self.learn(&disk, 0, all, patience.flags())?;
                }
            }
            let disk = self.disk.get_or_init(|| disk);
            if let Some(cut) = found.cut {
                self.damaged(disk, cut, all, "its file was cut");
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs() as i64);
            let idle = now.abs_diff(found.used);
            // The first time here: as old as it is, so that it is noted when it is due.
            self.touched
                .store((self.shared.age().as_millis() as u64).saturating_sub(idle * 1000), Ordering::Relaxed);
            if idle >= TOUCH_EVERY.as_secs() {
                self.touch_soon.store(true, Ordering::Relaxed);
            }
        }
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Marks the pages that have words, unless those are known to be wrong. Whether there were some that nobody here has written.
    pub(crate) fn learn(
        &self,
        disk: &Disk,
        from: u64,
        to: u64,
        flags: ReadWriteFlags,
    ) -> Result<bool, Errno> {
        if self.wrong_words.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut new = 0;
        let mut buffer = [0; 16 << 10];
        let mut at = from;
        while at < to {
            let n = (to - at).min(buffer.len() as u64 / 4);
            let words = &mut buffer[..n as usize * 4];
            disk.words(at, words, flags)?;
            let mut run = None;
            for (page, word) in (at..).zip(words.chunks_exact(4)) {
                match (word == [0; 4], run) {
                    (false, None) => run = Some(page),
                    (true, Some(start)) => {
                        new += self.set_foreign(start, page);
                        run = None;
                    }
                    _ => {}
                }
            }
            if let Some(start) = run {
                new += self.set_foreign(start, at + n);
            }
            at += n;
        }
        if new > 0 {
            self.foreign.store(true, Ordering::Relaxed);
        }
        Ok(new > 0)
    }

    /// The words of these pages are being written; of none, when that is done.
    pub(crate) fn writing(&self, pages: (u64, u64)) {
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = pages;
    }

    /// Marks pages whose words were found on the disk; how many were not here. Those that this process is writing are not foreign: they are here as
    /// soon as their words are, in a moment.
    fn set_foreign(&self, from: u64, to: u64) -> u64 {
        let (first, last) = *self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (first.clamp(from, to), last.clamp(from, to));
        if first < last {
            self.pages.set(from, first) + self.pages.set(last, to)
        } else {
            self.pages.set(from, to)
        }
    }

    /// Pages that are not what they should be: they are not here from now on, for nobody.
    pub(crate) fn damaged(&self, disk: &Disk, from: u64, to: u64, why: &str) {
        self.trust(Trust::No);
        self.foreign.store(true, Ordering::Relaxed);
        let gone = self.pages.clear(from, to);
        add(&self.shared.counters.damaged_pages, gone);
        let pen = disk.pen(&self.shared.root);
        if !pen.as_ref().is_ok_and(|pen| pen.forget(from, to).is_ok()) {
            // Or `run` would learn of them again at once, and promise for ever what a read cannot give.
            self.wrong_words.store(true, Ordering::Relaxed);
        }
        if let Ok(pen) = pen
            && disk.state().is_ok_and(|state| state.size != self.size())
        {
            let _ = rustix::fs::ftruncate(&pen.data, self.size());
        }
        disk.outdate();
        if gone > 0 && !self.damage_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                object = %self.header.key,
                pages = gone,
                "cached copy of {} is damaged ({why}): the damaged part is fetched again; if this happens often look at the disk under {}",
                self.header.key,
                self.shared.root.path().display(),
            );
        }
    }

    /// Notes that the entry was used, at most once a minute.
    pub(crate) fn touch(&self, disk: &Disk) {
        self.touched.store(self.shared.age().as_millis() as u64, Ordering::Relaxed);
        if self.shared.condition.get() != Health::Sick {
            disk.touch();
        }
    }

    /// Whether it is time to [`touch`](Self::touch).
    pub(crate) fn touch_due(&self) -> bool {
        if self.touch_soon.swap(false, Ordering::Relaxed) {
            return true;
        }
        let touched = Duration::from_millis(self.touched.load(Ordering::Relaxed));
        self.shared.age().saturating_sub(touched) >= TOUCH_EVERY
    }

    /// What to do about a read that failed.
    pub(crate) fn failed(&self, disk: &Disk, fail: &Fail) {
        match fail {
            Fail::Wait => {}
            Fail::Gone(page) => {
                self.trust(Trust::No);
                self.pages.clear(*page, *page + 1);
            }
            Fail::Bad(bad) => {
                for run in bad.chunk_by(|a, b| a + 1 == *b) {
                    if let (Some(first), Some(last)) = (run.first(), run.last()) {
                        self.damaged(disk, *first, last + 1, "its bytes are not what was written");
                    }
                }
            }
            Fail::Io(error, pages) => {
                add(&self.shared.counters.read_errors, 1);
                self.shared.condition.read_failed(false, error);
                // Or they would be asked for again and again, and never be written anew, which mends a bad sector.
                self.damaged(disk, pages.start, pages.end, "the disk cannot read it");
            }
        }
    }

    /// Whether it is worth while to ask the disk.
    fn readable(&self) -> bool {
        self.shared.condition.reads() && self.given_up.load(Ordering::Relaxed) == 0
    }

    /// Whether every page is there, also if another process has written some. Does not wait for the disk.
    fn all_there(&self, disk: &Disk) -> bool {
        let all = pages(self.size());
        let mut at = 0;
        while !self.pages.complete() {
            let run = self.pages.run(at, all);
            let end = all.min(run + LOOK_AHEAD);
            let learned = self.learn(disk, run, end, ReadWriteFlags::NOWAIT);
            at = self.pages.run(run, all);
            if learned.is_err() || at == run {
                return false;
            }
        }
        true
    }

    fn run_pages(&self, from: u64, to: u64) -> u64 {
        let end = self.pages.run(from / CACHE_PAGE, to.div_ceil(CACHE_PAGE)) * CACHE_PAGE;
        end.min(to).min(self.size()).max(from)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.forget(self.hash);
    }
}

/// What core holds: an [`Entry`] that can hand itself to the writer.
pub(crate) struct File(pub Arc<Entry>);

impl CachedFile for File {
    fn run(&self, from: u64, to: u64) -> u64 {
        let entry = &self.0;
        let to = to.min(entry.size());
        if from >= to || !entry.readable() {
            return from;
        }
        let end = entry.run_pages(from, to);
        if end > from {
            return end;
        }
        // Another process may have written it since. The words are in the page cache then; if not, this does not wait.
        if let Some(disk) = entry.disk.get().filter(|_| !entry.pages.complete()) {
            let first = from / CACHE_PAGE;
            let last = to.div_ceil(CACHE_PAGE).min(first + LOOK_AHEAD);
            if entry.learn(disk, first, last, ReadWriteFlags::NOWAIT) == Ok(true) {
                return entry.run_pages(from, to);
            }
        }
        add(&entry.shared.counters.misses, 1);
        from
    }

    fn read(&self, from: u64, to: u64, mut into: BytesMut) -> BoxFuture<'_, Result<BytesMut, BytesMut>> {
        let entry = &self.0;
        let shared = &entry.shared;
        let disk = match entry.disk.get() {
            Some(disk) if from < to && to <= entry.size() && entry.readable() => disk,
            _ => return Box::pin(ready(Err(into))),
        };
        // What is in front stays here, so that a disk that never answers takes nothing with it.
        let front = (!into.is_empty()).then(|| into.split());
        let first = fill(disk, entry.size(), from, to, &mut into, Patience::None);
        let again = |front: Option<BytesMut>, into: BytesMut| match front {
            Some(mut front) => {
                front.unsplit(into);
                front
            }
            None => into,
        };
        let answered = move |entry: &Entry| {
            add(&entry.shared.counters.hits, 1);
            add(&entry.shared.counters.read_bytes, to - from);
            entry.shared.condition.read_worked();
        };
        match first {
            Ok(()) => {
                answered(entry);
                return Box::pin(ready(Ok(again(front, into))));
            }
            Err(Fail::Wait) => {}
            Err(fail) => {
                entry.failed(disk, &fail);
                into.clear();
                return Box::pin(ready(Err(again(front, into))));
            }
        }
        Box::pin(async move {
            let Some((_waiter, asker)) = slow::wait(entry) else {
                into.clear();
                return Err(again(front, into));
            };
            add(&shared.counters.slow_reads, 1);
            let capacity = into.capacity();
            let task = {
                let entry = entry.clone();
                shared.runtime.spawn_blocking(move || {
                    let _asker = asker;
                    let Some(disk) = entry.disk.get() else { return (into, false) };
                    match fill(disk, entry.size(), from, to, &mut into, Patience::Some) {
                        Ok(()) => (into, true),
                        Err(fail) => {
                            entry.failed(disk, &fail);
                            into.clear();
                            (into, false)
                        }
                    }
                })
            };
            let waited = {
                let _time = shared.runtime.enter();
                tokio::time::timeout(READ_PATIENCE, task)
            };
            match waited.await {
                Ok(Ok((into, true))) => {
                    answered(entry);
                    Ok(again(front, into))
                }
                Ok(Ok((into, false))) => Err(again(front, into)),
                late => {
                    if late.is_err() {
                        add(&shared.counters.read_errors, 1);
                        shared.condition.read_failed(true, &"the disk does not answer");
                    }
                    let mut fresh = front.unwrap_or_default();
                    fresh.reserve(capacity);
                    Err(fresh)
                }
            }
        })
    }

    fn wants(&self, from: u64, to: u64) -> bool {
        let entry = &self.0;
        let to = to.min(entry.size());
        from < to
            && entry.shared.condition.writes()
            && !entry.orphan.load(Ordering::Relaxed)
            && entry.run_pages(from, to) < to
    }

    fn crowded(&self) -> bool {
        let shared = &self.0.shared;
        // The other half is for what cannot be offered later.
        shared.condition.writes() && shared.writer.queued() > shared.config.queue_bytes / 2
    }

    fn offer(&self, at: u64, pieces: Vec<Bytes>, held: Arc<dyn Any + Send + Sync>, charge: u64) -> Offer {
        let entry = &self.0;
        let end = at + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let whole = if end == entry.size() { end } else { end / CACHE_PAGE * CACHE_PAGE };
        if entry.shared.stopping.load(Ordering::Relaxed) {
            return Offer::Unwanted;
        }
        let fits = at.is_multiple_of(CACHE_PAGE) && end <= entry.size();
        if !fits || whole <= at || !self.wants(at, whole) || !entry.shared.space.allows(whole - at) {
            if fits && entry.run_pages(at, whole) < whole {
                entry.shared.dropped(end - at);
                entry.shared.keeper.wake();
            }
            return Offer::Unwanted;
        }
        let job = Job { entry: entry.clone(), at, end: whole, pieces, _held: held, charge };
        entry.shared.writer.push(&entry.shared, job)
    }

    fn backing(&self) -> BoxFuture<'_, Option<Arc<OwnedFd>>> {
        let entry = &self.0;
        let usable = |disk: &&Disk| entry.readable() && entry.all_there(disk);
        let Some(disk) = entry.disk.get().filter(usable) else { return Box::pin(ready(None)) };
        let mut trust = entry.trust.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = match *trust {
            Trust::Pending => None,
            Trust::Yes(state) if disk.state() == Ok(state) => Some(disk.data.clone()),
            // Written in another boot, or changed by somebody since it was verified.
            Trust::Yes(_) | Trust::No => {
                entry.foreign.store(true, Ordering::Relaxed);
                if entry.shared.finisher.push(Task::Finish(entry.clone())) {
                    *trust = Trust::Pending;
                }
                None
            }
        };
        drop(trust);
        Box::pin(ready(fd))
    }

    fn cached_bytes(&self) -> u64 {
        (self.0.pages.present() * CACHE_PAGE).min(self.0.size())
    }
}
