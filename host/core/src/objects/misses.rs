//! How often names of a directory had to be probed: when a listing becomes the cheaper way to learn them.

use super::names::split;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Probes in one directory within the attribute TTL after which its listing is loaded.
const PROBES: u32 = 3;
/// Directories that are listed at the first name, because one beside them was worth its listing.
const ALIKE: u32 = 4;
/// Pages a look-up waits for in a listing before it probes; a directory known to have more is never loaded for look-ups.
pub(super) const PAGES: usize = 10;
/// Directories remembered at most.
const MAX_DIRECTORIES: usize = 100_000;

#[derive(Clone, Copy)]
struct Directory {
    probes: u32,
    since: Instant,
    large: bool,
    /// How many of those in it are listed at the first name.
    trusted: u32,
    /// It was so itself: nothing was learned from it.
    by_trust: bool,
    /// One in it is large.
    has_large: bool,
}

/// Counts of probes by directory.
pub(super) struct Misses {
    directories: Mutex<HashMap<Arc<str>, Directory>>,
    ttl: Duration,
}

impl Directory {
    fn new(now: Instant) -> Self {
        Self { probes: 0, since: now, large: false, trusted: 0, by_trust: false, has_large: false }
    }
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
        let mut directories = self.lock();
        if directories.len() >= MAX_DIRECTORIES && !directories.contains_key(dir) {
            directories.retain(|_, d| d.large || now.saturating_duration_since(d.since) < self.ttl);
            if directories.len() >= MAX_DIRECTORIES {
                directories.clear();
            }
        }
        let entry = directories.entry(dir.into()).or_insert(Directory::new(now));
        if now.saturating_duration_since(entry.since) >= self.ttl {
            (entry.probes, entry.since, entry.by_trust) = (0, now, false);
        }
        entry.probes = entry.probes.saturating_add(1);
        if entry.large {
            return false;
        }
        if entry.probes > 1 || dir.is_empty() {
            return entry.probes > PROBES || entry.by_trust;
        }
        let trust = directories.get_mut(split(dir).0).filter(|above| above.trusted > 0);
        let by_trust = trust.map(|above| above.trusted -= 1).is_some();
        if let Some(entry) = directories.get_mut(dir) {
            entry.by_trust = by_trust;
        }
        by_trust
    }

    /// Remembers how many pages the listing of a directory had.
    pub(super) fn set_size(&self, dir: &str, pages: usize, now: Instant) {
        let mut directories = self.lock();
        let large = pages > PAGES;
        let mut worth_it = false;
        if let Some(entry) = directories.get_mut(dir) {
            entry.large = large;
            worth_it = entry.probes > PROBES && !entry.by_trust;
        }
        if dir.is_empty() || !(large || worth_it) || directories.len() >= MAX_DIRECTORIES {
            return;
        }
        let above = directories.entry(split(dir).0.into()).or_insert(Directory::new(now));
        above.has_large |= large;
        above.trusted = if above.has_large { 0 } else { ALIKE };
    }

    /// Whether a directory in this one is known to be large.
    pub(super) fn has_large_directories(&self, dir: &str) -> bool {
        self.lock().get(dir).is_some_and(|directory| directory.has_large)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Directory>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
