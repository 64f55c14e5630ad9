//! Fetches again what the disk cache had no room for, when nothing else is under way.
//!
//! Bytes may arrive faster than a disk takes them, and no reader waits for it: what finds the queue full is dropped. The file has a hole
//! then. The kernel cannot read it by itself, and the next one who reads it waits for the store. So holes are remembered, and filled in
//! moments in which nothing has been fetched for anybody for a while. A disk that is far too slow for what is read is not worth fetching all of it twice:
//! of three bytes that are fetched, one at most is for holes.
//!
//! A file with holes that is remembered keeps its place in the cache, which then cannot be evicted: so it is not remembered for long.

use super::blocks::Grant;
use super::file::File;
use super::reading::Reading;
use super::source::Source;
use super::stats::add;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// For how long nothing else must have been fetched, and how often it is looked whether that is so.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes that are fetched at a time, at most: who comes meanwhile shares the connection with them.
const MOST: u64 = 4 << 20;
/// Files with holes that are remembered: how many, their bytes, and how long. Each has a lock and two descriptors of the disk cache.
const FILES: usize = 256;
const BYTES: u64 = 8 << 30;
const AGE: Duration = Duration::from_secs(60);
/// Holes of a file that are remembered.
const HOLES: usize = 1024;
/// For so many bytes fetched by others, one may be fetched for holes; and what is saved up of these, at most.
const OTHERS: u64 = 2;
const CREDIT: u64 = 4 << 30;
/// How often in a row a hole may be dropped again.
const TRIES: u32 = 4;

/// What of a file the disk cache had no room for when it arrived.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// In no order.
    ranges: Vec<(u64, u64)>,
    bytes: u64,
    /// The file is on the list.
    listed: bool,
    /// How often in a row one was dropped again.
    failures: u32,
}

impl Holes {
    /// `from..to` was dropped.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        if self.ranges.iter().any(|range| range.0 <= from && to <= range.1) {
            return;
        }
        if let Some(range) = self.ranges.iter_mut().rev().find(|range| range.1 == from) {
            range.1 = to;
        } else if self.ranges.len() < HOLES {
            self.ranges.push((from, to));
        } else {
            return;
        }
        self.bytes += to - from;
    }

    /// One of them, at most so many bytes of it.
    fn take(&mut self, most: u64) -> Option<(u64, u64)> {
        let (from, to) = self.ranges.pop()?;
        let until = to.min(from + most);
        if until < to {
            self.ranges.push((until, to));
        }
        self.bytes -= until - from;
        Some((from, until))
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The files that have holes.
#[derive(Default)]
pub(super) struct Mending(Mutex<List>);

#[derive(Default)]
struct List {
    files: VecDeque<Listed>,
    /// Bytes of those files.
    bytes: u64,
    running: bool,
    closed: bool,
    /// Bytes that may be fetched for holes, and how many had been fetched by others when that was reckoned.
    credit: u64,
    others: u64,
}

struct Listed {
    file: Arc<File>,
    since: Instant,
}

/// What became of a file that was to be listed.
enum Pushed {
    /// It is, and somebody sees to the list.
    Listed,
    /// It is the first one: somebody has to begin.
    First,
    Refused,
}

impl List {
    /// Takes out the files for which `gone` holds. They are for dropping outside the lock.
    fn take_out(&mut self, gone: impl Fn(&Listed) -> bool) -> Vec<Arc<File>> {
        let (out, left) = self.files.drain(..).partition::<Vec<_>, _>(gone);
        self.files = left.into();
        self.bytes = self.files.iter().map(|listed| listed.file.version.size).sum();
        out.into_iter().map(|listed| listed.file).collect()
    }
}

/// What is to be done about a file.
enum Step {
    Fetch { from: u64, to: u64, grant: Grant },
    Later,
    Done,
}

impl Mending {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is mended any more: what is listed leads back here, and would keep itself alive.
    pub(super) fn close(&self) {
        let mut list = self.lock();
        list.closed = true;
        let files = std::mem::take(&mut list.files);
        drop(list);
        drop(files);
    }

    fn push(&self, file: Arc<File>, now: Instant) -> Pushed {
        let mut list = self.lock();
        let size = file.version.size;
        let room = list.files.is_empty() || list.files.len() < FILES && list.bytes + size <= BYTES;
        if list.closed || !room {
            return Pushed::Refused;
        }
        list.files.push_back(Listed { file, since: now });
        list.bytes += size;
        if std::mem::replace(&mut list.running, true) { Pushed::Listed } else { Pushed::First }
    }

    /// Forgets the files that have been listed for too long.
    fn forget_old(&self, now: Instant) {
        let old = self.lock().take_out(|listed| now.saturating_duration_since(listed.since) > AGE);
        forget(old);
    }

    /// Forgets the files of a source that does not answer.
    fn forget_source(&self, source: &Arc<dyn Source>) {
        let files = self.lock().take_out(|listed| Arc::ptr_eq(&listed.file.source, source));
        forget(files);
    }

    /// Whether so many bytes may be fetched, of which others have fetched `others` so far; they are paid for then.
    fn afford(&self, bytes: u64, others: u64) -> bool {
        let mut list = self.lock();
        let new = others.saturating_sub(list.others);
        list.others = others;
        list.credit = list.credit.saturating_add(new / OTHERS).min(CREDIT);
        match list.credit.checked_sub(bytes) {
            Some(left) => {
                list.credit = left;
                true
            }
            None => false,
        }
    }

    /// The file whose turn it is. `None`: there is none, and whoever asked ends.
    fn first(&self) -> Option<Arc<File>> {
        let mut list = self.lock();
        let first = list.files.front().map(|listed| listed.file.clone());
        list.running = first.is_some();
        first
    }

    /// There is nothing more to be done about a file.
    fn done(&self, file: &Arc<File>) {
        let files = self.lock().take_out(|listed| Arc::ptr_eq(&listed.file, file));
        forget(files);
    }
}

fn forget(files: Vec<Arc<File>>) {
    for file in files {
        file.lock().holes.forget();
    }
}

impl File {
    /// A part of it was fetched, as far as that went: if the disk cache had no room for some of it, that is seen to later.
    pub(super) fn mend_later(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            if state.holes.ranges.is_empty() || state.holes.listed {
                return;
            }
            // A source that needs readers would not answer once they have gone; one without ranges sends all that is before a hole.
            if !self.source.outlasts_readers() || !self.source.ranges() {
                return state.holes.forget();
            }
            state.holes.listed = true;
        }
        match self.reading.mending.push(self.clone(), self.reading.clock.now()) {
            Pushed::Listed => {}
            Pushed::First => self.reading.spawn.spawn(Box::pin(mend(Arc::downgrade(&self.reading)))),
            Pushed::Refused => self.lock().holes.forget(),
        }
    }

    fn next_step(&self) -> Step {
        let counters = &self.reading.counters;
        let Some(cached) = self.cached().filter(|_| !self.is_revoked()) else { return Step::Done };
        if cached.crowded() || self.reading.rest.is_on() {
            return Step::Later;
        }
        let mut state = self.lock();
        let holes = &mut state.holes;
        let missing = loop {
            match holes.take(MOST) {
                // Somebody else may have read it meanwhile, or is about to.
                Some((from, to)) if cached.wants(from, to) => break (cached.run(from, to), to),
                Some(_) => {}
                None => return Step::Done,
            }
        };
        let (from, to) = missing;
        let fetched = counters.bytes_fetched.load(Ordering::Relaxed);
        let others = fetched.saturating_sub(counters.bytes_mended.load(Ordering::Relaxed));
        let grant = self.reading.memory.try_reserve(from, to);
        match grant.filter(|_| self.reading.mending.afford(to - from, others)) {
            Some(grant) => Step::Fetch { from, to, grant },
            None => {
                holes.add(from, to);
                Step::Later
            }
        }
    }

    /// Fetches `from..to` for the disk cache.
    async fn fill_hole(self: &Arc<Self>, from: u64, to: u64, grant: Grant) {
        let mending = &self.reading.mending;
        let before = self.lock().holes.bytes;
        // Not in the table of parts: it may be in memory, which is why nobody else would fetch it.
        let (part, fetch) = self.part_apart(from, to, grant);
        fetch.await;
        if part.is_failed() {
            return mending.forget_source(&self.source);
        }
        part.delivered_all();
        add(&self.reading.counters.bytes_mended, to - from);
        let mut state = self.lock();
        let dropped = state.holes.bytes > before;
        state.holes.failures = if dropped { state.holes.failures + 1 } else { 0 };
        if state.holes.failures >= TRIES {
            // A queue that never has room.
            drop(state);
            mending.done(self);
        }
    }
}

/// Fills holes until there are none.
async fn mend(reading: Weak<Reading>) {
    let mut known = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(reading) = reading.upgrade() else { return };
        reading.mending.forget_old(reading.clock.now());
        let mut alone = known.replace(fetched(&reading)) == Some(fetched(&reading));
        while alone && reading.in_flight() == 0 {
            let Some(file) = reading.mending.first() else { return };
            match file.next_step() {
                Step::Fetch { from, to, grant } => {
                    let (requests, bytes) = fetched(&reading);
                    file.fill_hole(from, to, grant).await;
                    let now = fetched(&reading);
                    alone = now.0 <= requests + 1 && now.1 <= bytes + (to - from);
                    known = Some(now);
                }
                Step::Later => break,
                Step::Done => reading.mending.done(&file),
            }
        }
        if reading.mending.first().is_none() {
            return;
        }
    }
}

/// Requests so far, and bytes that came.
fn fetched(reading: &Reading) -> (u64, u64) {
    let counters = &reading.counters;
    (counters.fetches.load(Ordering::Relaxed), counters.bytes_fetched.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_that_meet_are_one_and_are_taken_in_pieces() {
        let mut holes = Holes::default();
        for (from, to) in [(0, 10), (100, 200), (10, 30), (200, 250)] {
            holes.add(from, to);
        }
        assert_eq!((holes.ranges.len(), holes.bytes), (2, 180));
        let mut taken: Vec<_> = std::iter::from_fn(|| holes.take(60)).collect();
        taken.sort_unstable();
        assert_eq!(taken, [(0, 30), (100, 160), (160, 220), (220, 250)]);
        assert_eq!(holes.bytes, 0);
    }

    #[test]
    fn no_more_holes_are_remembered_than_there_is_room_for() {
        let mut holes = Holes::default();
        for hole in 0..2 * HOLES as u64 {
            holes.add(hole * 10, hole * 10 + 1);
        }
        assert_eq!((holes.ranges.len(), holes.bytes), (HOLES, HOLES as u64));
    }
}
