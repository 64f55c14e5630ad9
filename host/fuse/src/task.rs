//! A future that is polled at once, here, and runs on the runtime only if it has to wait.
//!
//! Handing it over right away would wake a thread of the runtime for nothing but to find that there is nothing to do
//! yet. So it stays where it is until it is woken, mostly by such a thread, which then goes on with it itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use tokio::runtime::Handle;

/// Runs `future` to its end. The caller is in the context of `runtime`.
pub(crate) fn start(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) {
    let mut future = Box::pin(future);
    // Mostly it is ready, and needs nothing to be woken with. What it had registered is registered anew below.
    if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
        return;
    }
    let waiting = Arc::new(Waiting { runtime: runtime.clone(), slot: Mutex::new(Slot::Polled) });
    let waker = Waker::from(waiting.clone());
    if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        waiting.park(future);
    }
}

/// A future that waits outside the runtime. Only its wakers keep it: what nobody can wake is dropped.
struct Waiting<F> {
    runtime: Handle,
    slot: Mutex<Slot<F>>,
}

enum Slot<F> {
    /// It is with the one who polls it.
    Polled,
    /// The same, and it has been woken meanwhile.
    Woken,
    /// It is here.
    Parked(Pin<Box<F>>),
    /// The runtime has it.
    Gone,
}

impl<F: Future<Output = ()> + Send + 'static> Waiting<F> {
    fn park(&self, future: Pin<Box<F>>) {
        let mut slot = self.slot();
        if matches!(*slot, Slot::Woken) {
            *slot = Slot::Gone;
            drop(slot);
            self.runtime.spawn(future);
        } else {
            *slot = Slot::Parked(future);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<F>> {
        // Nothing that holds the lock can panic.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Wake for Waiting<F> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Polled | Slot::Woken => *slot = Slot::Woken,
            Slot::Gone => {}
            Slot::Parked(future) => {
                drop(slot);
                self.runtime.spawn(future);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::Poll;
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn what_is_ready_runs_here() {
        let runtime = runtime();
        let (tell, told) = mpsc::channel();
        start(runtime.handle(), async move { tell.send(std::thread::current().id()).unwrap() });
        assert_eq!(told.try_recv().unwrap(), std::thread::current().id());
    }

    #[test]
    fn what_waits_ends_on_the_runtime_whoever_wakes_it_and_however_early() {
        let runtime = runtime();
        let (tell, told) = mpsc::channel();
        for round in 0..10_000 {
            let tell = tell.clone();
            let (send, receive) = oneshot::channel();
            let waker = (round % 2 == 0).then(|| std::thread::spawn(move || send.send(round).unwrap()));
            // Woken while it is polled, in every third round.
            let mut polls = 0;
            let early = poll_fn(move |cx| {
                polls += 1;
                match round % 3 {
                    0 if polls == 1 => Poll::Pending,
                    0 if polls == 2 => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    _ => Poll::Ready(()),
                }
            });
            start(runtime.handle(), async move {
                early.await;
                tell.send(receive.await.unwrap_or(round)).unwrap();
            });
            assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), round);
            if let Some(waker) = waker {
                waker.join().unwrap();
            }
        }
    }

    #[test]
    fn a_wait_that_nobody_can_end_is_dropped() {
        let runtime = runtime();
        let (kept, gone) = mpsc::channel::<()>();
        start(runtime.handle(), async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        assert_eq!(gone.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
