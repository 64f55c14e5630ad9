//! Time and randomness of the host.

use wasmount_ceph::types::UTime;
use wasmount_ceph::{Entropy, Now};
use wasmount_sdk::system;

/// Most that the host gives at a time.
const MOST_RANDOM: usize = 4096;

/// This moment, on both clocks.
pub(crate) fn now() -> Now {
    let wall = system::now();
    let seconds = u32::try_from(wall.seconds).unwrap_or(if wall.seconds < 0 { 0 } else { u32::MAX });
    Now { monotonic_ms: system::monotonic_ms(), wall: UTime { seconds, nanoseconds: wall.nanoseconds } }
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
