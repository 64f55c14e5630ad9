//! The functions that this host calls, by kind of plugin.

use super::check::Checker;
use super::{convert, lifecycle, types, wit};
use crate::bindings::v0_1::blocks::exports::wasmount::plugin::blocks as wit_blocks;
use crate::bindings::v0_1::host::wasmount::plugin::capabilities::ProviderCapabilities;
use crate::imports::Body;
use crate::instance::{CallState, GuestState, Start, invoke};
use futures::future::BoxFuture;
use std::sync::Arc;
use wasmount_core::ports::{BlockCapabilities, ObjectCapabilities};
use wasmount_types::Error;
use wasmtime::Store;
use wasmtime::component::{
    Accessor, ComponentExportIndex, ComponentNamedList, Instance as Linked, Lift, Lower, Resource, TypedFunc,
};

/// A function that may fail.
pub(super) type Fallible<P, R> = TypedFunc<P, (Result<R, types::Error>,)>;

/// Smallest [`BlockCapabilities::max_transfer`]: the largest sector.
const MIN_TRANSFER: u32 = 4096;

/// What every plugin exports.
pub(crate) struct LifecycleExports {
    pub(super) describe: TypedFunc<(), (lifecycle::Description,)>,
    pub(super) open: Fallible<(lifecycle::Mount,), lifecycle::Info>,
    pub(super) close: Fallible<(), ()>,
}

/// The exports of one kind.
pub(crate) trait Exports: Start {
    /// What a mount of this kind can do.
    type Capabilities: Send + 'static;

    /// What it shares with all others.
    fn lifecycle(&self) -> &LifecycleExports;

    /// What the plugin says about a mount it has opened.
    ///
    /// # Errors
    /// `corrupt`: they are those of another kind, or make no sense.
    fn capabilities(given: ProviderCapabilities, checker: &Checker<'_>) -> Result<Self::Capabilities, Error>;
}

/// The exports of an object store.
pub(crate) struct ObjectStoreExports {
    lifecycle: LifecycleExports,
    pub(super) list: Fallible<(wit::ListRequest,), wit::ListPage>,
    pub(super) head: Fallible<(String, Option<String>), wit::HeadOutcome>,
    pub(super) get: Fallible<(wit::GetRequest,), wit::GetOutcome>,
}

/// The exports of a block store.
pub(crate) struct BlockStoreExports {
    lifecycle: LifecycleExports,
    pub(super) list_images: Fallible<(Option<String>, u32), wit_blocks::ImagePage>,
    pub(super) get_image: Fallible<(String,), wit_blocks::Image>,
    pub(super) list_snapshots: Fallible<(String,), Vec<wit_blocks::Snapshot>>,
    pub(super) open_image: Fallible<(String, Option<String>, wit_blocks::Access), wit_blocks::Opened>,
    pub(super) refresh: Fallible<(u64,), wit_blocks::Geometry>,
    pub(super) read: Fallible<(u64, u64, u32), Resource<Body>>,
    pub(super) next_extent: Fallible<(u64, u64, u64), wit_blocks::Extent>,
    pub(super) close_image: Fallible<(u64,), ()>,
}

pub(super) fn interface(
    store: &mut Store<GuestState>,
    instance: &Linked,
    name: &str,
) -> wasmtime::Result<ComponentExportIndex> {
    // Another 0.1.x is found by this name too.
    let full = format!("wasmount:plugin/{name}@0.1.0");
    instance
        .get_export_index(&mut *store, None, &full)
        .ok_or_else(|| wasmtime::format_err!("the component does not export `{full}`"))
}

pub(super) fn function<P, R>(
    store: &mut Store<GuestState>,
    instance: &Linked,
    interface: &ComponentExportIndex,
    name: &str,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let index = instance
        .get_export_index(&mut *store, Some(interface), name)
        .ok_or_else(|| wasmtime::format_err!("the component does not export the function `{name}`"))?;
    instance
        .get_typed_func(&mut *store, index)
        .map_err(|e| e.context(format!("the function `{name}` has another type than in wit/")))
}

impl Start for LifecycleExports {
    fn find(store: &mut Store<GuestState>, instance: &Linked) -> wasmtime::Result<Self> {
        let lifecycle = interface(store, instance, "lifecycle")?;
        Ok(Self {
            describe: function(store, instance, &lifecycle, "describe")?,
            open: function(store, instance, &lifecycle, "open")?,
            close: function(store, instance, &lifecycle, "close")?,
        })
    }

    fn close<'a>(acc: &'a Accessor<GuestState>, exports: &'a Self) -> BoxFuture<'a, wasmtime::Result<()>> {
        Box::pin(async move {
            let state = Arc::new(CallState::default());
            // Nothing is left to be done about an error of `close`.
            let _ = invoke(acc, &exports.close, (), &state).await?;
            Ok(())
        })
    }
}

impl Start for ObjectStoreExports {
    fn find(store: &mut Store<GuestState>, instance: &Linked) -> wasmtime::Result<Self> {
        let objects = interface(store, instance, "objects")?;
        Ok(Self {
            lifecycle: LifecycleExports::find(store, instance)?,
            list: function(store, instance, &objects, "list")?,
            head: function(store, instance, &objects, "head")?,
            get: function(store, instance, &objects, "get")?,
        })
    }

    fn close<'a>(acc: &'a Accessor<GuestState>, exports: &'a Self) -> BoxFuture<'a, wasmtime::Result<()>> {
        LifecycleExports::close(acc, &exports.lifecycle)
    }
}

impl Exports for ObjectStoreExports {
    type Capabilities = ObjectCapabilities;

    fn lifecycle(&self) -> &LifecycleExports {
        &self.lifecycle
    }

    fn capabilities(given: ProviderCapabilities, checker: &Checker<'_>) -> Result<ObjectCapabilities, Error> {
        let Some(mut capabilities) = convert::object_capabilities(given) else {
            return Err(checker.corrupt("an object store with the capabilities of another kind"));
        };
        if capabilities.listing.page == 0 || capabilities.max_key == 0 {
            return Err(checker.corrupt("pages or keys of length 0"));
        }
        capabilities.listing.page = capabilities.listing.page.min(checker.limits.page_entries);
        Ok(capabilities)
    }
}

impl Start for BlockStoreExports {
    fn find(store: &mut Store<GuestState>, instance: &Linked) -> wasmtime::Result<Self> {
        let blocks = interface(store, instance, "blocks")?;
        Ok(Self {
            lifecycle: LifecycleExports::find(store, instance)?,
            list_images: function(store, instance, &blocks, "list-images")?,
            get_image: function(store, instance, &blocks, "get-image")?,
            list_snapshots: function(store, instance, &blocks, "list-snapshots")?,
            open_image: function(store, instance, &blocks, "open-image")?,
            refresh: function(store, instance, &blocks, "refresh")?,
            read: function(store, instance, &blocks, "read")?,
            next_extent: function(store, instance, &blocks, "next-extent")?,
            close_image: function(store, instance, &blocks, "close-image")?,
        })
    }

    fn close<'a>(acc: &'a Accessor<GuestState>, exports: &'a Self) -> BoxFuture<'a, wasmtime::Result<()>> {
        LifecycleExports::close(acc, &exports.lifecycle)
    }
}

impl Exports for BlockStoreExports {
    type Capabilities = BlockCapabilities;

    fn lifecycle(&self) -> &LifecycleExports {
        &self.lifecycle
    }

    fn capabilities(given: ProviderCapabilities, checker: &Checker<'_>) -> Result<BlockCapabilities, Error> {
        let Some(capabilities) = convert::block_capabilities(given) else {
            return Err(checker.corrupt("a block store with the capabilities of another kind"));
        };
        if capabilities.max_transfer < MIN_TRANSFER {
            let most = capabilities.max_transfer;
            return Err(checker.corrupt(format_args!("reads of at most {most} bytes, less than a sector")));
        }
        let max_transfer = capabilities.max_transfer.min(checker.limits.read.max(MIN_TRANSFER));
        Ok(BlockCapabilities { max_transfer, ..capabilities })
    }
}
