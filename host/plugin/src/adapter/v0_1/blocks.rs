//! A block store of the core, backed by a plugin.

use super::caller::{Caller, Reply, plain};
use super::image::PluginImage;
use super::{BlockStoreExports, types};
use crate::bindings::v0_1::blocks::exports::wasmount::plugin::blocks as wit;
use crate::instance::{CallState, GuestState, Job, invoke};
use std::sync::Arc;
use std::time::Instant;
use wasmount_core::ports::{
    BlockCapabilities, BlockStore, BoxFuture, Image, ImageHandle, ImagePage, Snapshot,
};
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx, Result};
use wasmtime::component::{Accessor, ComponentNamedList, Lift, Lower, TypedFunc};

/// See the module. Survives the replacement of its instance; images that are open in it do not.
pub(crate) struct BlocksProvider {
    pub(crate) caller: Arc<Caller<BlockStoreExports>>,
    pub(crate) capabilities: BlockCapabilities,
}

/// A function of the kind's interface.
pub(super) type Function<P, R> = TypedFunc<P, (std::result::Result<R, types::Error>,)>;

/// A job that calls one function, whose answer is plain data.
pub(super) fn job<P, R>(
    function: fn(&BlockStoreExports) -> &Function<P, R>,
    question: P,
) -> impl FnOnce(Arc<CallState>, Reply<R>) -> Job<BlockStoreExports>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Send + Sync + 'static,
    (std::result::Result<R, types::Error>,): ComponentNamedList + Lift,
{
    move |state, reply| {
        Box::new(move |acc, exports| {
            Box::pin(async move {
                if state.start() {
                    let answer = invoke(acc, function(exports), question, &state).await?;
                    let _ = reply.send(plain(acc, answer));
                }
                Ok(())
            })
        })
    }
}

impl BlocksProvider {
    /// Calls one function, whose answer is plain data.
    async fn ask<P, R>(
        &self,
        operation: &str,
        deadline: Instant,
        function: fn(&BlockStoreExports) -> &Function<P, R>,
        question: P,
    ) -> Result<R>
    where
        P: ComponentNamedList + Lower + Clone + Send + Sync + 'static,
        R: Send + Sync + 'static,
        (std::result::Result<R, types::Error>,): ComponentNamedList + Lift,
    {
        let repeated = |state, reply| job(function, question.clone())(state, reply);
        self.caller.run(operation, deadline, repeated).await
    }

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
        let page = self.ask("list-images", ctx.deadline, |exports| &exports.list_images, question).await?;
        self.caller.checker().images(page, continuation.as_deref(), limit)
    }

    async fn get_image(&self, ctx: RequestCtx, name: String) -> Result<Image> {
        self.check_name(&name)?;
        let question = (name.clone(),);
        let image = self.ask("get-image", ctx.deadline, |exports| &exports.get_image, question).await?;
        self.caller.checker().image_of(image, &name)
    }

    async fn list_snapshots(&self, ctx: RequestCtx, image: String) -> Result<Vec<Snapshot>> {
        self.check_name(&image)?;
        self.check_snapshots()?;
        let question = (image,);
        let snapshots =
            self.ask("list-snapshots", ctx.deadline, |exports| &exports.list_snapshots, question).await?;
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
        let opening = self.caller.run_where("open-image", ctx.deadline, |state, reply| {
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
