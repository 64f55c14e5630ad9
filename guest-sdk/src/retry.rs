//! Trying again: exponential waits with jitter, the server's `retry-after`, and a budget of time.
//!
//! Only what is safe is repeated: an error must advise it ([`RetryAdvice::AfterMs`]) *and* have changed nothing
//! ([`Effect::None`]). Everything else, and the last error once attempts or time are used up, goes to the caller.

use crate::bindings::wasmount::plugin::system;
use crate::bindings::wasmount::plugin::types::{Effect, Error, RetryAdvice, Timestamp};
use crate::{Result, time};
use std::future::Future;
use std::time::Duration;

/// How often and how long to try. Waits double from `first_wait` up to `longest_wait`; of each, a random part of up to a half
/// is left out, so that clients which failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most attempts, the first one included.
    pub attempts: u32,
    /// Wait after the first failure, before jitter.
    pub first_wait: Duration,
    /// Longest wait of our own; the server may ask for longer.
    pub longest_wait: Duration,
    /// No attempt starts later than this after the first one. A `retry-after` that goes beyond it ends the attempts at once:
    /// the error then carries it to the host, which may have more time.
    pub budget: Duration,
}

impl Default for Policy {
    /// Four attempts within ten seconds: enough for a lost connection or a short overload. Longer outages are the host's.
    fn default() -> Self {
        Self {
            attempts: 4,
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_secs(2),
            budget: Duration::from_secs(10),
        }
    }
}

/// What trying again depends on: replaced in tests.
pub trait Environment {
    /// Milliseconds on a clock that never goes back.
    fn monotonic_ms(&self) -> u64;
    /// Returns after at least so long.
    fn sleep(&self, wait: Duration) -> impl Future<Output = ()>;
    /// A random number.
    fn random(&self) -> u32;
}

/// The host's clock, sleep and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEnvironment;

impl Environment for HostEnvironment {
    fn monotonic_ms(&self) -> u64 {
        system::monotonic_ms()
    }

    async fn sleep(&self, wait: Duration) {
        system::sleep(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).await;
    }

    fn random(&self) -> u32 {
        system::random(4).iter().fold(0, |number, byte| (number << 8) | u32::from(*byte))
    }
}

/// Calls `attempt` until it succeeds or trying again is pointless, unsafe or too late.
///
/// # Errors
/// The error of the last attempt.
pub async fn retry<T, F>(policy: Policy, attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    retry_in(&HostEnvironment, policy, attempt).await
}

/// As [`retry`], with a clock of your own.
///
/// # Errors
/// The error of the last attempt.
pub async fn retry_in<T, F>(
    environment: &impl Environment,
    policy: Policy,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let started = environment.monotonic_ms();
    let mut failures = 0;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        failures += 1;
        let Some(asked) = safe_wait(&error) else { return Err(error) };
        if failures >= policy.attempts {
            return Err(error);
        }
        let elapsed = Duration::from_millis(environment.monotonic_ms().saturating_sub(started));
        // In addition: whom a server tells the same time would else come back together, and as often as before.
        let wait = asked.saturating_add(backoff(&policy, failures, environment.random()));
        if elapsed.saturating_add(wait) > policy.budget {
            return Err(error);
        }
        environment.sleep(wait).await;
    }
}

/// How long the error asks to wait, `None` if the request must not be repeated.
fn safe_wait(error: &Error) -> Option<Duration> {
    match (&error.effect, &error.retry) {
        (Effect::None, RetryAdvice::AfterMs(wait)) => Some(Duration::from_millis(u64::from(*wait))),
        _ => None,
    }
}

/// The wait after that many failures: between a half and all of the doubled step.
fn backoff(policy: &Policy, failures: u32, random: u32) -> Duration {
    let doubled =
        policy.first_wait.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let step = doubled.min(policy.longest_wait);
    let half = step / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// What a status and its `retry-after` header say about trying again. `now` is asked only for the form with a date.
///
/// 429 and 503 without the header: after a second; 408, 500, 502 and 504: at once (the caller adds its own wait); anything
/// else: never.
pub fn advice(status: u16, retry_after: Option<&str>, now: impl FnOnce() -> Timestamp) -> RetryAdvice {
    let usual = match status {
        429 | 503 => 1000,
        408 | 500 | 502 | 504 => 0,
        _ => return RetryAdvice::Never,
    };
    RetryAdvice::AfterMs(retry_after.and_then(|value| parse_retry_after(value, now)).unwrap_or(usual))
}

/// The milliseconds a `retry-after` value asks for: seconds or an HTTP date (RFC 9110, section 10.2.3).
fn parse_retry_after(value: &str, now: impl FnOnce() -> Timestamp) -> Option<u32> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse::<u64>().unwrap_or(u64::MAX);
        return Some(u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX));
    }
    let seconds = time::parse_http_date(value)?.seconds.saturating_sub(now().seconds).max(0);
    Some(u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
