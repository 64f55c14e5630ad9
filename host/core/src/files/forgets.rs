//! References on their way back to the store.

use crate::ports::{FileStore, NodeNumber, Spawn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Nodes of one batch.
const BATCH: usize = 256;
/// How long a batch waits for more.
const WAIT: Duration = Duration::from_millis(50);

/// Gives references back, in batches.
pub(super) struct Forgets {
    store: Arc<dyn FileStore>,
    spawn: Arc<dyn Spawn>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    nodes: Vec<(NodeNumber, u64)>,
    /// Somebody will send what there is.
    due: bool,
}

impl Forgets {
    pub(super) fn new(store: Arc<dyn FileStore>, spawn: Arc<dyn Spawn>) -> Arc<Self> {
        Arc::new(Self { store, spawn, pending: Mutex::default() })
    }

    /// Gives references back, some time.
    pub(super) fn add(self: &Arc<Self>, node: NodeNumber, count: u64) {
        if count == 0 {
            return;
        }
        let mut pending = self.lock();
        pending.nodes.push((node, count));
        if pending.nodes.len() >= BATCH {
            let nodes = std::mem::take(&mut pending.nodes);
            drop(pending);
            return self.store.forget(nodes);
        }
        if !std::mem::replace(&mut pending.due, true) {
            drop(pending);
            let me = self.clone();
            self.spawn.spawn(Box::pin(async move {
                tokio::time::sleep(WAIT).await;
                me.send();
            }));
        }
    }

    fn send(&self) {
        let nodes = {
            let mut pending = self.lock();
            pending.due = false;
            std::mem::take(&mut pending.nodes)
        };
        if !nodes.is_empty() {
            self.store.forget(nodes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
