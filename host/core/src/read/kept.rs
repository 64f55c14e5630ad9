//! Parts that nobody waits for, kept in case they are read again.
//!
//! Two queues: what a sequential reader has just passed (its kernel has it; another handle may be close behind), and the
//! rest: small files, blocks around scattered reads. Least recently used go first, and all of them as soon as anybody needs
//! memory. The queues own their parts; the files find them by weak references, so giving up needs no lock of a file.

use super::blocks::{BLOCK, PAGE};
use super::part::Part;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes kept behind sequential readers. Recycled blocks are warm, fresh ones cost a page fault per 4 KiB: a short trail
/// is cheaper than a long one.
const TRAIL: u64 = 16 * BLOCK;

/// What a part was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// A sequential reader has passed it.
    Passed,
    /// It may be read again.
    Again,
}

/// Kept parts of all files.
pub(super) struct Kept {
    queues: Mutex<[Queue; 2]>,
    clock: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// Oldest first, with the time of the last use known here.
    parts: VecDeque<(u64, Arc<Part>)>,
    pages: u64,
    limit: u64,
}

impl Kept {
    /// Keeps at most half of a budget of `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        let queue = |limit: u64| Queue { limit: limit / PAGE, ..Queue::default() };
        Self { queues: Mutex::new([queue(TRAIL.min(bytes / 8)), queue(bytes / 2)]), clock: AtomicU64::new(1) }
    }

    /// A time that is later than all before.
    pub(super) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps a part, instead of older ones if need be.
    pub(super) fn keep(&self, part: Arc<Part>, worth: Worth) {
        if part.kept.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut given_up = Vec::new();
        let mut queues = self.lock();
        let [passed, again] = &mut *queues;
        let queue = if worth == Worth::Passed { passed } else { again };
        queue.pages += part.pages();
        queue.parts.push_back((part.used.load(Ordering::Relaxed), part));
        if queue.pages > queue.limit {
            let surplus = queue.pages - queue.limit;
            queue.give_up(surplus, &mut given_up);
        }
        drop(queues);
        drop(given_up);
    }

    /// Gives up parts of at least so many pages, if there are as many.
    pub(super) fn give_up(&self, pages: u64) {
        let mut given_up = Vec::new();
        let mut queues = self.lock();
        let mut left = pages;
        for queue in &mut *queues {
            left = left.saturating_sub(queue.give_up(left, &mut given_up));
        }
        drop(queues);
        drop(given_up);
    }

    /// Gives up everything, and keeps nothing from now on.
    pub(super) fn close(&self) {
        let given_up = {
            let mut queues = self.lock();
            queues.each_mut().map(std::mem::take)
        };
        drop(given_up);
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().iter().map(|queue| queue.pages * PAGE).sum()
    }

    fn lock(&self) -> MutexGuard<'_, [Queue; 2]> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn give_up(&mut self, pages: u64, given_up: &mut Vec<Arc<Part>>) -> u64 {
        let mut freed = 0;
        // Each one is looked at twice at most: once to find that it was used since, once to go.
        for _ in 0..self.parts.len() * 2 {
            if freed >= pages {
                break;
            }
            let Some((known, part)) = self.parts.pop_front() else { break };
            let used = part.used.load(Ordering::Relaxed);
            if Arc::strong_count(&part) > 1 {
                // A reader has it, and will bring it back.
                self.pages -= part.pages();
                part.kept.store(false, Ordering::Relaxed);
            } else if used > known {
                self.parts.push_back((used, part));
            } else {
                self.pages -= part.pages();
                freed += part.pages();
                given_up.push(part);
            }
        }
        freed
    }
}
