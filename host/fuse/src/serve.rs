//! Runs one request: deadline, panic, log, answer.
//!
//! The future is polled once on the thread that read the request and moves to the runtime only if it has to
//! wait. It always runs to its end, even when its caller has got `timed-out` already, because a look-up or an
//! open that succeeds late has to be given back.

use fuser::Request;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tracing::Instrument;
use wasmount_core::FileSystem;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// The file system ends each call by its deadline itself, with a better message; this much later it is
/// overruled.
const GRACE: Duration = Duration::from_millis(500);

/// At most so many warnings about failed requests in one second.
const WARNINGS_PER_SECOND: u64 = 10;

/// What every request needs.
pub(crate) struct Server {
    fs: Arc<dyn FileSystem>,
    runtime: tokio::runtime::Handle,
    timeout: Duration,
    warnings: Arc<Throttle>,
}

impl Server {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, runtime: tokio::runtime::Handle, timeout: Duration) -> Self {
        Self { fs, runtime, timeout, warnings: Arc::new(Throttle::new()) }
    }

    /// The file system, for what is answered without waiting.
    pub(crate) fn fs(&self) -> &dyn FileSystem {
        &*self.fs
    }

    /// Runs `call` and hands its result, or why there is none, to `answer`, exactly once and by the deadline.
    ///
    /// `undo` gets a success that came after its caller had been told otherwise.
    pub(crate) fn run<T, F>(
        &self,
        op: &'static str,
        request: &Request,
        node: u64,
        call: impl FnOnce(Arc<dyn FileSystem>, RequestCtx) -> F,
        answer: impl FnOnce(&dyn FileSystem, Result<T, Error>) + Send + 'static,
        undo: impl FnOnce(&dyn FileSystem, T) + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let ctx = RequestCtx { deadline, uid: request.uid(), gid: request.gid(), pid: request.pid() };
        let span = tracing::debug_span!("fuse", op, node = format_args!("{node:016x}"), pid = ctx.pid);
        let warnings = self.warnings.clone();
        let fs = self.fs.clone();
        // `timeout_at` inside wants the runtime's timer.
        let _guard = self.runtime.enter();
        let call = call(fs.clone(), ctx);
        let whole = async move {
            let mut call = pin!(call);
            let guarded = poll_fn(|cx| poll_caught(op, call.as_mut(), cx));
            let mut guarded = pin!(guarded);
            match tokio::time::timeout_at((deadline + GRACE).into(), guarded.as_mut()).await {
                Ok(result) => {
                    report(op, started, result.as_ref().err(), &warnings);
                    answer(&*fs, result);
                }
                Err(_) => {
                    let error = Error::timed_out(Blame::Host, op);
                    report(op, started, Some(&error), &warnings);
                    answer(&*fs, Err(error));
                    // Bounded like the request itself; what has not ended by then is given up.
                    let rest = (deadline + GRACE) - started;
                    if let Ok(Ok(late)) = tokio::time::timeout(rest, guarded).await {
                        undo(&*fs, late);
                    }
                }
            }
        };
        let mut whole = Box::pin(whole.instrument(span));
        // No wake-up is lost: a spawned future is polled at once, with a waker of its own.
        if whole.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.runtime.spawn(whole);
        }
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
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let Some(error) = error else {
        tracing::debug!(micros, "done");
        return;
    };
    tracing::debug!(micros, kind = ?error.kind, %error, "failed");
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
