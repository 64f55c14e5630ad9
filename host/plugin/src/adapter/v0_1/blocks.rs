//! A block store of the core, backed by a plugin.

use super::BlockStoreExports;
use super::caller::{Caller, plain};
use super::image::PluginImage;
use crate::bindings::v0_1::blocks::exports::wasmount::plugin::blocks as wit;
use crate::instance::{CallState, GuestState, invoke};
use std::sync::Arc;
use wasmount_core::ports::{
    BlockCapabilities, BlockStore, BoxFuture, Image, ImageHandle, ImagePage, Snapshot,
};
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx, Result};
use wasmtime::component::Accessor;

/// See the module. Survives the replacement of its instance; images that are open in it do not.
pub(crate) struct BlocksProvider {
    pub(crate) caller: Arc<Caller<BlockStoreExports>>,
    pub(crate) capabilities: BlockCapabilities,
}

impl BlocksProvider {
    fn check_name(&self, name: &str) -> Result<()> {
        if name.is_empty() || name.len() > self.caller.limits.key {
            let text = format!("no image has a name of {} bytes", name.len());
            return Err(Error::new(ErrorKind::NotFound, Blame::Caller, text));
        }
        Ok(())
    }

    fn check_snapshots(&self) -> Result<()> {
        if self.capabilities.snapshots {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, Blame::Plugin, "the plugin does not promise snapshots"))
    }

    async fn list_images(
        &self,
        ctx: RequestCtx,
        continuation: Option<String>,
        limit: u32,
    ) -> Result<ImagePage> {
        let limit = limit.clamp(1, self.caller.limits.page_entries);
        let question = (continuation.clone(), limit);
        let page =
            self.caller.ask("list-images", ctx.deadline, |exports| &exports.list_images, question).await?;
        self.caller.checker().images(page, continuation.as_deref(), limit)
    }

    async fn get_image(&self, ctx: RequestCtx, name: String) -> Result<Image> {
        self.check_name(&name)?;
        let question = (name.clone(),);
        let image =
            self.caller.ask("get-image", ctx.deadline, |exports| &exports.get_image, question).await?;
        self.caller.checker().image_of(image, &name)
    }

    async fn list_snapshots(&self, ctx: RequestCtx, image: String) -> Result<Vec<Snapshot>> {
        self.check_name(&image)?;
        self.check_snapshots()?;
        let question = (image,);
        let snapshots = self
            .caller
            .ask("list-snapshots", ctx.deadline, |exports| &exports.list_snapshots, question)
            .await?;
        self.caller.checker().snapshots(snapshots)
    }

    async fn open_image(
        &self,
        ctx: RequestCtx,
        image: String,
        snapshot: Option<String>,
    ) -> Result<Arc<dyn ImageHandle>> {
        self.check_name(&image)?;
        if let Some(snapshot) = &snapshot {
            self.check_name(snapshot)?;
            self.check_snapshots()?;
        }
        let opening = self.caller.run_where("open-image", ctx.deadline, |_, state, reply| {
            let question = (image.clone(), snapshot.clone(), wit::Access::Read);
            Box::new(move |acc, exports: &BlockStoreExports| {
                Box::pin(async move {
                    if !state.start() {
                        return Ok(());
                    }
                    let answer = invoke(acc, &exports.open_image, question, &state).await?;
                    match reply.send(plain(acc, answer)) {
                        // Nobody waits for it any more.
                        Err(Ok(opened)) => close(acc, exports, opened.handle).await,
                        Ok(()) | Err(Err(_)) => Ok(()),
                    }
                })
            })
        });
        let (instance, opened) = opening.await?;
        let checker = self.caller.checker();
        let name = snapshot.as_ref().map_or_else(|| image.clone(), |snapshot| format!("{image}@{snapshot}"));
        // First of all, so that it is closed whatever is wrong with the rest.
        let mut handle =
            PluginImage::new(self.caller.clone(), &instance, name, opened.handle, self.capabilities);
        let version = checker.opened_version(&image, snapshot.as_deref(), opened.version)?;
        handle.is(checker.geometry(&image, opened.geometry)?, version);
        Ok(Arc::new(handle))
    }
}

/// Closes an image from within the instance.
async fn close(acc: &Accessor<GuestState>, exports: &BlockStoreExports, handle: u64) -> wasmtime::Result<()> {
    let state = Arc::new(CallState::default());
    // Nothing is left to be done about an error of `close-image`.
    let _ = invoke(acc, &exports.close_image, (handle,), &state).await?;
    Ok(())
}

impl BlockStore for BlocksProvider {
    fn capabilities(&self) -> BlockCapabilities {
        self.capabilities
    }

    fn list_images(
        &self,
        ctx: RequestCtx,
        continuation: Option<String>,
        limit: u32,
    ) -> BoxFuture<'_, Result<ImagePage>> {
        Box::pin(self.list_images(ctx, continuation, limit))
    }

    fn get_image(&self, ctx: RequestCtx, image: String) -> BoxFuture<'_, Result<Image>> {
        Box::pin(self.get_image(ctx, image))
    }

    fn list_snapshots(&self, ctx: RequestCtx, image: String) -> BoxFuture<'_, Result<Vec<Snapshot>>> {
        Box::pin(self.list_snapshots(ctx, image))
    }

    fn open_image(
        &self,
        ctx: RequestCtx,
        image: String,
        snapshot: Option<String>,
    ) -> BoxFuture<'_, Result<Arc<dyn ImageHandle>>> {
        Box::pin(self.open_image(ctx, image, snapshot))
    }
}
