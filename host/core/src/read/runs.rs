//! Where the running streams of a file have begun.
//!
//! Those who share a large file between them read a stretch each, side by side. What lies behind the beginning of another
//! one's stretch has been fetched for him: nobody fetches it ahead for another one before he comes there himself.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// One that nobody has read from for so long stands in nobody's way.
const IDLE: Duration = Duration::from_secs(1);

/// A stream that has run for a while, for as long as it lives.
#[derive(Debug)]
pub(super) struct Run {
    origin: u64,
    read: Mutex<Instant>,
}

impl Run {
    /// Somebody reads from it.
    pub(super) fn read_at(&self, now: Instant) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn is_running(&self, now: Instant) -> bool {
        let read = *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(read) < IDLE
    }
}

/// The running streams of all handles of a file.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Weak<Run>>);

impl Runs {
    /// One that has begun at `origin`.
    pub(super) fn begin(&mut self, origin: u64, now: Instant) -> Arc<Run> {
        let run = Arc::new(Run { origin, read: Mutex::new(now) });
        self.0.retain(|run| run.strong_count() > 0);
        self.0.push(Arc::downgrade(&run));
        run
    }

    /// The first beginning at or behind `at` of one that is being read from.
    pub(super) fn first_from(&self, at: u64, now: Instant) -> Option<u64> {
        let runs = self.0.iter().filter_map(Weak::upgrade);
        runs.filter(|run| run.origin >= at && run.is_running(now)).map(|run| run.origin).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_beginning_of_one_that_is_being_read() {
        let (mut runs, now) = (Runs::default(), Instant::now());
        let (first, second, third) = (runs.begin(100, now), runs.begin(300, now), runs.begin(200, now));
        assert_eq!((runs.first_from(100, now), runs.first_from(101, now)), (Some(100), Some(200)));
        drop((first, third));
        assert_eq!((runs.first_from(0, now), runs.first_from(301, now)), (Some(300), None));
        let later = now + IDLE;
        assert_eq!(runs.first_from(0, later), None);
        second.read_at(later);
        assert_eq!(runs.first_from(0, later), Some(300));
        drop(second);
        assert_eq!((runs.begin(7, now).origin, runs.0.len()), (7, 1));
    }
}
