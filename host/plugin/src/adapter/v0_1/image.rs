//! An image that is open in an instance of a plugin.
//!
//! A handle is a number of the plugin's own, and the next instance gives the same number to another image: a handle is used in
//! the instance it came from and nowhere else.

use super::BlockStoreExports;
use super::body::{CheckedBody, Expected};
use super::caller::{Caller, Reply, job, read_job};
use crate::instance::{CallState, Instance, Job};
use std::sync::{Arc, Weak};
use std::time::Instant;
use wasmount_core::ports::{BlockCapabilities, Body, BoxFuture, Extent, Geometry, ImageHandle};
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx, Result, Version};

/// See the module.
pub(super) struct PluginImage {
    caller: Arc<Caller<BlockStoreExports>>,
    /// Not a reason for it to live: an instance that is to end is closed, whatever is open in it.
    instance: Weak<Instance<BlockStoreExports>>,
    /// For messages.
    name: String,
    handle: u64,
    capabilities: BlockCapabilities,
    geometry: Geometry,
    version: Option<Version>,
}

impl PluginImage {
    /// What an instance has just opened. Its shape is told later, with [`is`](Self::is).
    pub(super) fn new(
        caller: Arc<Caller<BlockStoreExports>>,
        instance: &Arc<Instance<BlockStoreExports>>,
        name: String,
        handle: u64,
        capabilities: BlockCapabilities,
    ) -> Self {
        let geometry = Geometry { size: 0, sector: 4096, optimal: 4096 };
        let instance = Arc::downgrade(instance);
        Self { caller, instance, name, handle, capabilities, geometry, version: None }
    }

    /// What it is.
    pub(super) fn is(&mut self, geometry: Geometry, version: Option<Version>) {
        (self.geometry, self.version) = (geometry, version);
    }

    /// The instance it is open in.
    fn instance(&self) -> Result<Arc<Instance<BlockStoreExports>>> {
        let instance = self.instance.upgrade().filter(|instance| self.caller.slot.holds(instance));
        instance.ok_or_else(|| self.stale())
    }

    fn stale(&self) -> Error {
        let text = format!("{} was open in an instance of the plugin that is no longer there", self.name);
        Error::new(ErrorKind::Stale, Blame::Host, text)
    }

    /// A call that takes the handle.
    async fn call<R>(
        &self,
        operation: &str,
        deadline: Instant,
        job: impl FnOnce(Arc<CallState>, Reply<R>) -> Job<BlockStoreExports>,
    ) -> Result<R> {
        let instance = self.instance()?;
        match self.caller.once(&instance, operation, deadline, job).await {
            Ok(answer) => answer,
            Err(_died) => Err(self.stale()),
        }
    }

    async fn refresh(&self, ctx: RequestCtx) -> Result<Geometry> {
        let ask = job(|exports: &BlockStoreExports| &exports.refresh, (self.handle,));
        let geometry = self.call("refresh", ctx.deadline, ask).await?;
        self.caller.checker().geometry(&self.name, geometry)
    }

    async fn read(&self, ctx: RequestCtx, offset: u64, length: u32) -> Result<Box<dyn Body>> {
        if length == 0 || length > self.capabilities.max_transfer || !self.is_aligned(offset) {
            let text = format!("a read of {length} bytes from {offset} of {}", self.name);
            return Err(Error::new(ErrorKind::Invalid, Blame::Host, text));
        }
        let admitted = self.caller.admit(length, ctx.deadline).await?;
        let ask = read_job(|exports: &BlockStoreExports| &exports.read, (self.handle, offset, length));
        let content = self.call("read", ctx.deadline, ask).await?;
        let pieces = self.caller.checker().pieces(content)?;
        // Said only when something is wrong.
        let (log, name) = (self.caller.log.clone(), self.name.clone());
        let what = Box::new(move || format!("plugin {}: {}", log.plugin(), log.clean(&name)));
        let length = length.into();
        let content = CheckedBody::new(pieces, Expected::Exactly(length), what)?;
        Ok(Box::new(content.holding(admitted)))
    }

    async fn next_extent(&self, ctx: RequestCtx, offset: u64, length: u64) -> Result<Extent> {
        if !self.capabilities.extents || length == 0 || !self.is_aligned(offset) {
            let text = format!("a question for an extent of {length} bytes from {offset} of {}", self.name);
            return Err(Error::new(ErrorKind::Invalid, Blame::Host, text));
        }
        let ask = job(|exports: &BlockStoreExports| &exports.next_extent, (self.handle, offset, length));
        let extent = self.call("next-extent", ctx.deadline, ask).await?;
        self.caller.checker().extent(&self.name, extent, length, self.geometry.sector)
    }

    fn is_aligned(&self, offset: u64) -> bool {
        offset.is_multiple_of(self.geometry.sector.into())
    }
}

impl Drop for PluginImage {
    fn drop(&mut self) {
        let Ok(instance) = self.instance() else { return };
        let (caller, handle) = (self.caller.clone(), self.handle);
        let deadline = Instant::now() + caller.limits.close;
        let closing = instance.clone();
        instance.spawn(async move {
            // Nobody waits for it, and an error means that it is gone in another way.
            let ask = job(|exports: &BlockStoreExports| &exports.close_image, (handle,));
            let _ = caller.once(&closing, "close-image", deadline, ask).await;
        });
    }
}

impl ImageHandle for PluginImage {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    fn refresh(&self, ctx: RequestCtx) -> BoxFuture<'_, Result<Geometry>> {
        Box::pin(self.refresh(ctx))
    }

    fn read(&self, ctx: RequestCtx, offset: u64, length: u32) -> BoxFuture<'_, Result<Box<dyn Body>>> {
        Box::pin(self.read(ctx, offset, length))
    }

    fn next_extent(&self, ctx: RequestCtx, offset: u64, length: u64) -> BoxFuture<'_, Result<Extent>> {
        Box::pin(self.next_extent(ctx, offset, length))
    }
}
