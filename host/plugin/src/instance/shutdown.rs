//! The end of a host: all instances are asked to close, and somebody waits until they have.
//!
//! A plugin that holds something at its server, such as a session with capabilities that others wait for, gives it back when it is closed. A process
//! that ended without waiting for that would make the others wait until the server notices.

use std::sync::Arc;
use tokio::sync::watch;

/// What all instances of a host are told.
#[derive(Debug)]
pub(crate) struct Shutdown {
    asked: watch::Sender<bool>,
    living: watch::Sender<usize>,
}

impl Shutdown {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { asked: watch::Sender::new(false), living: watch::Sender::new(0) })
    }

    /// An instance lives until this is dropped. `ending`: whether the mount is being taken away that it serves.
    pub(super) fn enter(self: &Arc<Self>, ending: watch::Receiver<bool>) -> Living {
        self.living.send_modify(|count| *count += 1);
        Living { shutdown: self.clone(), asked: self.asked.subscribe(), ending }
    }

    /// Asks all instances to close, and waits until none lives.
    pub(crate) async fn close_all(&self) {
        self.asked.send_replace(true);
        // Fails only without a sender, and that is here.
        let _ = self.living.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// See [`Shutdown::enter`].
#[derive(Debug)]
pub(super) struct Living {
    shutdown: Arc<Shutdown>,
    asked: watch::Receiver<bool>,
    ending: watch::Receiver<bool>,
}

impl Living {
    /// Waits until the instance is asked to close.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            () = becomes_true(&mut self.asked) => {}
            () = becomes_true(&mut self.ending) => {}
        }
    }
}

/// Waits until it is true: for ever, if nobody is left who could make it so.
async fn becomes_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending().await
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.shutdown.living.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn all_are_asked_and_waited_for() {
        let shutdown = Shutdown::new();
        let nobody = || watch::channel(false).1;
        let mut first = shutdown.enter(nobody());
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.close_all().await }
        });
        first.asked().await;
        let mut late = shutdown.enter(nobody());
        drop(first);
        late.asked().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        drop(late);
        waiting.await.unwrap();
        shutdown.close_all().await;
    }

    #[tokio::test]
    async fn the_instances_of_one_mount_may_be_asked_alone() {
        let shutdown = Shutdown::new();
        let end = watch::Sender::new(false);
        let (mut one, mut other) = (shutdown.enter(end.subscribe()), shutdown.enter(watch::channel(false).1));
        end.send_replace(true);
        one.asked().await;
        let waits = Duration::from_millis(20);
        assert!(tokio::time::timeout(waits, other.asked()).await.is_err());
    }
}
