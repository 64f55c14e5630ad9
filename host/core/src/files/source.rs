//! Bytes of a node, through whichever handle is open at the moment.

use crate::ports::{BoxFuture, CachePolicy, FileStore, StoreHandle};
use crate::read::{Fetched, PIECE, Source, Wanted};
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::{Error, RequestCtx};

/// A file that is open at the store. Dropping it closes it.
pub(super) struct Opening {
    store: Arc<dyn FileStore>,
    pub(super) handle: StoreHandle,
    pub(super) cache: CachePolicy,
}

impl Opening {
    pub(super) fn new(store: Arc<dyn FileStore>, handle: StoreHandle, cache: CachePolicy) -> Arc<Self> {
        Arc::new(Self { store, handle, cache })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.store.release(self.handle);
    }
}

/// The bytes of one node. All who have it open read through one handle.
pub(super) struct NodeSource {
    store: Arc<dyn FileStore>,
    max_read: u32,
    opening: Mutex<Option<Arc<Opening>>>,
}

impl NodeSource {
    pub(super) fn new(store: Arc<dyn FileStore>) -> Arc<Self> {
        let max_read = store.capabilities().max_read.max(1);
        Arc::new(Self { store, max_read, opening: Mutex::default() })
    }

    /// What is open.
    pub(super) fn opening(&self) -> Option<Arc<Opening>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is read through this one. Returns the one before, to be closed when no lock is held.
    pub(super) fn replace(&self, opening: Option<Arc<Opening>>) -> Option<Arc<Opening>> {
        std::mem::replace(&mut *self.opening.lock().unwrap_or_else(PoisonError::into_inner), opening)
    }

    /// Closes what is open, if that is still `opening`.
    pub(super) fn close(&self, opening: &Arc<Opening>) {
        let mut current = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let before = current.take_if(|current| Arc::ptr_eq(current, opening));
        drop(current);
        drop(before);
    }
}

impl Source for NodeSource {
    fn ranges(&self) -> bool {
        true
    }

    fn piece(&self) -> Option<u64> {
        Some(PIECE.min(self.max_read.into()))
    }

    fn fetch<'a>(&'a self, ctx: RequestCtx, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let opening = self.opening().ok_or_else(|| Error::stale("an open file"))?;
            let length = u32::try_from(wanted.until - wanted.from).unwrap_or(u32::MAX).min(self.max_read);
            let content = self.store.read(ctx, opening.handle, wanted.from, length).await?;
            let until = wanted.from.saturating_add(length.into());
            Ok(Fetched { offset: wanted.from, until, content, pinned: true })
        })
    }
}
