//! A provider that opens at once, or not at all.

use super::memory_blocks::{MemoryBlockStore, MemoryBlocks};
use super::memory_files::MemoryFiles;
use super::memory_store::MemoryStore;
use crate::ports::{BoxFuture, CacheIdentity, Provider, ProviderInfo, ProviderSource};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmount_types::{Error, MountId, RequestCtx};

/// Opens a store for a mount.
pub struct MemorySource {
    mount: MountId,
    provider: Provider,
    cache: Option<CacheIdentity>,
    failure: Mutex<Option<Error>>,
    delay: Duration,
    opened: AtomicUsize,
}

impl MemorySource {
    /// Opens `store` at once.
    pub fn new(mount: MountId, store: Arc<MemoryStore>) -> Arc<Self> {
        Self::slow(mount, store, Duration::ZERO)
    }

    /// Opens `store` after a while.
    pub fn slow(mount: MountId, store: Arc<MemoryStore>, delay: Duration) -> Arc<Self> {
        Arc::new(Self::with(mount, Provider::Objects(store), delay, None))
    }

    /// Opens `store` at once, whose bytes may be cached as `identity`.
    pub fn cached(mount: MountId, store: Arc<MemoryStore>, identity: CacheIdentity) -> Arc<Self> {
        Arc::new(Self::with(mount, Provider::Objects(store), Duration::ZERO, Some(identity)))
    }

    /// Opens a store of block images at once, whose bytes may be cached as `identity`.
    pub fn blocks(mount: MountId, store: Arc<MemoryBlocks>, identity: Option<CacheIdentity>) -> Arc<Self> {
        let provider = Provider::Blocks(Arc::new(MemoryBlockStore(store)));
        Arc::new(Self::with(mount, provider, Duration::ZERO, identity))
    }

    /// Opens a file system at once, whose bytes may be cached as `identity`.
    pub fn files(mount: MountId, store: Arc<MemoryFiles>, identity: Option<CacheIdentity>) -> Arc<Self> {
        Arc::new(Self::with(mount, Provider::Files(store), Duration::ZERO, identity))
    }

    fn with(mount: MountId, provider: Provider, delay: Duration, cache: Option<CacheIdentity>) -> Self {
        Self { mount, provider, cache, failure: Mutex::new(None), delay, opened: AtomicUsize::new(0) }
    }

    /// Lets every attempt fail so, or none.
    pub fn set_failure(&self, error: Option<Error>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Attempts so far.
    pub fn attempts(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

impl ProviderSource for MemorySource {
    fn mount(&self) -> &MountId {
        &self.mount
    }

    fn open(&self, _ctx: RequestCtx) -> BoxFuture<'_, Result<(Provider, ProviderInfo), Error>> {
        Box::pin(async move {
            self.opened.fetch_add(1, Ordering::SeqCst);
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            if let Some(error) = &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(error.clone());
            }
            let info = ProviderInfo {
                identity: "memory".into(),
                title: "bytes in memory".into(),
                warnings: vec![],
                cache: self.cache.clone(),
            };
            Ok((self.provider.clone(), info))
        })
    }
}
