//! When temporary credentials are fetched again: a state without clock and network.
//!
//! They are renewed in good time before they expire, at a moment that is not the same for all mounts. Until that has succeeded the old ones
//! are used, as long as they are valid; attempts that fail are made ever more rarely. Only when there are no valid ones does a request wait.

use super::issued::{Fetched, Issued};
use std::rc::Rc;
use wasmount_sdk::{Error, ErrorKind, Result, RetryAdvice};

/// Longest time before the end at which renewal begins. A service that is down for less is not noticed.
const MARGIN_S: i64 = 15 * 60;
/// Credentials are not used in their last seconds: a request has to arrive before the end.
const LEEWAY_S: i64 = 10;
/// Wait after the first failure, and the longest one.
const FIRST_WAIT_MS: u64 = 1000;
const LONGEST_WAIT_MS: u64 = 60 * 1000;
/// A store that refuses credentials newer than this has another reason than their age, and fetching others at once would not help.
const YOUNG_MS: u64 = 10 * 1000;
/// The same where it is only possible that the credentials were refused: some stores answer `HEAD` with 403 for what is not there.
const YOUNG_IF_UNCERTAIN_MS: u64 = 5 * 60 * 1000;

/// A point in time, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970: what expiry is told in.
    pub unix: i64,
    /// Milliseconds on a clock that never goes back: for waits.
    pub monotonic_ms: u64,
}

/// What the end of a fetch means for somebody who reads the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing new.
    None,
    /// The first failure after a success, while the old credentials hold: the sentence.
    Failing(String),
    /// It works again.
    Recovered,
}

/// The credentials of a mount, and what is being done about them.
#[derive(Debug, Default)]
pub struct Rotation {
    current: Option<Rc<Issued>>,
    /// When to renew the current ones, in seconds since 1970; `None`: not before they are refused.
    renew_at: Option<i64>,
    fetching: bool,
    /// No attempt before this, after failures.
    not_before_ms: u64,
    failures: u32,
    last_error: Option<Error>,
    /// When a fetch last succeeded.
    fetched_ms: Option<u64>,
    generations: u64,
}

impl Rotation {
    /// The credentials that a request may be signed with now.
    pub fn usable(&self, now: Moment) -> Option<Rc<Issued>> {
        let fresh =
            |issued: &&Rc<Issued>| issued.expires.is_none_or(|end| end.saturating_sub(LEEWAY_S) > now.unix);
        self.current.as_ref().filter(fresh).cloned()
    }

    /// Whether a fetch should begin now.
    pub fn is_due(&self, now: Moment) -> bool {
        let wanted = self.usable(now).is_none() || self.renew_at.is_some_and(|at| now.unix >= at);
        wanted && !self.fetching && now.monotonic_ms >= self.not_before_ms
    }

    /// Whether one is under way.
    pub fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Whether to fetch although the current ones are valid by the clock, because the store has refused them, or may have (`certain`).
    ///
    /// # Errors
    /// The last failure, if it is too early for another attempt.
    pub fn may_replace(&self, now: Moment, certain: bool) -> Result<bool> {
        if self.failures > 0 && now.monotonic_ms < self.not_before_ms {
            return Err(self.unavailable(now));
        }
        let limit = if certain { YOUNG_MS } else { YOUNG_IF_UNCERTAIN_MS };
        let young = |at: u64| now.monotonic_ms.saturating_sub(at) < limit;
        Ok(!self.fetching && !self.fetched_ms.is_some_and(young))
    }

    /// A fetch begins.
    pub fn begin(&mut self) {
        self.fetching = true;
    }

    /// A fetch has ended. `random` spreads what many mounts do at the same time.
    pub fn end(&mut self, outcome: Result<Fetched>, now: Moment, random: u32) -> Note {
        self.fetching = false;
        let outcome = outcome.and_then(|fetched| match fetched.expires {
            Some(end) if end.saturating_sub(LEEWAY_S) <= now.unix => Err(Error::unauthenticated(
                "the temporary credentials that were issued have expired already: set the clock of this machine",
            )),
            _ => Ok(fetched),
        });
        match outcome {
            Ok(fetched) => self.succeeded(fetched, now, random),
            // The host gave the call up that the fetch was made for: that says nothing about the service.
            Err(error) if error.kind == ErrorKind::Interrupted => {
                self.last_error = Some(error);
                Note::None
            }
            Err(error) => self.failed(error, now, random),
        }
    }

    fn succeeded(&mut self, fetched: Fetched, now: Moment, random: u32) -> Note {
        let recovered = self.failures > 0;
        self.failures = 0;
        self.not_before_ms = 0;
        self.last_error = None;
        self.fetched_ms = Some(now.monotonic_ms);
        self.renew_at = fetched.expires.map(|end| {
            let lifetime = end.saturating_sub(now.unix);
            end.saturating_sub(scaled(MARGIN_S.min(lifetime / 3), random))
        });
        match &self.current {
            // Metadata services answer the same until shortly before the end.
            Some(current) if current.is_same(&fetched) && current.expires == fetched.expires => {}
            _ => {
                self.generations += 1;
                self.current = Some(Rc::new(Issued::new(fetched, self.generations)));
            }
        }
        if recovered { Note::Recovered } else { Note::None }
    }

    fn failed(&mut self, error: Error, now: Moment, random: u32) -> Note {
        let asked = match error.retry {
            RetryAdvice::AfterMs(wait) => u64::from(wait),
            RetryAdvice::Never | RetryAdvice::Reopen => 0,
        };
        let doubled = FIRST_WAIT_MS.saturating_mul(1_u64.checked_shl(self.failures).unwrap_or(u64::MAX));
        let step = i64::try_from(doubled.max(asked).min(LONGEST_WAIT_MS)).unwrap_or(i64::MAX);
        let wait = u64::try_from(scaled(step, random)).unwrap_or(LONGEST_WAIT_MS);
        self.not_before_ms = now.monotonic_ms.saturating_add(wait);
        self.failures = self.failures.saturating_add(1);
        let note = match self.usable(now) {
            Some(_) if self.failures == 1 => Note::Failing(format!(
                "temporary credentials could not be renewed, and are tried again while the old ones hold: {}",
                error.message
            )),
            _ => Note::None,
        };
        self.last_error = Some(error);
        note
    }

    /// Why there are no credentials, for a request that needs them.
    pub fn unavailable(&self, now: Moment) -> Error {
        let error = match &self.last_error {
            Some(error) => error.clone(),
            None => Error::unavailable("no temporary credentials yet"),
        };
        match error.retry {
            RetryAdvice::AfterMs(_) => {
                let wait = self.not_before_ms.saturating_sub(now.monotonic_ms);
                error.retry_after_ms(u32::try_from(wait).unwrap_or(u32::MAX))
            }
            RetryAdvice::Never | RetryAdvice::Reopen => error,
        }
    }
}

/// Two thirds to all of a number of at most some minutes in milliseconds.
fn scaled(most: i64, random: u32) -> i64 {
    let third = most / 3;
    most - third + third * i64::from(random) / i64::from(u32::MAX)
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
