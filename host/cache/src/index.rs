//! Names of the entries that are on the disk, so that opening a file that is not costs no call to it.
//!
//! The lists are read in the background. Other processes add to the directories: those that have changed are read again now and then. An
//! entry missed in between is noticed when it is to be written.

use crate::format::EntryHash;
use crate::root::{list, shard_dir};
use rustix::fs::AtFlags;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmount_core::ports::CacheIdentity;

/// Beyond this many names, about 100 MB, the disk is asked each time instead.
const NAMES_MAX: usize = 4 << 20;
/// Lists are looked at again after this time, or after a hundred times as long as it took the last time.
const REFRESH: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Index {
    known: Mutex<HashMap<CacheIdentity, Arc<Names>>>,
}

struct Names {
    shards: Vec<Mutex<Shard>>,
    state: Mutex<State>,
}

struct State {
    next: Instant,
    read: bool,
    too_many: bool,
}

#[derive(Default)]
struct Shard {
    /// First 64 bits of the hashes.
    names: HashSet<u64>,
    /// Made by this process since the list was begun: perhaps not in it.
    fresh: HashSet<u64>,
    /// Of the directory, before it was listed.
    modified: Option<(i64, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    fn names(&self, identity: &CacheIdentity) -> Arc<Names> {
        lock(&self.known).entry(identity.clone()).or_insert_with(|| Arc::new(Names::new())).clone()
    }

    /// Whether there is such an entry, as far as is known; `None`: the disk has to be asked.
    pub(crate) fn has(&self, identity: &CacheIdentity, hash: EntryHash) -> Option<bool> {
        let names = self.names(identity);
        lock(&names.state).read.then(|| {
            let shard = lock(&names.shards[usize::from(hash.0[0])]);
            shard.names.contains(&hash.prefix())
        })
    }

    /// An entry that this process has made or found.
    pub(crate) fn insert(&self, identity: &CacheIdentity, hash: EntryHash) {
        let names = self.names(identity);
        // Nobody would read it, and nobody take it away.
        if lock(&names.state).too_many {
            return;
        }
        let mut shard = lock(&names.shards[usize::from(hash.0[0])]);
        shard.names.insert(hash.prefix());
        shard.fresh.insert(hash.prefix());
    }

    /// Whether a list has not been read yet.
    pub(crate) fn unread(&self) -> bool {
        lock(&self.known).values().any(|names| {
            let state = lock(&names.state);
            !state.read && !state.too_many && state.next <= Instant::now()
        })
    }

    /// Reads what is new. Blocks on the disk.
    pub(crate) fn refresh(&self, top: &OwnedFd) {
        let all: Vec<_> = lock(&self.known).iter().map(|(id, names)| (id.clone(), names.clone())).collect();
        for (identity, names) in all {
            names.refresh(top, identity.as_str());
        }
    }
}

impl Names {
    fn new() -> Self {
        Self {
            shards: (0..256).map(|_| Mutex::default()).collect(),
            state: Mutex::new(State { next: Instant::now(), read: false, too_many: false }),
        }
    }

    fn refresh(&self, top: &OwnedFd, identity: &str) {
        let begun = Instant::now();
        {
            let state = lock(&self.state);
            if state.too_many || state.next > begun {
                return;
            }
        }
        let mut total = 0;
        let mut failed = false;
        for (number, shard) in (0..=255).zip(&self.shards) {
            failed |= self.read(top, &shard_dir(identity, number), shard).is_err();
            total += lock(shard).names.len();
            if total > NAMES_MAX {
                break;
            }
        }
        let mut state = lock(&self.state);
        state.too_many = total > NAMES_MAX;
        state.read = !state.too_many && !failed;
        state.next = Instant::now() + REFRESH.max(begun.elapsed() * 100);
        if state.too_many {
            drop(state);
            for shard in &self.shards {
                *lock(shard) = Shard::default();
            }
        }
    }

    fn read(&self, top: &OwnedFd, dir: &str, shard: &Mutex<Shard>) -> rustix::io::Result<()> {
        let modified = match rustix::fs::statat(top, dir, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some((stat.st_mtime, stat.st_mtime_nsec)),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        {
            let mut shard = lock(shard);
            if modified.is_some() && shard.modified == modified {
                return Ok(());
            }
            shard.fresh.clear();
        }
        let listed: Vec<u64> = list(top, dir)?
            .iter()
            .filter_map(|(name, _)| EntryHash::parse(name.strip_suffix(".meta")?))
            .map(EntryHash::prefix)
            .collect();
        let mut shard = lock(shard);
        shard.names = listed.into_iter().chain(shard.fresh.iter().copied()).collect();
        shard.modified = modified;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use super::*;

    #[test]
    fn an_index_that_has_given_up_does_not_grow() {
        let (index, identity) = (Index::default(), CacheIdentity::new("one").unwrap());
        let names = index.names(&identity);
        let insert = |from: u8| {
            (0..100).for_each(|n| {
                index.insert(&identity, EntryHash(std::array::from_fn(|i| from + n + i as u8)))
            });
            names.shards.iter().map(|shard| lock(shard).names.len()).sum::<usize>()
        };
        assert_eq!(insert(0), 100);
        lock(&names.state).too_many = true;
        assert_eq!(insert(100), 100);
        assert_eq!(index.has(&identity, EntryHash([0; 20])), None, "the disk is asked");
    }
}
