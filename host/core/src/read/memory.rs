//! The memory all reads share.
//!
//! The budget is a semaphore, first come first served. Prefetching takes what is free and never waits; a read somebody
//! waits for waits in line. What is merely kept is given up for either, and while a read waits, handles that were not read
//! from for a while give up what they fetched ahead, the longest idle first.
//!
//! What one reader may fetch ahead is its share: half of the memory divided by the readers of the last second.

use super::blocks::{BLOCK, Grant, PAGE, POOLED, Pool, Seam, block_end};
use super::kept::{Kept, Worth};
use super::part::Part;
use crate::ports::Clock;
use crate::wait::bounded;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// How often idle handles are asked for memory while reads wait for it.
const SHRINK_EVERY: Duration = Duration::from_millis(50);
/// A handle that was not read from for so long is asked first; at each further attempt half of it is enough.
const IDLE: Duration = Duration::from_secs(1);

/// A handle that can give up what nobody waits for.
pub(super) trait Shrink: Send + Sync {
    /// Drops what nobody waits for, if there was no read since `idle_since`; pages that this frees.
    fn shrink(&self, idle_since: Instant) -> u64;
}

/// Memory for reading, shared by all handles of a process.
pub(super) struct ReadMemory {
    budget: Arc<Semaphore>,
    pages: u32,
    pub(super) pool: Arc<Pool>,
    pub(super) kept: Kept,
    handles: Mutex<Vec<Weak<dyn Shrink>>>,
    waiters: AtomicUsize,
    /// Pages that they wait for, all told.
    awaited: AtomicU64,
    joined: AtomicU64,
    /// Held by the one of them that asks the handles, for all: each would find the same.
    asking: tokio::sync::Mutex<()>,
    active: Mutex<Active>,
    started: Instant,
}

/// When a handle was counted as one that is read from: the last second in which it was, and the one before that. Seconds count from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    last: u64,
    before: u64,
}

/// How many handles were read from, in this second and in the one before, and are still open.
#[derive(Default)]
struct Active {
    second: u64,
    now: u64,
    before: u64,
}

impl ReadMemory {
    /// A budget of `bytes`, at least four blocks.
    pub(super) fn new(bytes: u64, started: Instant) -> Self {
        let pages =
            u32::try_from((bytes / PAGE).max(4 * BLOCK / PAGE)).unwrap_or(u32::MAX >> 3).min(u32::MAX >> 3);
        Self {
            budget: Arc::new(Semaphore::new(pages as usize)),
            pages,
            pool: Arc::new(Pool::new()),
            kept: Kept::new(u64::from(pages) * PAGE),
            handles: Mutex::default(),
            waiters: AtomicUsize::new(0),
            awaited: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            asking: tokio::sync::Mutex::default(),
            active: Mutex::default(),
            started,
        }
    }

    /// All bytes there are.
    pub(super) fn limit(&self) -> u64 {
        u64::from(self.pages) * PAGE
    }

    /// Bytes in use, kept ones included.
    pub(super) fn in_use(&self) -> u64 {
        self.limit().saturating_sub(self.budget.available_permits() as u64 * PAGE)
    }

    /// Fetches that wait in line.
    pub(super) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Answers so far that lay in no single block.
    pub(super) fn joined(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    /// Adds a handle to those that are asked when memory is short.
    pub(super) fn register(&self, handle: Weak<dyn Shrink>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        // Amortised: the list is cleaned when it has doubled.
        if handles.len() == handles.capacity() {
            handles.retain(|h| h.strong_count() > 0);
            let room = handles.len().max(16);
            handles.reserve(room);
        }
        handles.push(handle);
    }

    /// What one reader may have in flight and unread, in bytes; `seen` is of this reader.
    pub(super) fn share(&self, now: Instant, seen: &mut Counted) -> u64 {
        let second = now.saturating_duration_since(self.started).as_secs() + 1;
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.second != second {
            active.before = if active.second + 1 == second { active.now } else { 0 };
            (active.second, active.now) = (second, 0);
        }
        if seen.last != second {
            *seen = Counted { last: second, before: seen.last };
            active.now += 1;
        }
        let readers = active.now.max(active.before).max(1);
        (self.limit() / (2 * readers)).max(BLOCK)
    }

    /// A reader is closed, and takes no share of what others may have: of many files that are read one after the other few are open.
    pub(super) fn left(&self, seen: Counted) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = |second: u64| second > 0 && (seen.last == second || seen.before == second);
        active.now -= u64::from(counted(active.second)).min(active.now);
        active.before -= u64::from(counted(active.second.saturating_sub(1))).min(active.before);
    }

    /// Keeps a part that is complete, unless somebody waits for memory.
    pub(super) fn keep(&self, part: Arc<Part>, worth: Worth) {
        if self.waiters() == 0 && part.is_complete() && part.is_lasting() {
            part.used.store(self.kept.tick(), Ordering::Relaxed);
            self.kept.keep(part, worth);
        }
    }

    /// Budget for the bytes `start..end`, if it is free now or only kept.
    pub(super) fn try_reserve(&self, start: u64, end: u64) -> Option<Grant> {
        let pages = self.charge(start, end);
        let take = || self.budget.clone().try_acquire_many_owned(pages).ok();
        let grant = take().or_else(|| {
            (self.waiters() == 0).then(|| self.kept.give_up(pages.into()))?;
            take()
        })?;
        self.trim(start, end);
        Some(grant)
    }

    /// Budget for the bytes `start..end`, in line with everybody else who waits.
    pub(super) async fn reserve(
        &self,
        clock: &dyn Clock,
        ctx: RequestCtx,
        start: u64,
        end: u64,
    ) -> Result<Grant, Error> {
        if let Some(grant) = self.try_reserve(start, end) {
            return Ok(grant);
        }
        let pages = self.charge(start, end);
        let acquire = self.budget.clone().acquire_many_owned(pages);
        let _waiter = Waiter::new(self, pages);
        let waiting = async {
            tokio::select! {
                // First: it stands in line before anybody is asked.
                biased;
                granted = acquire => granted.map_err(|_closed| {
                    Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping")
                }),
                never = self.ask_handles(clock, pages) => match never {},
            }
        };
        let grant = bounded(clock, ctx, "waiting for memory to read into", waiting).await?;
        self.trim(start, end);
        Ok(grant)
    }

    /// Makes room for one who waits for `pages`: gives up what is kept, then asks the handles again and again, on behalf of all who wait, as
    /// soon as nobody else does that. Who has waited for longer takes more from them.
    async fn ask_handles(&self, clock: &dyn Clock, pages: u32) -> Infallible {
        let begun = clock.now();
        self.kept.give_up(pages.into());
        let _turn = self.asking.lock().await;
        loop {
            let (now, pages) = (clock.now(), self.awaited.load(Ordering::Relaxed));
            let attempts = now.saturating_duration_since(begun).as_millis() / SHRINK_EVERY.as_millis();
            let idle = IDLE / (1 << attempts.min(30));
            self.kept.give_up(pages);
            self.shrink(now.checked_sub(idle).unwrap_or(now), pages);
            tokio::time::sleep(SHRINK_EVERY).await;
        }
    }

    /// Room for an answer that lies in no single block, and what holds it. Never waits: what waits for memory must hold none,
    /// or two that wait could wait for each other; so at the limit this one answer is outside the budget.
    pub(super) fn seam(&self, size: u64) -> Seam {
        self.joined.fetch_add(1, Ordering::Relaxed);
        let grant = self.budget.clone().try_acquire_many_owned(self.charge(0, size)).ok();
        Seam::new(&self.pool, grant, size)
    }

    /// Unused blocks and what is in use are within the budget together: what takes no block of the pool takes its place.
    fn trim(&self, start: u64, end: u64) {
        if end - start <= POOLED {
            self.pool.trim(self.budget.available_permits() as u64 * PAGE);
        }
    }

    /// Lets handles that were not read from since then give up so many pages.
    fn shrink(&self, idle_since: Instant, pages: u64) {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut freed = 0;
        for handle in handles.iter().filter_map(Weak::upgrade) {
            freed += handle.shrink(idle_since);
            if freed >= pages {
                break;
            }
        }
    }

    /// Pages that blocks for `start..end` take.
    pub(super) fn charge(&self, start: u64, end: u64) -> u32 {
        let mut pages = 0;
        let mut at = start;
        while at < end {
            let until = block_end(start, at, end);
            pages += block_pages(until - at);
            at = until;
        }
        // A part larger than everything there is waits for everything there is.
        u32::try_from(pages).unwrap_or(u32::MAX).clamp(1, self.pages)
    }
}

/// Pages that a block for `size` bytes takes.
pub(super) fn block_pages(size: u64) -> u64 {
    if size > POOLED { BLOCK / PAGE } else { size.div_ceil(PAGE) }
}

/// Counts one more that waits, and its pages, for as long as it lives.
struct Waiter<'a> {
    memory: &'a ReadMemory,
    pages: u64,
}

impl<'a> Waiter<'a> {
    fn new(memory: &'a ReadMemory, pages: u32) -> Self {
        let pages = pages.into();
        memory.waiters.fetch_add(1, Ordering::Relaxed);
        memory.awaited.fetch_add(pages, Ordering::Relaxed);
        Self { memory, pages }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.memory.waiters.fetch_sub(1, Ordering::Relaxed);
        self.memory.awaited.fetch_sub(self.pages, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::SystemClock;

    #[test]
    fn charges_are_whole_pages_and_blocks() {
        let memory = ReadMemory::new(64 * BLOCK, Instant::now());
        let pages_per_block = (BLOCK / PAGE) as u32;
        assert_eq!(memory.charge(0, 1), 1);
        assert_eq!(memory.charge(0, 8 * BLOCK), 8 * pages_per_block);
        assert_eq!(memory.charge(0, POOLED + 1), pages_per_block);
        assert_eq!(memory.charge(BLOCK - 10, BLOCK + 10), 1);
        assert_eq!(memory.charge(BLOCK - 10, 2 * BLOCK), pages_per_block + 1);
        assert_eq!(memory.charge(0, 1000 * BLOCK), 64 * pages_per_block);
    }

    /// A handle that was read from last at `read`, and how often it was asked.
    struct Handle {
        read: Instant,
        part: Mutex<Option<Grant>>,
        asked: AtomicUsize,
    }

    impl Shrink for Handle {
        fn shrink(&self, idle_since: Instant) -> u64 {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let idle = self.read <= idle_since;
            let part = self.part.lock().unwrap().take_if(|_| idle);
            part.map_or(0, |part| part.num_permits() as u64)
        }
    }

    fn handle(memory: &ReadMemory, part: Option<Grant>) -> Arc<Handle> {
        let (read, part) = (SystemClock.now(), Mutex::new(part));
        let handle = Arc::new(Handle { read, part, asked: AtomicUsize::new(0) });
        let weak: Weak<Handle> = Arc::downgrade(&handle);
        memory.register(weak);
        handle
    }

    fn ctx(wait: Duration) -> RequestCtx {
        RequestCtx::internal(SystemClock.now() + wait)
    }

    #[tokio::test(start_paused = true)]
    async fn handles_are_asked_as_often_however_many_wait() {
        let memory = ReadMemory::new(4 * BLOCK, Instant::now());
        let all = memory.try_reserve(0, 4 * BLOCK).unwrap();
        let handle = handle(&memory, None);
        let wait = Duration::from_secs(2);
        let waiting = (0..100).map(|_| memory.reserve(&SystemClock, ctx(wait), 0, BLOCK));
        let outcomes = futures::future::join_all(waiting).await;
        assert!(outcomes.iter().all(Result::is_err));
        let (asked, rounds) = (handle.asked.load(Ordering::Relaxed), wait.div_duration_f64(SHRINK_EVERY));
        // Each one more time at the end, when the turn of those before it is over.
        assert!(asked as f64 <= rounds + 101.0, "asked {asked} times");
        assert_eq!((memory.waiters(), memory.awaited.load(Ordering::Relaxed)), (0, 0));
        drop(all);
        assert_eq!(memory.in_use(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_asks_asks_for_all() {
        let memory = ReadMemory::new(64 * BLOCK, Instant::now());
        let part = |index: u64| memory.try_reserve(index * BLOCK, (index + 1) * BLOCK);
        let handles = (0..64).map(|index| handle(&memory, part(index))).collect::<Vec<_>>();
        let begin = SystemClock.now();
        let waiting = (0..64).map(|_| memory.reserve(&SystemClock, ctx(Duration::from_secs(9)), 0, BLOCK));
        let granted = futures::future::join_all(waiting).await;
        assert!(granted.iter().all(Result::is_ok));
        // When half of the time for which nobody has read from them is enough, and so on: less than a second.
        assert!(SystemClock.now() - begin < IDLE);
        assert!(handles.iter().all(|handle| handle.part.lock().unwrap().is_none()));
    }

    #[test]
    fn the_share_follows_the_readers_of_the_last_second() {
        let start = Instant::now();
        let memory = ReadMemory::new(64 * BLOCK, start);
        let mut seen = [Counted::default(); 8];
        for reader in &mut seen {
            memory.share(start, reader);
        }
        assert_eq!(memory.share(start, &mut seen[0]), 4 * BLOCK);
        let later = start + Duration::from_secs(1);
        assert_eq!(memory.share(later, &mut seen[0]), 4 * BLOCK, "the others may come back");
        assert_eq!(memory.share(later + Duration::from_secs(1), &mut seen[0]), 32 * BLOCK);
    }

    #[test]
    fn those_that_are_closed_take_no_share() {
        let start = Instant::now();
        let memory = ReadMemory::new(64 * BLOCK, start);
        let at = |second: u64| start + Duration::from_secs(second);
        let mut seen = [Counted::default(); 8];
        // Four of the first second go on in the next, together with four others.
        seen[..4].iter_mut().for_each(|reader| _ = memory.share(at(0), reader));
        seen.iter_mut().for_each(|reader| _ = memory.share(at(1), reader));
        assert_eq!(memory.share(at(1), &mut seen[0]), 4 * BLOCK);
        seen[1..4].iter().for_each(|reader| memory.left(*reader));
        assert_eq!(memory.share(at(1), &mut seen[0]), 32 * BLOCK / 5);
        seen[4..].iter().for_each(|reader| memory.left(*reader));
        assert_eq!(memory.share(at(1), &mut seen[0]), 32 * BLOCK);
        assert_eq!(memory.share(at(2), &mut seen[0]), 32 * BLOCK);
        // One that nobody has read from was never counted.
        memory.left(Counted::default());
        assert_eq!(memory.share(at(2), &mut Counted::default()), 16 * BLOCK);
    }
}
