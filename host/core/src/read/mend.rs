//! Fetches again what the disk cache had no room for, when nothing else is under way.
//!
//! Bytes may arrive faster than a disk takes them, and no reader waits for it: what finds the queue full is dropped. The file has a hole
//! then. The kernel cannot read it by itself, and the next one who reads it waits for the store. So holes are remembered, and filled in
//! moments in which nothing has been fetched for anybody for a while. A disk that is far too slow for what is read is not worth fetching all of it twice:
//! of three bytes that were fetched, one at most was for holes.

use super::blocks::Grant;
use super::file::File;
use super::reading::Reading;
use super::stats::add;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// For how long nothing else must have been fetched, and how often it is looked whether that is so.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes that are fetched at a time, at most: who comes meanwhile shares the connection with them.
const MOST: u64 = 4 << 20;
/// Files with holes that are remembered; each keeps what was known of it in memory.
const FILES: usize = 1024;
/// Holes of a file that are remembered.
const HOLES: usize = 1024;
/// Part of all bytes fetched that may be for holes.
const MENDED: u64 = 3;
/// How often in a row a hole may be dropped again.
const TRIES: u32 = 4;

/// What of a file the disk cache had no room for when it arrived.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// Not in order; those of one part are one after the other.
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
    files: VecDeque<Arc<File>>,
    running: bool,
    closed: bool,
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

    /// Lists a file. Whether somebody has to begin.
    fn push(&self, file: Arc<File>) -> bool {
        let mut list = self.lock();
        if list.closed || list.files.len() >= FILES {
            return false;
        }
        list.files.push_back(file);
        !std::mem::replace(&mut list.running, true)
    }

    /// The file whose turn it is. `None`: there is none, and whoever asked ends.
    fn first(&self) -> Option<Arc<File>> {
        let mut list = self.lock();
        let first = list.files.front().cloned();
        list.running = first.is_some();
        first
    }

    /// There is nothing more to be done about the file whose turn it was.
    fn done(&self, file: &Arc<File>) {
        let mut list = self.lock();
        let first = list.files.front().is_some_and(|first| Arc::ptr_eq(first, file));
        let gone = if first { list.files.pop_front() } else { None };
        drop(list);
        drop(gone);
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
            // A source that needs readers would not answer once they have gone.
            if !self.source.outlasts_readers() {
                return state.holes.forget();
            }
            state.holes.listed = true;
        }
        if self.reading.mending.push(self.clone()) {
            self.reading.spawn.spawn(Box::pin(mend(Arc::downgrade(&self.reading))));
        }
    }

    fn next_step(&self) -> Step {
        let counters = &self.reading.counters;
        let Some(cached) = self.readable().filter(|_| !self.is_revoked()) else { return Step::Done };
        if cached.crowded() {
            return Step::Later;
        }
        let mut state = self.lock();
        let holes = &mut state.holes;
        let missing = loop {
            match holes.take(MOST) {
                Some((from, to)) if cached.wants(from, to) => break (from, to),
                Some(_) => {}
                None => return Step::Done,
            }
        };
        let (from, to) = missing;
        let fetched = counters.bytes_fetched.load(Ordering::Relaxed);
        let mended = counters.bytes_mended.load(Ordering::Relaxed) + (to - from);
        if mended > fetched / MENDED {
            return Step::Done;
        }
        match self.reading.memory.try_reserve(from, to) {
            Some(grant) => Step::Fetch { from, to, grant },
            None => {
                holes.add(from, to);
                Step::Later
            }
        }
    }

    /// Fetches `from..to` for the disk cache. Whether it is worth going on with this file.
    async fn fill_hole(self: &Arc<Self>, from: u64, to: u64, grant: Grant) -> bool {
        let before = self.lock().holes.bytes;
        // Not in the table of parts: it may be in memory, which is why nobody else would fetch it.
        let (part, fetch) = self.part_apart(from, to, grant);
        fetch.await;
        if part.is_failed() {
            return false;
        }
        part.delivered_all();
        add(&self.reading.counters.bytes_mended, to - from);
        let mut state = self.lock();
        let dropped = state.holes.bytes > before;
        state.holes.failures = if dropped { state.holes.failures + 1 } else { 0 };
        state.holes.failures < TRIES
    }

    fn mended(self: &Arc<Self>) {
        self.lock().holes.forget();
        self.reading.mending.done(self);
    }
}

/// Fills holes until there are none.
async fn mend(reading: Weak<Reading>) {
    let mut known = u64::MAX;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(reading) = reading.upgrade() else { return };
        let fetches = || reading.counters.fetches.load(Ordering::Relaxed);
        if fetches() != known {
            known = fetches();
            continue;
        }
        while reading.in_flight() == 0 && fetches() == known {
            let Some(file) = reading.mending.first() else { return };
            match file.next_step() {
                Step::Fetch { from, to, grant } => {
                    // A store that does not answer, or a queue that never has room.
                    if !file.fill_hole(from, to, grant).await {
                        file.mended();
                    }
                    known = fetches();
                }
                Step::Later => break,
                Step::Done => file.mended(),
            }
        }
    }
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
