//! The root of a store, which has to be answered for at once whatever state the store is in.

use super::{FileFs, Node};
use crate::fs::{Entry, FsStats};
use crate::ports::{Clock, FileAttributes, FileStatistics, Spawn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use wasmount_types::{Error, RequestCtx};

/// How long somebody waits for an answer about the root, counted from when the question was sent: who comes later does not wait at
/// all, and gets the last answer. A probe asks for attributes and space one after the other and has a second for both, as Fluid's own
/// check has.
const PATIENCE: Duration = Duration::from_millis(400);

/// The last answer to a question that is asked again and again.
struct Latest<T> {
    last: Mutex<Option<T>>,
    asking: Mutex<Option<(Instant, watch::Receiver<()>)>>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { last: Mutex::default(), asking: Mutex::default() }
    }
}

impl<T: Clone + Send + 'static> Latest<T> {
    /// Asks, unless somebody is asking, and waits a moment. The answer, or the last one.
    async fn ask<F>(
        self: &Arc<Self>,
        clock: &dyn Clock,
        spawn: &dyn Spawn,
        work: impl FnOnce() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (begun, mut done) = {
            let mut asking = lock(&self.asking);
            match &*asking {
                // It ends with its task.
                Some((begun, done)) if done.has_changed().is_ok() => (*begun, done.clone()),
                _ => {
                    let (running, done) = watch::channel(());
                    let (me, work) = (self.clone(), work());
                    spawn.spawn(Box::pin(async move {
                        match work.await {
                            Ok(answer) => *lock(&me.last) = Some(answer),
                            Err(error) => tracing::debug!(%error, "the root of a mount is not answered for"),
                        }
                        drop(running);
                    }));
                    let begun = clock.now();
                    *asking = Some((begun, done.clone()));
                    (begun, done)
                }
            }
        };
        let rest = PATIENCE.saturating_sub(clock.now().saturating_duration_since(begun));
        if !rest.is_zero() {
            // It changes never: this ends with the task.
            let _ended = timeout(rest, done.changed()).await;
        }
        lock(&self.last).clone()
    }
}

/// The root of a store.
pub(super) struct Root {
    node: Arc<Node>,
    attributes: Arc<Latest<FileAttributes>>,
    statistics: Arc<Latest<FileStatistics>>,
}

impl Root {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, attributes: Arc::default(), statistics: Arc::default() }
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

impl FileFs {
    /// Attributes of the root, within [`PATIENCE`]. `None`: nobody has ever said what they are.
    pub(crate) async fn root_entry(&self) -> Option<Entry> {
        let node = self.root();
        if let Some(attributes) = self.believed(node) {
            return Some(self.entry(node, &attributes, Duration::ZERO));
        }
        let fs = self.me.upgrade()?;
        let ask = move || async move {
            let ctx = fs.own_ctx();
            fs.known_attributes(ctx, fs.root(), None).await
        };
        let said = self.root.attributes.ask(self.clock(), &*self.context.spawn, ask).await?;
        Some(self.entry(node, &said, Duration::ZERO))
    }

    /// Space of the whole, within [`PATIENCE`]. `None`: nobody has ever said how much.
    pub(crate) async fn root_statistics(&self) -> Option<FsStats> {
        let fs = self.me.upgrade()?;
        let ask = move || async move {
            let ctx = fs.own_ctx();
            fs.store.statistics(ctx, fs.root().of.number).await
        };
        let said = self.root.statistics.ask(self.clock(), &*self.context.spawn, ask).await?;
        Some(self.stats(&said))
    }

    fn own_ctx(&self) -> RequestCtx {
        RequestCtx::internal(self.clock().now() + self.context.request_timeout)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
