//! A limit on bytes per second, shared by all readers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far readers may be ahead after a pause.
const BURST: Duration = Duration::from_millis(100);

/// Hands out the right to read.
pub(super) struct Rate {
    per_second: Option<u64>,
    /// When everything handed out so far will have been used.
    paid_until: Mutex<Instant>,
}

impl Rate {
    /// At most `per_second` bytes a second; `None`: no limit.
    pub(super) fn new(per_second: Option<u64>) -> Self {
        Self { per_second: per_second.filter(|rate| *rate > 0), paid_until: Mutex::new(Instant::now()) }
    }

    /// Sleeps until `bytes` more may be read.
    pub(super) fn wait(&self, bytes: u64) {
        std::thread::sleep(self.take(bytes, Instant::now()));
    }

    fn take(&self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.per_second else { return Duration::ZERO };
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*paid_until).max(now.checked_sub(BURST).unwrap_or(now));
        *paid_until = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_many_takers() {
        let rate = Rate::new(Some(1000));
        let now = Instant::now();
        let longest = (0..100).map(|_| rate.take(100, now)).max().unwrap();
        // 10,000 bytes at 1,000 a second; the last 100 may begin when 9,900 are paid, less the burst.
        assert!((9.7..=9.95).contains(&longest.as_secs_f64()), "{longest:?}");
        assert_eq!(Rate::new(None).take(u64::MAX, now), Duration::ZERO);
    }
}
