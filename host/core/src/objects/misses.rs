//! How often names of a directory had to be probed: when a listing becomes the cheaper way to learn them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Probes in one directory within the attribute TTL after which its listing is loaded.
const PROBES: u32 = 3;
/// Pages a look-up waits for in a listing before it probes; a directory known to have more is never loaded for look-ups.
pub(super) const PAGES: usize = 10;
/// Directories remembered at most.
const MAX_DIRECTORIES: usize = 100_000;

#[derive(Clone, Copy)]
struct Directory {
    probes: u32,
    since: Instant,
    large: bool,
}

/// Counts of probes by directory.
pub(super) struct Misses {
    directories: Mutex<HashMap<Arc<str>, Directory>>,
    ttl: Duration,
}

impl Misses {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { directories: Mutex::default(), ttl }
    }

    /// Counts a name that memory does not know; whether the directory should be listed now.
    pub(super) fn count(&self, dir: &str, now: Instant) -> bool {
        if self.ttl.is_zero() {
            return false;
        }
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if directories.len() >= MAX_DIRECTORIES && !directories.contains_key(dir) {
            directories.retain(|_, d| d.large || now.saturating_duration_since(d.since) < self.ttl);
            if directories.len() >= MAX_DIRECTORIES {
                directories.clear();
            }
        }
        let fresh = Directory { probes: 0, since: now, large: false };
        let entry = directories.entry(dir.into()).or_insert(fresh);
        if now.saturating_duration_since(entry.since) >= self.ttl {
            (entry.probes, entry.since) = (0, now);
        }
        entry.probes = entry.probes.saturating_add(1);
        entry.probes > PROBES && !entry.large
    }

    /// Remembers how many pages the listing of a directory had.
    pub(super) fn set_size(&self, dir: &str, pages: usize) {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = directories.get_mut(dir) {
            entry.large = pages > PAGES;
        }
    }
}
