//! What is given back to a plugin without anybody waiting for it: references to nodes, and handles.

use super::super::caller::Caller;
use super::exports::FileSystemExports;
use super::wit;
use crate::instance::{CallState, Failure, Instance, Job, call, invoke_all};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wasmtime::component::{ComponentNamedList, Lower, TypedFunc};

/// How long references are collected before the plugin is told: a kernel that forgets a tree says so one node at a time.
const PAUSE: Duration = Duration::from_millis(20);
/// Most nodes in one call.
const BATCH: usize = 4096;
/// Time for one call. Longer than all that can stand before it in an instance's queue, each with a deadline of its own: it is given up
/// only where the instance would be replaced anyway.
const PATIENCE: Duration = Duration::from_secs(300);

/// See the module.
pub(super) struct GiveBack {
    caller: Arc<Caller<FileSystemExports>>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    nodes: HashMap<u64, u64>,
    /// Somebody is telling the plugin.
    telling: bool,
}

impl Pending {
    /// Some of what is to be told; nothing, and an end of telling, if that was all.
    fn batch(&mut self) -> Vec<wit::Forgotten> {
        let some: Vec<u64> = self.nodes.keys().take(BATCH).copied().collect();
        self.telling = !some.is_empty();
        some.into_iter()
            .filter_map(|node| self.nodes.remove(&node).map(|count| wit::Forgotten { node, count }))
            .collect()
    }
}

impl GiveBack {
    pub(super) fn new(caller: Arc<Caller<FileSystemExports>>) -> Arc<Self> {
        Arc::new(Self { caller, pending: Mutex::default() })
    }

    /// Gives references back, soon.
    pub(super) fn forget(self: &Arc<Self>, nodes: impl IntoIterator<Item = (u64, u64)>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, count) in nodes {
            let sum = pending.nodes.entry(node).or_default();
            *sum = sum.saturating_add(count);
        }
        if !pending.nodes.is_empty() && !std::mem::replace(&mut pending.telling, true) {
            self.caller.slot.spawn(self.clone().tell());
        }
    }

    async fn tell(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let batch = self.pending.lock().unwrap_or_else(PoisonError::into_inner).batch();
            if batch.is_empty() {
                return;
            }
            // Without an instance nobody holds anything: references go with what has given them.
            if let Some(instance) = self.caller.slot.current() {
                finish(&instance, |exports| &exports.forget, (batch,)).await;
            }
        }
    }

    /// Closes a handle in the instance it is open in, soon.
    fn close(&self, instance: Arc<Instance<FileSystemExports>>, handle: u64, of: Of) {
        self.caller.slot.spawn(async move {
            match of {
                Of::File => finish(&instance, |exports| &exports.release, (handle, None)).await,
                Of::Directory => finish(&instance, |exports| &exports.release_directory, (handle,)).await,
            }
        });
    }
}

/// Calls a function that cannot fail, and waits until it has returned or its instance is gone.
async fn finish<P>(
    instance: &Arc<Instance<FileSystemExports>>,
    function: fn(&FileSystemExports) -> &TypedFunc<P, ()>,
    question: P,
) where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
{
    let job = |state: Arc<CallState>, reply: oneshot::Sender<()>| -> Job<FileSystemExports> {
        Box::new(move |acc, exports| {
            Box::pin(async move {
                if state.start() {
                    invoke_all(acc, function(exports), question, &state).await?;
                    let _ = reply.send(());
                }
                Ok(())
            })
        })
    };
    match call(instance, Instant::now() + PATIENCE, job).await {
        // A dead instance holds nothing; who uses it next says that it died.
        Ok(()) | Err(Failure::Lost(_)) => {}
        Err(Failure::TimedOut { .. }) => {
            tracing::warn!(target: "plugin", "a plugin did not take back what is no longer needed within {PATIENCE:?}");
        }
    }
}

/// References in an answer, given back if nobody takes the answer.
pub(super) struct References {
    give_back: Arc<GiveBack>,
    nodes: Vec<u64>,
}

impl References {
    pub(super) fn new(give_back: &Arc<GiveBack>, nodes: Vec<u64>) -> Self {
        Self { give_back: give_back.clone(), nodes }
    }

    /// They are somebody's now.
    pub(super) fn keep(mut self) {
        self.nodes.clear();
    }
}

impl Drop for References {
    fn drop(&mut self) {
        if !self.nodes.is_empty() {
            self.give_back.forget(std::mem::take(&mut self.nodes).into_iter().map(|node| (node, 1)));
        }
    }
}

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// Something open in an instance, closed when dropped.
///
/// A handle is a number of the plugin's own, and the next instance gives the same number to something else: it is used in the
/// instance it came from and nowhere else.
pub(super) struct OpenHandle {
    give_back: Arc<GiveBack>,
    /// Not a reason for it to live: an instance that is to end is closed, whatever is open in it.
    instance: Weak<Instance<FileSystemExports>>,
    /// The plugin's number.
    pub(super) number: u64,
    pub(super) of: Of,
}

impl OpenHandle {
    pub(super) fn new(
        give_back: &Arc<GiveBack>,
        instance: Weak<Instance<FileSystemExports>>,
        number: u64,
        of: Of,
    ) -> Self {
        Self { give_back: give_back.clone(), instance, number, of }
    }

    /// The instance it is open in, if calls go there.
    pub(super) fn instance(&self) -> Option<Arc<Instance<FileSystemExports>>> {
        self.instance.upgrade().filter(|instance| self.give_back.caller.slot.holds(instance))
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.upgrade().filter(|instance| instance.is_alive()) {
            self.give_back.close(instance, self.number, self.of);
        }
    }
}
