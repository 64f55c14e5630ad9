//! Calls into whichever instance a mount has at the moment.

use super::check::Checker;
use super::exports::Fallible;
use super::{convert, types};
use crate::imports::{Body as Content, LogSink};
use crate::instance::{
    Admitted, CallState, Failure, GuestMemory, GuestState, Instance, Job, Slot, Start, call, invoke,
};
use crate::limits::Limits;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use wasmount_types::{Blame, Error, ErrorKind, Result, Retry};
use wasmtime::component::{Accessor, ComponentNamedList, Lift, Lower, Resource};

/// Times a call is made when the instance dies under it. Reads change nothing, so repeating is safe.
const ATTEMPTS: u32 = 2;

/// Where a call leaves its answer.
pub(super) type Reply<R> = oneshot::Sender<Result<R>>;

/// The plugin of one mount, as a provider calls it. Survives the replacement of its instance.
pub(crate) struct Caller<E: Start> {
    pub(crate) slot: Arc<Slot<E>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) log: Arc<LogSink>,
    pub(crate) memory: Arc<GuestMemory>,
}

impl<E: Start> Caller<E> {
    /// Waits until a read of so many bytes may be asked for.
    pub(super) async fn admit(&self, length: u32, deadline: Instant) -> Result<Admitted> {
        timeout_at(deadline.into(), self.memory.admit(length)).await.map_err(|_| {
            let text = "waiting for memory of plugins to read into; raise --memory";
            Error::timed_out(Blame::Host, text)
        })
    }

    /// Checks what it answers.
    pub(super) fn checker(&self) -> Checker<'_> {
        Checker { limits: &self.limits, log: &self.log }
    }

    /// Makes a call in the current instance; once more in the next one if that dies.
    pub(super) async fn run<R>(
        &self,
        operation: &str,
        deadline: Instant,
        job: impl Fn(Arc<CallState>, Reply<R>) -> Job<E>,
    ) -> Result<R> {
        let anywhere = |_: &Arc<Instance<E>>, state, reply| job(state, reply);
        self.run_where(operation, deadline, anywhere).await.map(|(_, answer)| answer)
    }

    /// Calls one function, whose answer is plain data.
    pub(super) async fn ask<P, R>(
        &self,
        operation: &str,
        deadline: Instant,
        function: fn(&E) -> &Fallible<P, R>,
        question: P,
    ) -> Result<R>
    where
        P: ComponentNamedList + Lower + Clone + Send + Sync + 'static,
        R: Send + Sync + 'static,
        (std::result::Result<R, types::Error>,): ComponentNamedList + Lift,
    {
        self.run(operation, deadline, |state, reply| job(function, question.clone())(state, reply)).await
    }

    /// As [`run`](Self::run); says which instance is asked and has answered, for answers that mean something there only.
    pub(super) async fn run_where<R>(
        &self,
        operation: &str,
        deadline: Instant,
        job: impl Fn(&Arc<Instance<E>>, Arc<CallState>, Reply<R>) -> Job<E>,
    ) -> Result<(Arc<Instance<E>>, R)> {
        let plugin = self.slot.plugin();
        let mut turn = None;
        let mut died = Arc::from("");
        for attempt in 1..=ATTEMPTS {
            let instance = self.slot.instance(deadline).await?;
            let here = |state, reply| job(&instance, state, reply);
            match self.once(&instance, operation, deadline, here).await {
                Ok(answer) => return answer.map(|answer| (instance, answer)),
                Err(reason) => died = reason,
            }
            if attempt < ATTEMPTS {
                let repeats = timeout_at(deadline.into(), self.slot.repeats.lock()).await;
                turn = Some(repeats.map_err(|_| trapped(plugin, &died))?);
            }
        }
        drop(turn);
        Err(trapped(plugin, &died))
    }

    /// Makes a call in one instance, which may be replaced after it. `Err`: it died, and of what.
    pub(super) async fn once<R>(
        &self,
        instance: &Arc<Instance<E>>,
        operation: &str,
        deadline: Instant,
        job: impl FnOnce(Arc<CallState>, Reply<R>) -> Job<E>,
    ) -> std::result::Result<Result<R>, Arc<str>> {
        match call(instance, deadline, job).await {
            Ok(answer) => {
                if answer.is_err() {
                    instance.meter.failed();
                }
                if matches!(&answer, Err(error) if error.retry == Retry::Reopen) {
                    self.slot.retire(instance);
                }
                Ok(answer)
            }
            Err(Failure::TimedOut { waiting }) => {
                let blame = if waiting { Blame::Origin } else { Blame::Plugin };
                let plugin = self.slot.plugin();
                Ok(Err(Error::timed_out(blame, format_args!("{operation} of plugin {plugin}"))))
            }
            Err(Failure::Lost(reason)) => {
                self.slot.lost(instance, &reason);
                Err(reason)
            }
        }
    }
}

fn trapped(plugin: &str, reason: &str) -> Error {
    Error::new(ErrorKind::Other, Blame::Plugin, format!("plugin {plugin} trapped: {reason}"))
}

/// An answer without handles.
pub(super) fn plain<R>(
    acc: &Accessor<GuestState>,
    answer: std::result::Result<R, types::Error>,
) -> Result<R> {
    answer.map_err(|error| acc.with(|mut access| convert::error(error, &access.get().rights.log)))
}

/// A job that calls one function, whose answer is plain data.
pub(super) fn job<E: Start, P, R>(
    function: fn(&E) -> &Fallible<P, R>,
    question: P,
) -> impl FnOnce(Arc<CallState>, Reply<R>) -> Job<E>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Send + Sync + 'static,
    (std::result::Result<R, types::Error>,): ComponentNamedList + Lift,
{
    move |state, reply| {
        Box::new(move |acc, exports| {
            Box::pin(async move {
                if state.start() {
                    let answer = invoke(acc, function(exports), question, &state).await?;
                    let _ = reply.send(plain(acc, answer));
                }
                Ok(())
            })
        })
    }
}

/// Handle, offset and length of a read, as kinds with handles have it.
pub(super) type Range = (u64, u64, u32);

/// A job that reads.
pub(super) fn read_job<E: Start>(
    function: fn(&E) -> &Fallible<Range, Resource<Content>>,
    range: Range,
) -> impl FnOnce(Arc<CallState>, Reply<Content>) -> Job<E> {
    move |state, reply| {
        Box::new(move |acc, exports| {
            Box::pin(async move {
                if state.start() {
                    let answer = invoke(acc, function(exports), range, &state).await?;
                    // Out of the table, whether anybody still waits for it or not.
                    let answer = match answer {
                        Ok(content) => Ok(acc.with(|mut access| access.get().table.delete(content))?),
                        Err(error) => plain(acc, Err(error)),
                    };
                    let _ = reply.send(answer);
                }
                Ok(())
            })
        })
    }
}
