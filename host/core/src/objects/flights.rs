//! One request for many who ask the same.

use crate::ports::Spawn;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use wasmount_types::{Blame, Error, ErrorKind};

type Running<T> = watch::Receiver<Option<Result<T, Error>>>;

/// Requests that are under way, by path.
pub(crate) struct Flights<T> {
    running: Arc<Mutex<HashMap<String, Running<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(crate) fn new() -> Self {
        Self { running: Arc::default() }
    }

    /// Waits for the request for `path` that is under way, or starts `work`. The work runs to its end even if nobody
    /// waits any more: its result is remembered by whoever made it.
    pub(crate) async fn join<F>(
        &self,
        spawn: &dyn Spawn,
        path: &str,
        work: impl FnOnce() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut waiter = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match running.get(path) {
                Some(waiter) if waiter.has_changed().is_ok() => waiter.clone(),
                _ => {
                    let (sender, waiter) = watch::channel(None);
                    running.insert(path.to_owned(), waiter.clone());
                    let (work, table, path) = (work(), self.running.clone(), path.to_owned());
                    spawn.spawn(Box::pin(async move {
                        let outcome = work.await;
                        table.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                        sender.send_replace(Some(outcome));
                    }));
                    waiter
                }
            }
        };
        match waiter.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            _ => Err(Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping")),
        }
    }
}
