//! Where the storage behind a mount comes from.

use super::{BlockStore, BoxFuture, CacheIdentity, FileStore, ObjectStore};
use std::sync::Arc;
use wasmount_types::{Error, MountId, RequestCtx};

/// An open provider, by kind.
#[derive(Clone)]
pub enum Provider {
    /// An object store.
    Objects(Arc<dyn ObjectStore>),
    /// A store of block images.
    Blocks(Arc<dyn BlockStore>),
    /// A file system.
    Files(Arc<dyn FileStore>),
}

/// What an open provider says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderInfo {
    /// Names the data, independent of credentials.
    pub identity: String,
    /// One line for people: `bucket on http://127.0.0.1:9000`.
    pub title: String,
    /// Sentences about things that work but should be changed.
    pub warnings: Vec<String>,
    /// Whose bytes these are in the block cache, as the host sees it; `None`: they are not cached. Known only here, after the
    /// mount's own credentials have been accepted: nobody reads blocks of a store that would not let him in.
    pub cache: Option<CacheIdentity>,
}

/// Opens the provider of one mount, as often as needed: at the start, and again after a failure.
pub trait ProviderSource: Send + Sync + 'static {
    /// The mount it is for.
    fn mount(&self) -> &MountId;

    /// Opens the provider: reads secrets, starts the plugin, lets it connect.
    ///
    /// # Errors
    /// Each error is one sentence with a remedy. All but programming errors are worth another attempt later: a
    /// missing secret may appear, a server may come back.
    fn open(&self, ctx: RequestCtx) -> BoxFuture<'_, Result<(Provider, ProviderInfo), Error>>;

    /// The mount is taken away: nobody opens it any more, and what is open is to end in order, whoever still holds it. Returns at
    /// once.
    fn end(&self) {}
}
