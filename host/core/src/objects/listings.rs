//! The listings of a mount: at most one per directory, the least recently used ones go first.

use super::listing::Listing;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Directories whose totals are remembered after their listing is gone.
const MAX_TOTALS: usize = 1_000_000;

#[derive(Default)]
struct State {
    listings: HashMap<Arc<str>, Cached>,
    /// Weight of all listings.
    weight: usize,
    tick: u64,
    /// Bytes and files of every directory that was ever listed to its end.
    totals: HashMap<Arc<str>, (u64, u64)>,
    bytes: u64,
    files: u64,
}

struct Cached {
    listing: Arc<Listing>,
    weight: usize,
    used: u64,
}

/// The listings of a mount.
pub(super) struct Listings {
    state: Mutex<State>,
    budget: usize,
}

impl Listings {
    pub(super) fn new(budget: usize) -> Self {
        Self { state: Mutex::default(), budget }
    }

    /// The listing of a directory, if there is one, whatever its age.
    pub(super) fn get(&self, dir: &str) -> Option<Arc<Listing>> {
        let mut state = self.lock();
        state.tick += 1;
        let tick = state.tick;
        let cached = state.listings.get_mut(dir)?;
        cached.used = tick;
        Some(cached.listing.clone())
    }

    /// The listing of a directory that is being loaded or younger than `ttl`; else a new one, which the caller must
    /// load (`true`).
    pub(super) fn get_or_start(
        &self,
        dir: &str,
        now: Instant,
        ttl: Duration,
        new: impl FnOnce() -> Listing,
    ) -> (Arc<Listing>, bool) {
        let mut state = self.lock();
        state.tick += 1;
        let used = state.tick;
        if let Some(cached) = state.listings.get_mut(dir) {
            let young = now.saturating_duration_since(cached.listing.started) < ttl;
            if cached.listing.is_loading() || (cached.listing.is_complete() && young) {
                cached.used = used;
                return (cached.listing.clone(), false);
            }
        }
        let listing = Arc::new(new());
        let cached = Cached { listing: listing.clone(), weight: 1, used };
        state.weight += 1;
        if let Some(old) = state.listings.insert(dir.into(), cached) {
            state.weight -= old.weight;
        }
        self.make_room(&mut state);
        (listing, true)
    }

    /// Accounts for a listing that is complete.
    pub(super) fn completed(&self, dir: &str, listing: &Arc<Listing>) {
        let (entries, bytes, _, _) = listing.totals();
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(cached) = state.listings.get_mut(dir).filter(|c| Arc::ptr_eq(&c.listing, listing)) {
            state.weight += entries;
            cached.weight += entries;
        }
        let known = state.totals.contains_key(dir);
        if known || state.totals.len() < MAX_TOTALS {
            let files = entries as u64;
            let (old_bytes, old_files) = state.totals.insert(dir.into(), (bytes, files)).unwrap_or_default();
            state.bytes = state.bytes.saturating_sub(old_bytes).saturating_add(bytes);
            state.files = state.files.saturating_sub(old_files).saturating_add(files);
        }
        self.make_room(state);
    }

    /// Forgets a listing that failed, so that the next reader starts again.
    pub(super) fn remove(&self, dir: &str, listing: &Arc<Listing>) {
        let mut state = self.lock();
        if state.listings.get(dir).is_some_and(|c| Arc::ptr_eq(&c.listing, listing))
            && let Some(old) = state.listings.remove(dir)
        {
            state.weight -= old.weight;
        }
    }

    /// Bytes and entries in all directories that were listed.
    pub(super) fn totals(&self) -> (u64, u64) {
        let state = self.lock();
        (state.bytes, state.files)
    }

    /// Evicts down to nine tenths of the budget, so that sorting by age is paid for by many insertions.
    fn make_room(&self, state: &mut State) {
        if state.weight <= self.budget {
            return;
        }
        let mut by_age = state.listings.iter().map(|(dir, c)| (c.used, dir.clone())).collect::<Vec<_>>();
        by_age.sort_unstable();
        for (_, dir) in by_age {
            if state.weight <= self.budget / 10 * 9 {
                break;
            }
            if let Some(old) = state.listings.remove(&dir) {
                state.weight -= old.weight;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_goes_first() {
        let listings = Listings::new(10);
        let now = Instant::now();
        let ttl = Duration::from_secs(60);
        let start =
            |dir: &str| listings.get_or_start(dir, now, ttl, || Listing::new(String::new(), true, now));
        for dir in 0..10 {
            let (listing, new) = start(&dir.to_string());
            assert!(new);
            listing.finish(Ok(()));
        }
        assert!(!start("0").1);
        assert!(start("10").1);
        assert!(listings.get("0").is_some());
        assert!(listings.get("1").is_none());
        assert!(listings.get("2").is_none());
        assert!(listings.get("3").is_some());
    }
}
