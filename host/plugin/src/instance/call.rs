//! One call: the caller's side, with its deadline, and the guest's side.

use super::actor::{Instance, Job, Start};
use super::calls::CallState;
use super::state::GuestState;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, ComponentNamedList, Lift, Lower, TypedFunc};

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The instance died, for this reason.
    Lost(Arc<str>),
    /// The deadline passed.
    TimedOut {
        /// The guest was waiting for an import, not running.
        waiting: bool,
    },
}

/// Gives the call up unless it is disarmed: the caller has left, by its deadline or because it was dropped.
struct GiveUp<'a, E: Start> {
    call: Arc<CallState>,
    instance: &'a Arc<Instance<E>>,
    armed: bool,
}

impl<E: Start> Drop for GiveUp<'_, E> {
    fn drop(&mut self) {
        if !self.armed || self.call.has_ended() {
            return;
        }
        self.call.give_up();
        // Holds the instance only as long as somebody else does, so that closing is not delayed.
        let (call, instance, grace) = (self.call.clone(), Arc::downgrade(self.instance), self.instance.grace);
        self.instance.control.spawn(async move {
            let ended = tokio::time::timeout(grace, call.ended()).await.is_ok();
            if !ended
                && call.is_running()
                && let Some(instance) = instance.upgrade()
            {
                instance.kill("a call did not end after it was given up");
            }
        });
    }
}

/// Makes a call and waits for its answer until `deadline`. Dropping the future gives the call up.
pub(crate) async fn call<E: Start, R>(
    instance: &Arc<Instance<E>>,
    deadline: Instant,
    job: impl FnOnce(Arc<CallState>, oneshot::Sender<R>) -> Job<E>,
) -> Result<R, Failure> {
    instance.meter.call();
    let state = Arc::new(CallState::default());
    let mut guard = GiveUp { call: state.clone(), instance, armed: true };
    let (reply, answer) = oneshot::channel();
    let job = job(state.clone(), reply);
    let work = async {
        // Errors of both mean that the instance is gone.
        instance.jobs.send((job, instance.meter.queued.one())).await.ok()?;
        answer.await.ok()
    };
    match timeout_at(deadline.into(), work).await {
        Ok(Some(answer)) => {
            guard.armed = false;
            instance.count_answer();
            Ok(answer)
        }
        Ok(None) => {
            guard.armed = false;
            instance.meter.failed();
            // The reason is written right after the calls were dropped.
            let reason = tokio::time::timeout(instance.grace, instance.death()).await;
            Err(Failure::Lost(reason.unwrap_or_else(|_| "its task ended".into())))
        }
        Err(_) => {
            instance.meter.failed();
            Err(Failure::TimedOut { waiting: state.is_waiting() })
        }
    }
}

/// Calls an export from within a [`Job`] and waits for its result.
pub(crate) async fn invoke<P, R>(
    acc: &Accessor<GuestState>,
    function: &TypedFunc<P, (R,)>,
    params: P,
    state: &Arc<CallState>,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Send + Sync + 'static,
    (R,): ComponentNamedList + Lift + Send + Sync + 'static,
{
    invoke_all(acc, function, params, state).await.map(|(result,)| result)
}

/// As [`invoke`], with all results: an export that cannot fail has none.
pub(crate) async fn invoke_all<P, R>(
    acc: &Accessor<GuestState>,
    function: &TypedFunc<P, R>,
    params: P,
    state: &Arc<CallState>,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    let (call, task, fuel) = acc.with(|mut access| -> wasmtime::Result<_> {
        let fuel = fuel_left(&mut access);
        let call = function.start_call_concurrent(&mut access, params)?;
        let task = call.task();
        access.get().calls.insert(task, state.clone());
        Ok((call, task, fuel))
    })?;
    let result = function.finish_call_concurrent(acc, call).await;
    state.end();
    acc.with(|mut access| {
        let left = fuel_left(&mut access);
        let guest = access.get();
        guest.calls.remove(task);
        guest.budget.progress();
        if let (Some(before), Some(left), Some(meter)) = (fuel, left, &guest.rights.fuel) {
            meter.set(before.saturating_sub(left));
        }
    });
    result
}

/// Fuel of the Store, where it is counted. Asked only then: an error costs a backtrace.
fn fuel_left(access: &mut wasmtime::component::Access<'_, GuestState>) -> Option<u64> {
    access.get().rights.fuel.as_ref()?;
    access.as_context_mut().get_fuel().ok()
}
