//! Version 0.1 of the contract.

mod body;
mod check;
mod convert;
mod objects;
mod open;

pub(crate) use objects::ObjectsProvider;
pub(crate) use open::{MountData, Open};

use crate::bindings::v0_1::host::wasmount::plugin::types;
use crate::bindings::v0_1::objects::exports::wasmount::plugin::{lifecycle, objects as wit};
use crate::description::Description;
use crate::instance::{CallState, Failure, GuestState, Instance, Job, Start, call, invoke};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Instant;
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::Store;
use wasmtime::component::{
    Accessor, ComponentExportIndex, ComponentNamedList, Instance as Linked, Lift, Lower, TypedFunc,
};

type Fallible<P, R> = TypedFunc<P, (Result<R, types::Error>,)>;

/// The exports of an object store that this host calls.
pub(crate) struct ObjectStoreExports {
    describe: TypedFunc<(), (lifecycle::Description,)>,
    open: Fallible<(lifecycle::Mount,), lifecycle::Info>,
    close: Fallible<(), ()>,
    list: Fallible<(wit::ListRequest,), wit::ListPage>,
    head: Fallible<(String, Option<String>), wit::HeadOutcome>,
    get: Fallible<(wit::GetRequest,), wit::GetOutcome>,
}

fn interface(
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

fn function<P, R>(
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

impl Start for ObjectStoreExports {
    fn find(store: &mut Store<GuestState>, instance: &Linked) -> wasmtime::Result<Self> {
        let lifecycle = interface(store, instance, "lifecycle")?;
        let objects = interface(store, instance, "objects")?;
        Ok(Self {
            describe: function(store, instance, &lifecycle, "describe")?,
            open: function(store, instance, &lifecycle, "open")?,
            close: function(store, instance, &lifecycle, "close")?,
            list: function(store, instance, &objects, "list")?,
            head: function(store, instance, &objects, "head")?,
            get: function(store, instance, &objects, "get")?,
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

/// Asks an instance who it is.
pub(crate) async fn describe(
    instance: &Arc<Instance<ObjectStoreExports>>,
    deadline: Instant,
) -> Result<Description, Error> {
    let answer = call(instance, deadline, |state, reply| -> Job<ObjectStoreExports> {
        Box::new(move |acc, exports| {
            Box::pin(async move {
                if state.start() {
                    let _ = reply.send(invoke(acc, &exports.describe, (), &state).await?);
                }
                Ok(())
            })
        })
    });
    match answer.await {
        Ok(description) => Ok(convert::description(description)),
        Err(Failure::Lost(reason)) => {
            Err(Error::new(ErrorKind::Other, Blame::Plugin, format!("`describe` trapped: {reason}")))
        }
        Err(Failure::TimedOut { .. }) => Err(Error::timed_out(Blame::Plugin, "`describe`")),
    }
}
