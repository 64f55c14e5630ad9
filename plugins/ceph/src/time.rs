//! Time, which a driver tells.

use crate::types::UTime;

/// A moment, on both clocks. A driver reads them together and passes them along with what happened.
///
/// Timers of this crate are absolute numbers on the monotonic clock; the wall clock is only for what peers compare with theirs:
/// validity of tickets and times inside messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since any fixed moment; never goes back.
    pub monotonic_ms: u64,
    /// The time of day.
    pub wall: UTime,
}

impl Now {
    /// The timer that fires so many milliseconds from now.
    #[must_use]
    pub fn after(self, milliseconds: u64) -> u64 {
        self.monotonic_ms.saturating_add(milliseconds)
    }

    /// Whether the moment of a timer has come.
    #[must_use]
    pub fn reached(self, timer: u64) -> bool {
        self.monotonic_ms >= timer
    }
}
