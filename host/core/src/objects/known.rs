//! What single names were last seen to be: results of probes and of requests that met another version.

use super::listing::Child;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names remembered at most; a listing is the better memory for many.
const MAX_NAMES: usize = 100_000;

/// What is known about a path.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It is there.
    Found(Child),
    /// It is not.
    Absent,
    /// What was known before is wrong, and nobody has asked yet what is right.
    Suspect,
}

/// The last word about single paths.
pub(crate) struct KnownNames {
    names: Mutex<HashMap<Arc<str>, (Known, Instant)>>,
    ttl: Duration,
}

impl KnownNames {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { names: Mutex::default(), ttl }
    }

    /// The last word, and when it was asked for.
    pub(crate) fn get(&self, path: &str) -> Option<(Known, Instant)> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Remembers the answer to a request that was sent at `at`.
    pub(crate) fn set(&self, path: &str, known: Known, at: Instant) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.retain(|_, (_, seen)| at.saturating_duration_since(*seen) < self.ttl);
            if names.len() >= MAX_NAMES {
                names.clear();
            }
        }
        match names.get(path) {
            Some((_, seen)) if *seen > at => {}
            _ => {
                names.insert(path.into(), (known, at));
            }
        }
    }
}
