//! Version 0.1 of the contract.

mod blocks;
mod body;
mod caller;
mod check;
mod check_blocks;
mod convert;
mod exports;
mod files;
mod image;
mod objects;
mod open;

pub(crate) use blocks::BlocksProvider;
pub(crate) use caller::Caller;
pub(crate) use exports::{BlockStoreExports, Exports, LifecycleExports, ObjectStoreExports};
pub(crate) use files::{FileSystemExports, FilesProvider};
pub(crate) use objects::ObjectsProvider;
pub(crate) use open::{MountData, Open, Opened};

// What every kind exports is one type of the contract, whichever world it was generated from.
use crate::bindings::v0_1::host::wasmount::plugin::types;
use crate::bindings::v0_1::objects::exports::wasmount::plugin::{lifecycle, objects as wit};
use crate::description::Description;
use crate::instance::{Failure, Instance, Job, call, invoke};
use std::sync::Arc;
use std::time::Instant;
use wasmount_types::{Blame, Error, ErrorKind};

/// Asks an instance who it is.
pub(crate) async fn describe(
    instance: &Arc<Instance<LifecycleExports>>,
    deadline: Instant,
) -> Result<Description, Error> {
    let answer = call(instance, deadline, |state, reply| -> Job<LifecycleExports> {
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
