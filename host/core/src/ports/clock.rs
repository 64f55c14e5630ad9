//! Time.

use std::time::{Instant, SystemTime};

/// Where core takes the time from, so that tests can turn it.
pub trait Clock: Send + Sync + 'static {
    /// A clock that never goes back: deadlines, lifetimes of cache entries.
    fn now(&self) -> Instant;

    /// Wall-clock time: attributes of directories that have none of their own.
    fn wall(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        // Through tokio, so that a test with paused time sees the same clock as its timers.
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
