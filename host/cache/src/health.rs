//! Whether the disk takes writes, and when to ask it again.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The state of a cache's disk. Reads that applications make never fail because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Health {
    /// It takes writes.
    #[default]
    Healthy = 0,
    /// There is no room and nothing that could make way. What is there is still read.
    Full = 1,
    /// It refuses writes (a broken disk, read-only, no permission). What is there is read unless reads fail too.
    Sick = 2,
}

impl Health {
    /// One word, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Full => "full",
            Self::Sick => "sick",
        }
    }
}

const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(60);
/// Reads that fail one after the other, each in another place perhaps: one bad sector is no sick disk.
const READ_ERRORS: u32 = 4;

/// When a disk is asked again.
#[derive(Default)]
struct Probe {
    /// `None`: it works.
    next: Option<Instant>,
    /// The last pause.
    pause: Duration,
    recovered: Option<Instant>,
}

/// Shared by all threads of a cache.
pub(crate) struct Condition {
    state: AtomicU8,
    reads: AtomicBool,
    read_errors: AtomicU32,
    probe: Mutex<Probe>,
    dir: String,
}

impl Condition {
    pub(crate) fn new(dir: String) -> Self {
        Self {
            state: AtomicU8::new(0),
            reads: AtomicBool::new(true),
            read_errors: AtomicU32::new(0),
            probe: Mutex::default(),
            dir,
        }
    }

    pub(crate) fn get(&self) -> Health {
        match self.state.load(Ordering::Relaxed) {
            0 => Health::Healthy,
            1 => Health::Full,
            _ => Health::Sick,
        }
    }

    /// Whether anything may be written.
    pub(crate) fn writes(&self) -> bool {
        self.get() == Health::Healthy
    }

    /// Whether anything may be read.
    pub(crate) fn reads(&self) -> bool {
        self.reads.load(Ordering::Relaxed)
    }

    /// Stops writes until a probe succeeds. One log line per change.
    pub(crate) fn worsen(&self, to: Health, why: &dyn std::fmt::Display) {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get() == to {
            return;
        }
        self.state.store(to as u8, Ordering::Relaxed);
        // One that passes every probe and fails as soon as it is used is asked less and less often, too.
        let again = to == Health::Sick && probe.recovered.is_some_and(|at| at.elapsed() < LAST_PROBE);
        probe.pause = if again { probe.pause.max(FIRST_PROBE) } else { FIRST_PROBE };
        probe.next = Some(Instant::now() + probe.pause);
        let remedy = match to {
            Health::Full => "free some space or lower its limit",
            _ => "look at the disk, its mount and its permissions",
        };
        tracing::warn!(dir = %self.dir, state = to.as_str(), "cache directory {}: nothing is written to it for now: {why}; {remedy}, it is tried again by itself", self.dir);
    }

    /// Writes may go on.
    pub(crate) fn recover(&self) {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        probe.next = None;
        probe.recovered = Some(Instant::now());
        self.read_errors.store(0, Ordering::Relaxed);
        let were_off = !self.reads.swap(true, Ordering::Relaxed);
        if self.state.swap(Health::Healthy as u8, Ordering::Relaxed) != Health::Healthy as u8 || were_off {
            tracing::info!(dir = %self.dir, state = "healthy", "cache directory {}: in use again", self.dir);
        }
    }

    /// A read that worked.
    pub(crate) fn read_worked(&self) {
        if self.read_errors.load(Ordering::Relaxed) != 0 {
            self.read_errors.store(0, Ordering::Relaxed);
        }
    }

    /// A read that the system refused, or that did not come back in time (`hung`): then no further one is tried.
    pub(crate) fn read_failed(&self, hung: bool, why: &dyn std::fmt::Display) {
        let errors = self.read_errors.fetch_add(1, Ordering::Relaxed) + 1;
        if hung || errors >= READ_ERRORS {
            self.reads.store(false, Ordering::Relaxed);
            self.worsen(Health::Sick, why);
        }
    }

    /// Whether it is time to ask the disk again; the next time is later.
    pub(crate) fn probe_due(&self) -> bool {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let due = probe.next.is_some_and(|at| Instant::now() >= at);
        if due {
            probe.pause = (probe.pause * 2).min(LAST_PROBE);
            probe.next = Some(Instant::now() + probe.pause);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_whenever_it_is_used_is_asked_less_and_less_often() {
        let condition = Condition::new(String::new());
        let pause = || condition.probe.lock().unwrap_or_else(PoisonError::into_inner).pause;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            condition.worsen(Health::Sick, &"broken");
            pauses.push(pause().as_secs());
            condition.probe.lock().unwrap_or_else(PoisonError::into_inner).next = Some(Instant::now());
            assert!(condition.probe_due());
            condition.recover();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let long_ago = Instant::now().checked_sub(LAST_PROBE);
        condition.probe.lock().unwrap_or_else(PoisonError::into_inner).recovered = long_ago;
        condition.worsen(Health::Sick, &"broken anew");
        assert_eq!(pause(), FIRST_PROBE);
    }
}
