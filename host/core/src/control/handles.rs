//! Open control files, and the handles of the root directory.

use super::{Content, DIRECTORY};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Fh};

/// Set in every handle of the control directory and in no other: those below count up from 2.
const MARK: u64 = 1 << 63;

/// Most handles open at once. Each may hold a text of some 100 KiB.
const MAX_OPEN: usize = 128;

/// Something open.
pub(super) enum Open {
    /// The directory.
    Directory,
    /// A file.
    File(Content),
}

/// Handles of the control directory.
#[derive(Default)]
pub(super) struct Handles {
    open: Mutex<HashMap<Fh, Arc<Open>>>,
    next: AtomicU64,
}

impl Handles {
    /// Whether a handle is one of these.
    pub(super) const fn owns(fh: Fh) -> bool {
        fh.0 & MARK != 0
    }

    /// Keeps something open under a new number. `make` is not called when there are too many already.
    pub(super) fn open(&self, make: impl FnOnce() -> Result<Open, Error>) -> Result<Fh, Error> {
        if self.lock().len() >= MAX_OPEN {
            let message = format!("{MAX_OPEN} files of {DIRECTORY} are open; close some");
            return Err(Error::new(ErrorKind::Busy, Blame::Caller, message));
        }
        let open = Arc::new(make()?);
        let fh = Fh(MARK | self.next.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(fh, open);
        Ok(fh)
    }

    /// What a handle stands for.
    pub(super) fn get(&self, fh: Fh) -> Result<Arc<Open>, Error> {
        self.lock().get(&fh).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, Blame::Caller, format!("handle {} is not open", fh.0))
        })
    }

    /// Closes a handle.
    pub(super) fn release(&self, fh: Fh) {
        let gone = self.lock().remove(&fh);
        // What is behind it ends outside the lock.
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fh, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handles of the root directory, whose listings must not show the name of the control directory.
#[derive(Default)]
pub(super) struct RootHandles(Mutex<HashSet<Fh>>);

impl RootHandles {
    pub(super) fn add(&self, fh: Fh) {
        self.lock().insert(fh);
    }

    pub(super) fn contains(&self, fh: Fh) -> bool {
        self.lock().contains(&fh)
    }

    pub(super) fn remove(&self, fh: Fh) {
        self.lock().remove(&fh);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Fh>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
