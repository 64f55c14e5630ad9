//! The task that owns a Store.
//!
//! It takes jobs from a bounded queue and drives all calls in flight together, so that a call that waits for the
//! network lets the others run. It ends when the last [`Instance`] handle is gone (the guest is asked to
//! close first) or when the guest traps; then everything in flight is lost at once.

use super::limiter::{Budget, Violation};
use super::meter::{Meter, OneMore};
use super::residence::Resident;
use super::shutdown::Living;
use super::state::{GuestState, Rights};
use crate::engine::{FUEL, Machine};
use futures::future::{AbortHandle, BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::{Accessor, InstancePre};
use wasmtime::{Store, UpdateDeadline};

/// Work to be done inside the instance. An error is a trap and ends it.
pub(crate) type Job<E> =
    Box<dyn for<'a> FnOnce(&'a Accessor<GuestState>, &'a E) -> BoxFuture<'a, wasmtime::Result<()>> + Send>;

/// The typed exports of one version of the contract.
pub(crate) trait Start: Sized + Send + Sync + 'static {
    /// Finds the exports.
    fn find(
        store: &mut Store<GuestState>,
        instance: &wasmtime::component::Instance,
    ) -> wasmtime::Result<Self>;

    /// Asks the guest to end.
    fn close<'a>(acc: &'a Accessor<GuestState>, exports: &'a Self) -> BoxFuture<'a, wasmtime::Result<()>>;
}

/// A job, counted as waiting until it is taken.
pub(super) type Queued<E> = (Job<E>, OneMore);

/// The end of an instance that was closed, as all are when the process ends: no fault of anybody.
pub(super) const CLOSED: &str = "it was closed";

/// A handle to a running instance. When the last one is dropped, the instance is closed.
pub(crate) struct Instance<E> {
    pub(super) jobs: mpsc::Sender<Queued<E>>,
    pub(super) control: tokio::runtime::Handle,
    pub(super) grace: std::time::Duration,
    /// Counts what the mount's instances do.
    pub(crate) meter: Arc<Meter>,
    life: Arc<Life>,
    task: AbortHandle,
    answered: AtomicU64,
}

/// Whether an instance lives, and why not.
struct Life(watch::Sender<Option<Arc<str>>>);

impl Life {
    /// The first reason stays.
    fn end(&self, reason: impl FnOnce() -> Arc<str>) {
        self.0.send_if_modified(|death| {
            let first = death.is_none();
            if first {
                *death = Some(reason());
            }
            first
        });
    }
}

/// Notes the end of the task however it comes: an abort runs no code after the last await.
struct EndOfTask(Arc<Life>);

impl Drop for EndOfTask {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.0
            .end(|| if panicked { "a function of the host failed".into() } else { "it was stopped".into() });
    }
}

impl<E: Start> Instance<E> {
    /// Instantiates a component. Its task runs where the mount's sockets live (see [`super::residence`]), or on the guests'
    /// threads if it has no network. Bounded by the limits' `describe` time.
    pub(crate) async fn start(
        machine: &Machine,
        pre: InstancePre<GuestState>,
        rights: Rights,
    ) -> Result<Arc<Self>, Error> {
        let limits = rights.limits.clone();
        let plugin = rights.log.plugin().to_owned();
        let (jobs, queue) = mpsc::channel(limits.queue.max(1));
        let life = Arc::new(Life(watch::Sender::new(None)));
        let (ready, started) = oneshot::channel();
        let count_fuel = machine.count_fuel;
        let end = EndOfTask(life.clone());
        let away = machine.guests()?;
        let home = rights.net.as_ref().map_or_else(|| away.clone(), |net| net.handle().clone());
        let (meter, counting) = (rights.meter.clone(), rights.meter.clone());
        let mut living = machine.shutdown.enter(rights.ending.clone());
        let work = async move {
            let end = end;
            let log = rights.log.clone();
            match run::<E>(pre, rights, count_fuel, (queue, &mut living), ready).await {
                Ok(()) => end.0.end(|| CLOSED.into()),
                Err(error) => {
                    let reason = reason(&error, &log);
                    tracing::debug!(target: "plugin", plugin = log.plugin(), "instance ended: {error:?}");
                    meter.trapped();
                    end.0.end(|| reason.into());
                }
            }
        };
        let task = Resident::settle(work, home, away, counting.clone(), machine.ticker.clone());
        let instance = Arc::new(Self {
            jobs,
            control: machine.control()?,
            grace: limits.grace,
            meter: counting,
            life,
            task,
            answered: AtomicU64::new(0),
        });
        match tokio::time::timeout(limits.describe, started).await {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(_)) => {
                let text = format!("plugin {plugin} does not start: {}", instance.death().await);
                Err(Error::new(ErrorKind::Other, Blame::Plugin, text))
            }
            Err(_) => {
                instance.kill("it did not start in time");
                Err(Error::timed_out(Blame::Plugin, format_args!("the start of plugin {plugin}")))
            }
        }
    }

    /// Stops the guest wherever it is. Everything in flight is lost.
    pub(crate) fn kill(&self, reason: &str) {
        self.life.end(|| reason.into());
        self.task.abort();
    }

    /// Stops the guest even when no handle to the instance is left and it is being closed.
    pub(super) fn stopper(&self) -> AbortHandle {
        self.task.clone()
    }

    /// Runs something that has to do with the instance and that nobody waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.control.spawn(work);
    }

    /// Whether calls make sense.
    pub(crate) fn is_alive(&self) -> bool {
        self.reason().is_none()
    }

    /// Why it died; `None`: it lives.
    pub(super) fn reason(&self) -> Option<Arc<str>> {
        self.life.0.borrow().clone()
    }

    /// Why it died; waits for that.
    pub(crate) async fn death(&self) -> Arc<str> {
        self.end().await
    }

    /// As [`death`](Self::death), without keeping it alive.
    pub(super) fn end(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        let mut life = self.life.0.subscribe();
        async move {
            match life.wait_for(Option::is_some).await.ok().and_then(|death| death.clone()) {
                Some(reason) => reason,
                None => "it was stopped".into(),
            }
        }
    }

    /// Counts a call that the guest has answered, `open` included.
    pub(super) fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// One sentence about a trap, without addresses and stack.
fn reason(error: &wasmtime::Error, log: &crate::imports::LogSink) -> String {
    if let Some(violation) = error.downcast_ref::<Violation>() {
        return violation.to_string();
    }
    if let Some(panic) = log.take_panic() {
        return panic;
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => log.clean(&error.root_cause().to_string()),
    }
}

fn new_store(
    engine: &wasmtime::Engine,
    state: GuestState,
    count_fuel: bool,
) -> wasmtime::Result<Store<GuestState>> {
    let (budget, limit) = (state.budget.clone(), state.rights.limits.cpu_budget);
    let (reply, tasks) = (state.rights.limits.reply, state.rights.limits.tasks);
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(reply);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(tasks);
    }
    if count_fuel {
        store.set_fuel(FUEL)?;
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        budget.tick(limit)?;
        Ok(UpdateDeadline::Yield(1))
    });
    Ok(store)
}

async fn run<E: Start>(
    pre: InstancePre<GuestState>,
    rights: Rights,
    count_fuel: bool,
    (queue, living): (mpsc::Receiver<Queued<E>>, &mut Living),
    ready: oneshot::Sender<()>,
) -> wasmtime::Result<()> {
    let (limits, meter) = (rights.limits.clone(), rights.meter.clone());
    let (closing, is_closing) = watch::channel(false);
    let budget = Arc::new(Budget::default());
    let state = GuestState::new(rights, budget, is_closing);
    let mut store = new_store(pre.engine(), state, count_fuel)?;
    let instance = pre.instantiate_async(&mut store).await?;
    let exports = E::find(&mut store, &instance)?;
    let _ = ready.send(());
    let driven = store.run_concurrent(async |acc| {
        let mut calls = FuturesUnordered::new();
        drive(acc, &exports, (queue, living), (limits.in_flight, &meter), &mut calls).await?;
        // Nobody holds the instance any more, so nobody waits for what is still in flight, and it has been told so: it ends by itself, while
        // connections stay for what the guest has to give back at its server. What does not end loses them.
        let mut ended = tokio::time::timeout(limits.grace, drain(&mut calls)).await;
        if ended.is_err() {
            let _ = closing.send(true);
            ended = tokio::time::timeout(limits.grace, drain(&mut calls)).await;
        }
        if let Ok(ended) = ended {
            ended?;
            // Best effort: nobody waits for the result, and the Store goes away in any case.
            let _ = tokio::time::timeout(limits.close, E::close(acc, &exports)).await;
        }
        let _ = closing.send(true);
        Ok(())
    });
    driven.await?
}

/// Runs calls to their end.
async fn drain(calls: &mut FuturesUnordered<BoxFuture<'_, wasmtime::Result<()>>>) -> wasmtime::Result<()> {
    while let Some(ended) = calls.next().await {
        ended?;
    }
    Ok(())
}

/// Runs calls until the last handle to the instance is gone, or all instances are asked to close.
async fn drive<'a, E: Start>(
    acc: &'a Accessor<GuestState>,
    exports: &'a E,
    (mut queue, living): (mpsc::Receiver<Queued<E>>, &mut Living),
    (in_flight, meter): (usize, &Meter),
    calls: &mut FuturesUnordered<BoxFuture<'a, wasmtime::Result<()>>>,
) -> wasmtime::Result<()> {
    loop {
        tokio::select! {
            biased;
            Some(ended) = calls.next(), if !calls.is_empty() => ended?,
            () = living.asked() => return Ok(()),
            job = queue.recv(), if calls.len() < in_flight => match job {
                Some((job, _queued)) => {
                    let inside = meter.in_flight.one();
                    calls.push(job(acc, exports).inspect(move |_| drop(inside)).boxed());
                }
                None => return Ok(()),
            },
        }
    }
}
