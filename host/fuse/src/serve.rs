//! Runs one request: deadline, panic, log, answer, report.
//!
//! The future is polled on the thread that read the request and moves to the runtime only if it has to
//! wait ([`task`]). It always runs to its end, even when its caller has got `timed-out` already, because a look-up or an
//! open that succeeds late has to be given back.

use crate::task;
use fuser::{FileHandle, INodeNo, Request};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tracing::Instrument;
use wasmount_core::FileSystem;
use wasmount_core::ports::{Operation, Operations, ServedFrom};
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino, Name, RequestCtx};

/// The file system ends each call by its deadline itself, with a better message; this much later it is
/// overruled.
const GRACE: Duration = Duration::from_millis(500);

/// At most so many warnings about failed requests in one second.
const WARNINGS_PER_SECOND: u64 = 10;

/// What a request asks, for those who want to know.
pub(crate) struct Asked {
    op: &'static str,
    ino: Ino,
    name: Option<Name>,
    fh: Option<Fh>,
    offset: u64,
    size: u32,
}

impl Asked {
    /// A request about a node.
    pub(crate) fn new(op: &'static str, node: INodeNo) -> Self {
        Self { op, ino: Ino(node.0), name: None, fh: None, offset: 0, size: 0 }
    }

    /// With the name it looks for.
    pub(crate) fn named(self, name: Name) -> Self {
        Self { name: Some(name), ..self }
    }

    /// On an open file or directory.
    pub(crate) fn on(self, fh: FileHandle) -> Self {
        Self { fh: Some(Fh(fh.0)), ..self }
    }

    /// For these bytes.
    pub(crate) fn range(self, offset: u64, size: u32) -> Self {
        Self { offset, size, ..self }
    }
}

/// What is known about an answer beside the error.
#[derive(Default)]
pub(crate) struct Given {
    /// Bytes of a file.
    pub(crate) bytes: u64,
    /// Where they came from.
    pub(crate) from: Option<ServedFrom>,
    /// The file is read by the kernel itself.
    pub(crate) passthrough: bool,
}

/// Answers requests.
pub(crate) struct Server {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    timeout: Duration,
}

/// What a request keeps while it runs.
struct Shared {
    fs: Arc<dyn FileSystem>,
    operations: Arc<dyn Operations>,
    warnings: Throttle,
}

impl Server {
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        operations: Arc<dyn Operations>,
        runtime: tokio::runtime::Handle,
        timeout: Duration,
    ) -> Self {
        Self { shared: Arc::new(Shared { fs, operations, warnings: Throttle::new() }), runtime, timeout }
    }

    /// The file system, for what is answered without waiting.
    pub(crate) fn fs(&self) -> &dyn FileSystem {
        &*self.shared.fs
    }

    /// Answers, with `answer`, what needs no waiting, and reports it.
    pub(crate) fn at_once(
        &self,
        asked: Asked,
        request: &Request,
        answer: impl FnOnce(&dyn FileSystem) -> Result<Given, (ErrorKind, Blame)>,
    ) {
        let started = Instant::now();
        let ctx = self.ctx(request, started);
        let (given, error) = match answer(self.fs()) {
            Ok(given) => (given, None),
            Err(error) => (Given::default(), Some(error)),
        };
        self.shared.finished(&asked, ctx, started, error, given);
    }

    /// Runs `call` and hands its result, or why there is none, to `answer`, exactly once and by the deadline.
    ///
    /// `undo` gets a success that came after its caller had been told otherwise.
    pub(crate) fn run<T, F>(
        &self,
        asked: Asked,
        request: &Request,
        call: impl FnOnce(Arc<dyn FileSystem>, RequestCtx) -> F,
        answer: impl FnOnce(&dyn FileSystem, Result<T, Error>) -> Given + Send + 'static,
        undo: impl FnOnce(&dyn FileSystem, T) + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let started = Instant::now();
        let ctx = self.ctx(request, started);
        let overruled = ctx.deadline + GRACE;
        let op = asked.op;
        let span =
            tracing::debug_span!("fuse", op, node = format_args!("{:016x}", asked.ino.0), pid = ctx.pid);
        let shared = self.shared.clone();
        // `timeout_at` inside wants the runtime's timer.
        let _guard = self.runtime.enter();
        let call = call(shared.fs.clone(), ctx);
        let whole = async move {
            let mut call = pin!(call);
            let mut waited = false;
            let guarded = poll_fn(|cx| {
                let polled = poll_caught(op, call.as_mut(), cx);
                waited |= polled.is_pending();
                polled
            });
            let mut guarded = pin!(guarded);
            let outcome = tokio::time::timeout_at(overruled.into(), guarded.as_mut()).await;
            let late = outcome.is_err();
            let result = outcome.unwrap_or_else(|_| Err(Error::timed_out(Blame::Host, op)));
            let failed = result.as_ref().err();
            report(op, started, failed, &shared.warnings);
            let error = failed.map(|error| (error.kind, error.blame));
            let mut given = answer(&*shared.fs, result);
            if late {
                shared.finished(&asked, ctx, started, error, given);
                // Bounded like the request itself; what has not ended by then is given up.
                if let Ok(Ok(late)) = tokio::time::timeout(overruled - started, guarded).await {
                    undo(&*shared.fs, late);
                }
                return;
            }
            // An absence is an answer too. A failed one came from nowhere.
            if given.from.is_none() && error.is_none_or(|(kind, _)| kind == ErrorKind::NotFound) {
                given.from = Some(if waited { ServedFrom::Origin } else { ServedFrom::Memory });
            }
            shared.finished(&asked, ctx, started, error, given);
        };
        task::start(&self.runtime, whole.instrument(span));
    }

    fn ctx(&self, request: &Request, started: Instant) -> RequestCtx {
        RequestCtx {
            deadline: started + self.timeout,
            uid: request.uid(),
            gid: request.gid(),
            pid: request.pid(),
        }
    }
}

impl Shared {
    fn finished(
        &self,
        asked: &Asked,
        ctx: RequestCtx,
        started: Instant,
        error: Option<(ErrorKind, Blame)>,
        given: Given,
    ) {
        self.operations.finished(&Operation {
            op: asked.op,
            ino: asked.ino,
            name: asked.name.as_ref().map(Name::as_bytes),
            fh: asked.fh,
            offset: asked.offset,
            size: asked.size,
            given: given.bytes,
            ctx,
            latency: started.elapsed(),
            error,
            from: given.from,
            passthrough: given.passthrough,
        });
    }
}

/// Polls, and turns a panic into an error: the caller in the kernel has to be answered in any case.
fn poll_caught<T, F: Future<Output = Result<T, Error>>>(
    op: &str,
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Error>> {
    catch_unwind(AssertUnwindSafe(|| future.poll(cx))).unwrap_or_else(|_| {
        let message =
            format!("a fault of wasmount itself stopped {op}; please report it with the panic above");
        Poll::Ready(Err(Error::new(ErrorKind::Other, Blame::Host, message)))
    })
}

fn report(op: &str, started: Instant, error: Option<&Error>, warnings: &Throttle) {
    // The arguments of an event are evaluated only where somebody reads it.
    let micros = || u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let Some(error) = error else {
        tracing::debug!(micros = micros(), "done");
        return;
    };
    tracing::debug!(micros = micros(), kind = ?error.kind, %error, "failed");
    let ordinary = error.blame == Blame::Caller
        || matches!(error.kind, ErrorKind::NotFound | ErrorKind::NoAttribute | ErrorKind::Stale);
    if !ordinary && let Some(dropped) = warnings.admit() {
        tracing::warn!(op, kind = ?error.kind, blame = ?error.blame, dropped, "a request failed: {error}");
    }
}

/// Lets a limited number of events a second through and counts the others.
struct Throttle {
    origin: Instant,
    second: AtomicU64,
    admitted: AtomicU64,
    dropped: AtomicU64,
}

impl Throttle {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            second: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// `Some(dropped since the last one)` if this event may pass. Racing threads may let a few more through.
    fn admit(&self) -> Option<u64> {
        let second = self.origin.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.admitted.store(0, Ordering::Relaxed);
        }
        if self.admitted.fetch_add(1, Ordering::Relaxed) < WARNINGS_PER_SECOND {
            Some(self.dropped.swap(0, Ordering::Relaxed))
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_counts_what_it_drops() {
        let throttle = Throttle::new();
        let passed = (0..100).filter(|_| throttle.admit().is_some()).count() as u64;
        // Two windows if the second turned in the middle.
        assert!(passed == WARNINGS_PER_SECOND || passed == 2 * WARNINGS_PER_SECOND, "{passed}");
        assert!(throttle.dropped.load(Ordering::Relaxed) <= 100 - passed);
    }
}
