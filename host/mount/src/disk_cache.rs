//! The disk cache as the command line describes it.

use crate::cli::CommonArgs;
use crate::memory::Memory;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;
use wasmount_cache::{CacheError, DiskCache, DiskCacheConfig, MinFree};
use wasmount_core::ports::{BoxFuture, Provider, ProviderInfo, ProviderSource};
use wasmount_types::{Error, MountId, RequestCtx};

/// The cache in `--cache-dir`; `None` without one.
///
/// # Errors
/// The directory that the operator named cannot be used.
pub(crate) fn open(
    args: &CommonArgs,
    memory: Memory,
    runtime: &Handle,
) -> Result<Option<Arc<DiskCache>>, CacheError> {
    let Some(dir) = &args.cache_dir else { return Ok(None) };
    let defaults = DiskCacheConfig::new(dir);
    let config = DiskCacheConfig {
        // The file system's own size is the limit then, less what has to stay free.
        max_bytes: args.cache_size.unwrap_or(u64::MAX >> 1),
        min_free: MinFree::Fraction(f64::from(args.cache_min_free) / 100.0),
        // What waits to be written is memory of reads: readers must not starve for a slow disk.
        queue_bytes: defaults.queue_bytes.min(memory.reads / 4),
        ..defaults
    };
    DiskCache::open(config, runtime.clone()).map(Some)
}

/// Who shares cached bytes: all mounts of a Dataset, which Fluid tells apart by their target path.
pub(crate) fn namespace(args: &CommonArgs, target: &Path) -> String {
    args.cache_namespace.clone().unwrap_or_else(|| target.display().to_string())
}

/// A provider whose cached bytes are labelled, once it is known whose they are.
pub(crate) struct Labelled {
    /// The provider.
    pub(crate) source: Arc<dyn ProviderSource>,
    /// Where its bytes are kept.
    pub(crate) cache: Arc<DiskCache>,
    /// What people are told about them.
    pub(crate) label: String,
}

impl ProviderSource for Labelled {
    fn mount(&self) -> &MountId {
        self.source.mount()
    }

    fn open(&self, ctx: RequestCtx) -> BoxFuture<'_, Result<(Provider, ProviderInfo), Error>> {
        Box::pin(async move {
            let (provider, info) = self.source.open(ctx).await?;
            if let Some(identity) = info.cache.clone() {
                let (cache, label) = (self.cache.clone(), self.label.clone());
                // A small file on a local disk; nobody has to wait for it.
                tokio::task::spawn_blocking(move || cache.describe(&identity, &label));
            }
            Ok((provider, info))
        })
    }

    fn end(&self) {
        self.source.end();
    }
}
