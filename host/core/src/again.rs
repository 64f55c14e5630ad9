//! Trying again what a store advises to try again.

use crate::ports::Clock;
use crate::wait::{bounded, jittered};
use std::time::Duration;
use wasmount_types::{Error, ErrorKind, RequestCtx, Retry};

/// Longest pause between two attempts, whatever a store asks for.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// Attempts at a question, and the first pause between them.
const QUESTION: (u32, Duration) = (3, Duration::from_millis(100));

/// How often something was tried, and how often it may be. Providers repeat requests themselves, for some seconds; this goes on where they end.
///
/// Whoever asks for fewer requests works, so that is no failed attempt: it is waited for as long as there is time, longer and longer.
pub(crate) struct Attempts {
    most: u32,
    first_pause: Duration,
    failures: u32,
    throttled: u32,
}

impl Attempts {
    /// At most so many in a row.
    pub(crate) fn new(most: u32, first_pause: Duration) -> Self {
        Self { most, first_pause, failures: 0, throttled: 0 }
    }

    /// The last attempt got somewhere before it failed.
    pub(crate) fn progressed(&mut self) {
        (self.failures, self.throttled) = (0, 0);
    }

    /// An attempt has failed. After which pause the next one is due; `None`: there is to be none within the time that is left.
    pub(crate) fn failed(&mut self, error: &Error, left: Duration) -> Option<Duration> {
        let Retry::AfterMs(asked) = error.retry else { return None };
        if error.kind == ErrorKind::Throttled {
            self.throttled += 1;
        } else {
            self.failures += 1;
        }
        if error.kind == ErrorKind::Stale || self.failures >= self.most {
            return None;
        }
        let doublings = (self.failures + self.throttled).saturating_sub(1).min(8);
        let own = jittered(self.first_pause.saturating_mul(1 << doublings));
        let pause = own.saturating_add(Duration::from_millis(asked.into())).min(MAX_PAUSE);
        (pause < left).then_some(pause)
    }
}

/// Asks a store until it answers, as long as it advises to ask again and the deadline of `ctx` allows.
///
/// # Errors
/// What the store said last; `timed-out`.
pub(crate) async fn asked<T, F>(
    clock: &dyn Clock,
    ctx: RequestCtx,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut attempts = Attempts::new(QUESTION.0, QUESTION.1);
    loop {
        let error = match bounded(clock, ctx, what, ask()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(pause) = attempts.failed(&error, ctx.remaining(clock.now())) else { return Err(error) };
        tracing::debug!(what, %error, "the store is asked again");
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_types::Blame;

    fn error(kind: ErrorKind, retry: Retry) -> Error {
        Error::new(kind, Blame::Origin, "no").with_retry(retry)
    }

    #[test]
    fn failures_are_counted_and_whoever_is_busy_is_waited_for_longer_and_longer() {
        let hour = Duration::from_secs(3600);
        let first = Duration::from_millis(100);
        let mut attempts = Attempts::new(3, first);
        let down = error(ErrorKind::Unavailable, Retry::AfterMs(0));
        let pauses = [(); 4].map(|()| attempts.failed(&down, hour));
        assert!(pauses[0].unwrap() <= first && pauses[1].unwrap() >= first);
        assert_eq!(&pauses[2..], [None, None]);
        attempts.progressed();
        assert!(attempts.failed(&down, hour).is_some());

        let mut attempts = Attempts::new(3, first);
        let busy = error(ErrorKind::Throttled, Retry::AfterMs(1000));
        let pauses = [(); 30].map(|()| attempts.failed(&busy, hour).unwrap());
        assert!(pauses[0] > Duration::from_secs(1) && pauses[6] > Duration::from_secs(3));
        assert!(pauses.iter().all(|pause| *pause <= MAX_PAUSE));
    }

    #[test]
    fn nothing_is_tried_that_is_not_advised_or_comes_too_late() {
        let mut attempts = Attempts::new(3, Duration::from_millis(100));
        let left = Duration::from_secs(5);
        for hopeless in [
            error(ErrorKind::NotFound, Retry::Never),
            error(ErrorKind::Unavailable, Retry::Reopen),
            error(ErrorKind::Stale, Retry::AfterMs(0)),
            error(ErrorKind::Throttled, Retry::AfterMs(6000)),
        ] {
            assert_eq!(attempts.failed(&hopeless, left), None, "{hopeless:?}");
        }
    }
}
