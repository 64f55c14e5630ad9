//! Waiting, with a bound.

use crate::ports::Clock;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use wasmount_types::{Blame, Error, RequestCtx};

/// What `work` says, or `timed-out` at the deadline of `ctx`.
///
/// Providers promise to end by themselves; this is for those that do not.
pub(crate) async fn bounded<T>(
    clock: &dyn Clock,
    ctx: RequestCtx,
    what: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ctx.remaining(clock.now()), work).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Error::timed_out(Blame::Origin, what)),
    }
}

/// Between half of `pause` and all of it, so that many waiters do not come back at the same moment.
pub(crate) fn jittered(pause: Duration) -> Duration {
    // Each `RandomState` has keys of its own: random enough to spread retries, and no dependency.
    let random = RandomState::new().build_hasher().finish();
    let half = pause / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_half_and_all() {
        let pause = Duration::from_millis(100);
        let pauses = (0..100).map(|_| jittered(pause)).collect::<Vec<_>>();
        assert!(pauses.iter().all(|p| (pause / 2..=pause).contains(p)));
        assert!(pauses.iter().any(|p| *p != pauses[0]));
    }
}
