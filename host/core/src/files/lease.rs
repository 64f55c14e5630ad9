//! How long an answer may be believed.

use crate::ports::{Clock, Coherence, Validity};
use std::time::{Duration, Instant};

/// Longest time the kernel is given for attributes that hold until the store says otherwise: it can be told of each node by itself.
pub(super) const ATTRIBUTES_TTL: Duration = Duration::from_secs(3600);

/// Longest time the kernel is given for names that hold until the store says otherwise. It can only be told to look up all
/// names again, and what it need not be told any more costs nobody anything.
pub(super) const NAMES_TTL: Duration = Duration::from_secs(60);

/// How long the kernel may go on with what it was given beyond the time it was given: it counts from when it takes the answer.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// Until when something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Until then, or until the store says otherwise.
    Time(Instant),
    /// Until the store says otherwise.
    Told,
}

impl Until {
    /// An answer to a question that was sent at `asked`; `None`: nobody may keep it.
    pub(super) fn new(ms: u32, asked: Instant, coherence: Coherence) -> Option<Self> {
        match (ms, coherence) {
            (0, _) => None,
            (Validity::FOREVER, Coherence::Pushed) => Some(Self::Told),
            (ms, _) => Some(Self::Time(asked + Duration::from_millis(ms.into()))),
        }
    }

    /// What is left of it for the kernel, which gets at most `most`; zero: nothing.
    pub(super) fn left(self, clock: &dyn Clock, most: Duration) -> Duration {
        match self {
            Self::Time(until) => until.saturating_duration_since(clock.now()).min(most),
            Self::Told => most,
        }
    }

    /// Whether it still holds.
    pub(super) fn holds(self, clock: &dyn Clock) -> bool {
        match self {
            Self::Time(until) => clock.now() < until,
            Self::Told => true,
        }
    }
}

/// Until when the kernel may believe what it was given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given(Option<Instant>);

impl Given {
    /// It is given something for so long.
    pub(super) fn give(&mut self, clock: &dyn Clock, ttl: Duration) {
        if !ttl.is_zero() {
            self.0 = self.0.max(Some(clock.now() + ttl + SLACK));
        }
    }

    /// Whether it may believe any of it at the moment; from now on it does not.
    pub(super) fn take(&mut self, clock: &dyn Clock) -> bool {
        self.0.take().is_some_and(|until| clock.now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::SystemClock;

    #[test]
    fn forever_is_only_for_those_who_are_told() {
        let (clock, now) = (SystemClock, SystemClock.now());
        assert_eq!(Until::new(0, now, Coherence::Pushed), None);
        assert_eq!(Until::new(Validity::FOREVER, now, Coherence::Pushed), Some(Until::Told));
        let timed = Until::new(Validity::FOREVER, now, Coherence::Timed).unwrap();
        assert!(matches!(timed, Until::Time(_)) && timed.holds(&clock));
        assert!(!Until::new(1, now - Duration::from_secs(1), Coherence::Pushed).unwrap().holds(&clock));
        assert_eq!(Until::Told.left(&clock, NAMES_TTL), NAMES_TTL);
        let mut given = Given::default();
        given.give(&clock, Duration::ZERO);
        assert!(!given.take(&clock));
        given.give(&clock, NAMES_TTL);
        assert!(given.take(&clock) && !given.take(&clock));
    }
}
