//! Time and randomness of the host.

use std::cell::Cell;
use wasmount_ceph::types::UTime;
use wasmount_ceph::{Entropy, Now};
use wasmount_sdk::system;

/// In a second.
const NANOSECONDS: u128 = 1_000_000_000;
/// Most that the host gives at a time.
const MOST_RANDOM: usize = 4096;

/// The wall clock is looked at again after so many milliseconds: whoever sets it is believed by then.
const LOOK_AGAIN_MS: u64 = 10_000;

thread_local! {
    /// What the wall clock said, in nanoseconds, and the monotonic clock at that moment.
    static LOOKED: Cell<Option<(u64, u128)>> = const { Cell::new(None) };
}

/// This moment, on both clocks. Asks the host for one of them only: every question costs, and this one is asked several times for
/// each request.
pub(crate) fn now() -> Now {
    let monotonic_ms = system::monotonic_ms();
    let (at_ms, nanoseconds) = match LOOKED.get() {
        Some(looked) if monotonic_ms.saturating_sub(looked.0) < LOOK_AGAIN_MS => looked,
        _ => {
            let looked = (monotonic_ms, wall());
            LOOKED.set(Some(looked));
            looked
        }
    };
    let since_ms = u128::from(monotonic_ms.saturating_sub(at_ms));
    Now { monotonic_ms, wall: utime(nanoseconds + since_ms * 1_000_000) }
}

/// Nanoseconds since 1970.
fn wall() -> u128 {
    let wall = system::now();
    u128::try_from(wall.seconds).unwrap_or(0) * NANOSECONDS + u128::from(wall.nanoseconds)
}

fn utime(nanoseconds: u128) -> UTime {
    UTime {
        seconds: u32::try_from(nanoseconds / NANOSECONDS).unwrap_or(u32::MAX),
        // Always less than a second.
        nanoseconds: u32::try_from(nanoseconds % NANOSECONDS).unwrap_or(0),
    }
}

/// The host's randomness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(MOST_RANDOM) {
            let length = u32::try_from(chunk.len()).unwrap_or(0);
            chunk.copy_from_slice(&system::random(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_carried() {
        assert_eq!(utime(1_999_999_999 + 1), UTime { seconds: 2, nanoseconds: 0 });
        assert_eq!(utime(u128::MAX).seconds, u32::MAX);
    }
}
