//! What the store takes back.

use super::{FileFs, Node};
use crate::ports::{BoxFuture, FileEvents, Invalidation, NodeNumber};
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;
use tokio::time::timeout;
use wasmount_types::{Blame, Error, ErrorKind, Ino, Name};

/// Nodes that are seen to at a time.
const PARALLEL: usize = 16;

/// Where a store says what it takes back.
pub(super) struct Events(Weak<FileFs>);

impl Events {
    pub(super) fn of(fs: &Arc<FileFs>) -> Arc<dyn FileEvents> {
        Arc::new(Self(Arc::downgrade(fs)))
    }
}

impl FileEvents for Events {
    fn invalidate(&self, items: Vec<Invalidation>) -> BoxFuture<'static, Result<(), Error>> {
        // Nobody believes anything of a store that is gone.
        let Some(fs) = self.0.upgrade() else { return Box::pin(ready(Ok(()))) };
        // Before anything else, so that no answer to an earlier question is believed any more.
        let everything = items.contains(&Invalidation::Everything).then(|| Everything::begin(&fs));
        fs.epoch.fetch_add(1, Ordering::SeqCst);
        let (tell, told) = oneshot::channel();
        let spawn = fs.context.spawn.clone();
        spawn.spawn(Box::pin(async move {
            let outcome = fs.lose(items).await;
            drop(everything);
            let _nobody_waits = tell.send(outcome);
        }));
        Box::pin(async move {
            told.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping"))
            })
        })
    }

    fn shrink(&self, nodes: u64) {
        let Some(fs) = self.0.upgrade() else { return };
        tracing::debug!(mount = %fs.context.id, nodes, "the store asks for nodes back");
        fs.shrink();
    }
}

/// Everything is being taken back, for as long as it lives.
struct Everything(Arc<FileFs>);

impl Everything {
    fn begin(fs: &Arc<FileFs>) -> Self {
        fs.ending.fetch_add(1, Ordering::SeqCst);
        Self(fs.clone())
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        // What was asked for meanwhile is not believed either.
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
        self.0.ending.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What of one node is taken back.
#[derive(Default)]
struct Loss {
    attributes: bool,
    data: bool,
    all_names: bool,
    names: Vec<Name>,
}

impl Loss {
    fn everything() -> Self {
        Self { attributes: true, data: true, all_names: true, names: Vec::new() }
    }
}

impl FileFs {
    async fn lose(self: &Arc<Self>, items: Vec<Invalidation>) -> Result<(), Error> {
        let mut losses = BTreeMap::<NodeNumber, Loss>::new();
        let mut everything = false;
        for item in items {
            match item {
                Invalidation::Attributes(node) => losses.entry(node).or_default().attributes = true,
                Invalidation::Data(node, _) => losses.entry(node).or_default().data = true,
                Invalidation::Directory(node) => losses.entry(node).or_default().all_names = true,
                Invalidation::Entry(node, name) => losses.entry(node).or_default().names.push(name),
                Invalidation::Everything => everything = true,
            }
        }
        let nodes: Vec<(Arc<Node>, Loss)> = {
            let known = self.lock();
            if everything {
                known.values().map(|node| (node.clone(), Loss::everything())).collect()
            } else {
                // The kernel has nothing of a node that it does not know.
                losses
                    .into_iter()
                    .filter_map(|(node, loss)| Some((known.get(&node)?.clone(), loss)))
                    .collect()
            }
        };
        let all = stream::iter(nodes)
            .for_each_concurrent(PARALLEL, |(node, loss)| async move { self.lose_of(&node, loss).await });
        timeout(self.context.request_timeout, all).await.map_err(|_| {
            let message = "the kernel did not let go of what others change within the time of a request";
            Error::new(ErrorKind::TimedOut, Blame::Host, message)
        })
    }

    async fn lose_of(self: &Arc<Self>, node: &Arc<Node>, loss: Loss) {
        let names = async {
            if loss.all_names {
                self.lose_names(node, None).await;
            } else if !loss.names.is_empty() {
                self.lose_names(node, Some(&loss.names)).await;
            }
        };
        let attributes = async {
            if loss.attributes {
                self.lose_attributes(node).await;
            }
        };
        let data = async {
            if let Some(data) = node.opened_data().filter(|_| loss.data) {
                data.lose(node.ino, self.kernel()).await;
                self.drop_noted_later(node);
            }
        };
        futures::join!(names, attributes, data);
    }

    /// Has the kernel forget what it need not know.
    fn shrink(&self) {
        let nodes: Vec<_> = self.lock().values().cloned().collect();
        for node in nodes {
            let mut state = node.lock();
            self.drop_names(&mut state, |_| true);
            state.names_given.take(self.clock());
        }
        if let Some(kernel) = self.kernel() {
            kernel.drop_entries();
        }
    }

    /// The store was opened again: the kernel believes things of which nobody knows whether they still hold.
    pub(crate) async fn begin_anew(&self) {
        let Some(kernel) = self.kernel() else { return };
        let drop_node = |ino: Ino| async move {
            // Attributes go with the pages.
            kernel.drop_pages(ino, None).await;
        };
        kernel.drop_entries();
        let known = self.inodes.store_nodes(self.mount).into_iter().map(|(ino, _)| ino);
        let all = stream::iter(known.chain([self.root().ino])).for_each_concurrent(PARALLEL, drop_node);
        if timeout(self.context.request_timeout, all).await.is_err() {
            tracing::warn!(mount = %self.context.id, "the kernel did not let go of all it has from before");
        }
    }
}
