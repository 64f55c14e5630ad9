//! Waiting for the disk, seen from both ends: whoever waits, and the thread that asks.
//!
//! Readers give up long before a disk that hangs answers. From then on the file says that nothing of it is here, or every reader would wait
//! anew, until the disk has answered. That it hangs is found out by the next one who would have to wait: those who gave up are gone.

use crate::file::{Entry, READ_PATIENCE};
use crate::stats::add;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When those began that are not over yet.
#[derive(Default)]
pub(crate) struct Waits(Mutex<(u64, BTreeMap<u64, Instant>)>);

impl Waits {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Instant>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, now: Instant) -> u64 {
        let mut waits = self.lock();
        waits.0 += 1;
        let number = waits.0;
        waits.1.insert(number, now);
        number
    }

    fn end(&self, number: u64) {
        self.lock().1.remove(&number);
    }

    /// Whether any takes longer than `patience`. Each is told of once: a thread that stays behind is no news when the disk works again.
    fn overdue(&self, now: Instant, patience: Duration) -> bool {
        let mut waits = self.lock();
        let before = waits.1.len();
        waits.1.retain(|_, begun| now.saturating_duration_since(*begun) < patience);
        waits.1.len() < before
    }
}

struct Wait {
    entry: Arc<Entry>,
    number: u64,
    /// One end is gone.
    over: AtomicBool,
}

/// The end of whoever waits.
pub(crate) struct Waiter(Arc<Wait>);

/// The end of the thread that asks the disk.
pub(crate) struct Asker(Arc<Wait>);

/// Begins to wait; `None`, and no read is tried any more, when the disk turns out to hang.
pub(crate) fn wait(entry: &Arc<Entry>) -> Option<(Waiter, Asker)> {
    let shared = &entry.shared;
    let now = Instant::now();
    if shared.waits.overdue(now, READ_PATIENCE) {
        add(&shared.counters.read_errors, 1);
        shared.condition.read_failed(true, &"the disk does not answer");
        return None;
    }
    let number = shared.waits.begin(now);
    let wait = Arc::new(Wait { entry: entry.clone(), number, over: AtomicBool::new(false) });
    Some((Waiter(wait.clone()), Asker(wait)))
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let given_up = &self.0.entry.given_up;
        given_up.fetch_add(1, Ordering::Relaxed);
        if self.0.over.swap(true, Ordering::AcqRel) {
            given_up.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.entry.shared.waits.end(self.0.number);
        if self.0.over.swap(true, Ordering::AcqRel) {
            self.0.entry.given_up.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_told_of_once() {
        let (waits, begun) = (Waits::default(), Instant::now());
        let patience = Duration::from_secs(5);
        let (first, second) = (waits.begin(begun), waits.begin(begun + patience));
        assert!(!waits.overdue(begun + patience / 2, patience));
        assert!(waits.overdue(begun + patience, patience));
        assert!(!waits.overdue(begun + patience, patience));
        waits.end(first);
        waits.end(second);
        assert!(!waits.overdue(begun + 9 * patience, patience), "the second one is over");
    }
}
