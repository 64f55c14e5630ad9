//! Background work.

use super::BoxFuture;

/// Starts tasks that outlive the call that needs them: prefetching, loading a listing, opening a mount.
pub trait Spawn: Send + Sync + 'static {
    /// Runs the task to its end in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// Tasks on a tokio runtime.
#[derive(Clone, Debug)]
pub struct TokioSpawn(pub tokio::runtime::Handle);

impl Spawn for TokioSpawn {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}
