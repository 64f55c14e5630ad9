//! A mount that cannot work, as a provider that says why.

use wasmount_core::ports::{BoxFuture, Provider, ProviderInfo, ProviderSource};
use wasmount_types::{Error, MountId, RequestCtx};

/// Fails every attempt to open it with the same error: its directory is there and explains itself.
pub(crate) struct FailingSource {
    id: MountId,
    error: Error,
}

impl FailingSource {
    /// For a mount and the reason why it has no provider.
    pub(crate) fn new(id: MountId, error: Error) -> Self {
        Self { id, error }
    }
}

impl ProviderSource for FailingSource {
    fn mount(&self) -> &MountId {
        &self.id
    }

    fn open(&self, _ctx: RequestCtx) -> BoxFuture<'_, Result<(Provider, ProviderInfo), Error>> {
        Box::pin(std::future::ready(Err(self.error.clone())))
    }
}
