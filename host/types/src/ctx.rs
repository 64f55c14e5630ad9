//! What a request carries through the layers.

use std::time::{Duration, Instant};

/// Who asks, and until when an answer is worth having.
///
/// Every request has a deadline: a caller in the kernel cannot be killed before it is answered.
#[derive(Clone, Copy, Debug)]
pub struct RequestCtx {
    /// When the answer must be there.
    pub deadline: Instant,
    /// User of the calling process; 0 for the host's own work.
    pub uid: u32,
    /// Group of the calling process.
    pub gid: u32,
    /// The calling process; 0 when there is none (read-ahead, write-back).
    pub pid: u32,
}

impl RequestCtx {
    /// A request of the host itself: prefetching, probing, opening.
    pub fn internal(deadline: Instant) -> Self {
        Self { deadline, uid: 0, gid: 0, pid: 0 }
    }

    /// Time left; zero when the deadline has passed.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}
