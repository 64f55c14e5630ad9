//! Open files and directories.
//!
//! Numbers are never used twice in one process, so a late call on a closed handle cannot reach another file.

use crate::ports::{StateLog, StateRecord};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino};

/// Open handles of one kind, each with what it needs.
pub struct HandleTable<T> {
    open: Mutex<HashMap<Fh, Arc<T>>>,
    next: AtomicU64,
    record: fn(Fh, Ino) -> StateRecord,
    log: Arc<dyn StateLog>,
}

impl<T> HandleTable<T> {
    /// Handles of files. Numbers are even.
    pub fn files(log: Arc<dyn StateLog>) -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::new(2),
            record: |fh, ino| StateRecord::Open { fh, ino },
            log,
        }
    }

    /// Handles of directories. Numbers are odd, so that one log can hold both.
    pub fn directories(log: Arc<dyn StateLog>) -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::new(3),
            record: |fh, ino| StateRecord::OpenDir { fh, ino },
            log,
        }
    }

    /// Keeps `value` under a new number.
    pub fn open(&self, ino: Ino, value: T) -> Fh {
        let fh = Fh(self.next.fetch_add(2, Ordering::Relaxed));
        let mut open = self.lock();
        self.log.append(&|| (self.record)(fh, ino));
        open.insert(fh, Arc::new(value));
        fh
    }

    /// What a handle stands for.
    ///
    /// # Errors
    /// `invalid` for a number that is not open.
    pub fn get(&self, fh: Fh) -> Result<Arc<T>, Error> {
        self.lock().get(&fh).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, Blame::Caller, format!("handle {} is not open", fh.0))
        })
    }

    /// Everything that is open, in no order.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().cloned().collect()
    }

    /// Closes a handle and gives back what it stood for.
    pub fn release(&self, fh: Fh) -> Option<Arc<T>> {
        let mut open = self.lock();
        let value = open.remove(&fh)?;
        self.log.append(&|| StateRecord::Release { fh });
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fh, Arc<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::NoStateLog;

    #[test]
    fn a_closed_handle_stays_closed() {
        let table = HandleTable::files(Arc::new(NoStateLog));
        let fh = table.open(Ino(7), "x");
        assert_eq!(*table.get(fh).unwrap(), "x");
        assert!(table.release(fh).is_some());
        assert!(table.release(fh).is_none());
        assert_ne!(table.open(Ino(7), "y"), fh);
        assert!(table.get(fh).is_err());
    }
}
