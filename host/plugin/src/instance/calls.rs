//! Calls in flight, and how they are given up.
//!
//! The host cannot cancel a call inside a guest (wasmtime issue 11833). What it can do: fail the imports the
//! call is waiting for, so that the guest notices; answer the caller at once; and replace the instance if the call does not
//! end within the grace period.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::Notify;
use wasmtime::component::GuestTaskId;

/// What host and caller know of one call.
#[derive(Debug, Default)]
pub(crate) struct CallState {
    given_up: AtomicBool,
    started: AtomicBool,
    ended: AtomicBool,
    /// Imports of this call that wait for something outside the guest.
    waiting: AtomicU32,
    changed: Notify,
}

impl CallState {
    /// Nobody waits for the answer any more: pending and future imports fail with `interrupted`.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether [`Self::give_up`] was called.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    /// The instance takes the call up; false if it was given up before, and must not be made any more.
    pub(crate) fn start(&self) -> bool {
        // Stored before the other flag is read, as `give_up` and `has_started` do: one of the two sees the other.
        self.started.store(true, Ordering::SeqCst);
        !self.is_given_up()
    }

    /// Whether the guest has been called and has not returned.
    pub(crate) fn is_running(&self) -> bool {
        self.started.load(Ordering::SeqCst) && !self.has_ended()
    }

    /// The guest has returned.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether [`Self::end`] was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether the call waits for an import that waits for the network.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Counts as waiting until the guard is dropped.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self.clone())
    }

    /// Returns when [`Self::give_up`] is or has been called.
    pub(crate) async fn given_up(&self) {
        self.until(Self::is_given_up).await;
    }

    /// Returns when [`Self::end`] is or has been called.
    pub(crate) async fn ended(&self) {
        self.until(Self::has_ended).await;
    }

    async fn until(&self, reached: fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the flag is read: a change in between is not missed.
            changed.as_mut().enable();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }
}

/// See [`CallState::wait`].
#[derive(Debug)]
pub(crate) struct Waiting(Arc<CallState>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Which call a guest task belongs to.
#[derive(Debug, Default)]
pub(crate) struct CallTable(HashMap<GuestTaskId, Arc<CallState>>);

impl CallTable {
    pub(crate) fn insert(&mut self, task: GuestTaskId, call: Arc<CallState>) {
        self.0.insert(task, call);
    }

    pub(crate) fn remove(&mut self, task: GuestTaskId) {
        self.0.remove(&task);
    }

    /// `None` for background work of the guest, whose call has ended.
    pub(crate) fn get(&self, task: GuestTaskId) -> Option<Arc<CallState>> {
        self.0.get(&task).cloned()
    }
}
