//! A place to run what goes on between calls.
//!
//! A task belongs to the call that spawned it, and while that call runs, giving it up ends the task's requests to the host. So one
//! task is spawned while the plugin opens, whose call is over when the first others come, and all work is handed to it.

use futures::channel::mpsc;
use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

/// Where work is handed over.
#[derive(Clone, Debug)]
pub(crate) struct Background(mpsc::UnboundedSender<LocalBoxFuture<'static, ()>>);

impl Background {
    /// Begins to run what is handed over, in the call that is made now. Ends when [`close`](Self::close) was called, and with it all work.
    pub(crate) fn begin() -> Self {
        // Not bounded, but never longer than there are connections: each has one write, one decryption and one loop.
        let (sender, receiver) = mpsc::unbounded();
        wasmount_sdk::task::spawn(run(receiver));
        Self(sender)
    }

    /// Runs this, beginning soon.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + 'static) {
        // Only fails when everything is being closed.
        let _ = self.0.unbounded_send(Box::pin(work));
    }

    /// Drops all work.
    pub(crate) fn close(&self) {
        self.0.close_channel();
    }
}

async fn run(mut work: mpsc::UnboundedReceiver<LocalBoxFuture<'static, ()>>) {
    let mut running = FuturesUnordered::new();
    loop {
        futures::select_biased! {
            new = work.next() => match new {
                Some(new) => running.push(new),
                None => return,
            },
            _ = running.select_next_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;
    use futures::executor::LocalPool;
    use futures::task::LocalSpawnExt as _;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Notes when it is dropped.
    struct Dropped(Rc<Cell<bool>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn work_runs_side_by_side_and_ends_with_the_place() {
        let (sender, receiver) = mpsc::unbounded();
        let background = Background(sender);
        let mut pool = LocalPool::new();
        let ended = Rc::new(Cell::new(false));
        let note = Dropped(ended.clone());
        pool.spawner()
            .spawn_local(async move {
                run(receiver).await;
                drop(note);
            })
            .unwrap();
        let (first, wait) = oneshot::channel::<()>();
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(dropped.clone());
        background.run(async move {
            let _guard = guard;
            futures::future::pending::<()>().await;
        });
        background.run(async move {
            let _ = first.send(());
        });
        pool.run_until(wait).unwrap();
        assert!(!dropped.get() && !ended.get());
        background.close();
        pool.run_until_stalled();
        assert!(dropped.get() && ended.get());
    }
}
