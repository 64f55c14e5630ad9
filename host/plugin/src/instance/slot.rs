//! The place of a mount's instance: what is handed to the core stays, the instance in it is replaced when it dies.

use super::actor::{CLOSED, Instance, Start};
use futures::future::{AbortHandle, BoxFuture};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{sleep_until, timeout_at};
use wasmount_types::{Blame, Error, ErrorKind};

/// Deaths in a row, without an answered call in between, after which replacing takes time. Retrying the calls of an
/// instance that died costs one or two of them.
const FREE_DEATHS: u32 = 6;
/// First pause after that, and after a failed `open`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What [`Opener::open`] returns.
pub(crate) type BoxOpen<E> = BoxFuture<'static, Result<Arc<Instance<E>>, Error>>;

/// Makes an instance and opens its mount.
pub(crate) trait Opener<E>: Send + Sync + 'static {
    /// Opens by `deadline`.
    fn open(&self, deadline: Instant) -> BoxOpen<E>;

    /// Longest time an `open` may take.
    fn limit(&self) -> Duration;

    /// Name of the plugin.
    fn plugin(&self) -> &str;

    /// Called once for each instance as soon as it is known that no call goes to it any more: it died, or is to be replaced.
    fn ended(&self) {}
}

struct State<E> {
    current: Option<Arc<Instance<E>>>,
    /// Deaths since a call was last answered.
    deaths: u32,
    /// Failed attempts to open since one succeeded, and how the last one failed.
    failures: u32,
    failure: Option<Error>,
    not_before: Option<Instant>,
    /// Stops the one that was retired last: it may still be at work on calls in flight, or be closing.
    retired: Option<AbortHandle>,
}

/// See the module.
pub(crate) struct Slot<E: Start> {
    opener: Arc<dyn Opener<E>>,
    control: tokio::runtime::Handle,
    state: Mutex<State<E>>,
    opening: Arc<AsyncMutex<()>>,
    /// Calls that lost their instance are repeated one at a time: the one that kills it again kills no other's repetition.
    pub(crate) repeats: AsyncMutex<()>,
}

fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE)
}

impl<E: Start> Slot<E> {
    /// A slot with its first instance.
    pub(crate) fn new(
        opener: Arc<dyn Opener<E>>,
        control: tokio::runtime::Handle,
        first: Arc<Instance<E>>,
    ) -> Arc<Self> {
        let state = State {
            current: Some(first),
            deaths: 0,
            failures: 0,
            failure: None,
            not_before: None,
            retired: None,
        };
        let slot = Arc::new(Self {
            opener,
            control,
            state: Mutex::new(state),
            opening: Arc::default(),
            repeats: AsyncMutex::default(),
        });
        if let Some(first) = slot.current() {
            slot.watch(&first);
        }
        slot
    }

    /// Notices the end of an instance that nobody calls. What it has told the host to be true may no longer be.
    fn watch(self: &Arc<Self>, instance: &Arc<Instance<E>>) {
        let (slot, instance, end) = (Arc::downgrade(self), Arc::downgrade(instance), instance.end());
        self.control.spawn(async move {
            let reason = end.await;
            // One of the two is gone when the mount is.
            if let (Some(slot), Some(instance)) = (slot.upgrade(), instance.upgrade()) {
                slot.lost(&instance, &reason);
            }
        });
    }

    /// Runs something that has to do with the mount and that nobody waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.control.spawn(work);
    }

    /// Name of the plugin.
    pub(crate) fn plugin(&self) -> &str {
        self.opener.plugin()
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance that calls go to, if there is one.
    pub(crate) fn current(&self) -> Option<Arc<Instance<E>>> {
        let current = self.state().current.clone()?;
        match current.reason() {
            None => Some(current),
            Some(reason) => {
                self.lost(&current, &reason);
                None
            }
        }
    }

    /// No call goes to this instance any more. False if none did.
    fn take_out(&self, old: &Arc<Instance<E>>, was_of_use: bool, also: impl FnOnce(&mut State<E>)) -> bool {
        let mut state = self.state();
        if !state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            return false;
        }
        state.current = None;
        also(&mut state);
        Self::count_end(&mut state, was_of_use);
        // Whom it tells may ask this slot something.
        drop(state);
        self.opener.ended();
        true
    }

    fn count_end(state: &mut State<E>, was_of_use: bool) {
        state.deaths = if was_of_use { 1 } else { state.deaths.saturating_add(1) };
        if state.deaths > FREE_DEATHS {
            state.not_before = Some(Instant::now() + pause(state.deaths - FREE_DEATHS - 1));
        }
    }

    /// Whether calls go to this instance.
    pub(crate) fn holds(&self, instance: &Arc<Instance<E>>) -> bool {
        let state = self.state();
        instance.is_alive() && state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, instance))
    }

    /// Takes a dead instance out and decides when there may be another.
    pub(crate) fn lost(&self, dead: &Arc<Instance<E>>, reason: &str) {
        // The first answer was that of `open`.
        if !self.take_out(dead, dead.answered() > 1, |_| {}) {
            return;
        }
        if reason == CLOSED {
            tracing::debug!(target: "plugin", plugin = self.plugin(), "plugin was closed");
        } else {
            tracing::error!(
                target: "plugin",
                plugin = self.plugin(),
                "plugin died and is started again: {reason}. Nothing is to be done, unless it happens again and again: then tell the plugin's author"
            );
        }
    }

    /// The guest asked for a fresh `open`: the next call gets another instance, calls in flight end in this one.
    ///
    /// At most one instance is on its way out: a guest that always asks could else fill the host with them.
    pub(crate) fn retire(&self, old: &Arc<Instance<E>>) {
        // Two answers are those of `open` and of the call that asked.
        self.take_out(old, old.answered() > 2, |state| {
            if let Some(before) = state.retired.replace(old.stopper()) {
                before.abort();
            }
        });
    }

    /// A live instance, opened if there is none.
    ///
    /// # Errors
    /// `timed-out`; the error of `open`, which is repeated without another attempt while it is fresh.
    pub(crate) async fn instance(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Instance<E>>, Error> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let late =
            || Error::timed_out(Blame::Plugin, format_args!("starting plugin {} again", self.plugin()));
        let turn =
            timeout_at(deadline.into(), self.opening.clone().lock_owned()).await.map_err(|_| late())?;
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let (not_before, failure) = {
            let state = self.state();
            (state.not_before.filter(|until| *until > Instant::now()), state.failure.clone())
        };
        if let Some(until) = not_before {
            if let Some(failure) = failure {
                return Err(failure);
            }
            if until >= deadline {
                let text = format!(
                    "plugin {} keeps dying and is not started again before {:?}",
                    self.plugin(),
                    pause_left(until)
                );
                return Err(Error::new(ErrorKind::Unavailable, Blame::Plugin, text));
            }
            sleep_until(until.into()).await;
        }
        // In a task of its own: whoever waits may leave, and the next one finds the instance.
        let slot = self.clone();
        let opened = self.control.spawn(async move {
            let _turn = turn;
            let limit = Instant::now() + slot.opener.limit();
            let opened = slot.opener.open(limit).await;
            if let Ok(instance) = &opened {
                slot.watch(instance);
            }
            let mut state = slot.state();
            match &opened {
                Ok(instance) => {
                    instance.meter.replaced();
                    state.current = Some(instance.clone());
                    (state.failures, state.failure, state.not_before) = (0, None, None);
                }
                Err(error) => {
                    state.not_before = Some(Instant::now() + pause(state.failures));
                    state.failures = state.failures.saturating_add(1);
                    state.failure = Some(error.clone());
                }
            }
            drop(state);
            opened
        });
        match timeout_at(deadline.into(), opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => {
                Err(Error::new(ErrorKind::Interrupted, Blame::Host, "the plugin host is being stopped"))
            }
            Err(_) => Err(late()),
        }
    }
}

fn pause_left(until: Instant) -> Duration {
    Duration::from_millis(
        u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0),
    )
}
