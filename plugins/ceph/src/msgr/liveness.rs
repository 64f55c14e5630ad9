//! Whether the peer is still there.

use super::config::Config;
use super::error::{ConnectionError, Phase};
use super::message::Want;
use crate::time::Now;

/// Bytes that a payload on its way must bring per millisecond not to count as silence: 64 kB/s. The driver says nothing of a payload
/// until all of it is there.
const SLOWEST_BYTES_PER_MS: u64 = 64;

/// When something was heard of the peer, and when it was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Liveness {
    connected_ms: u64,
    heard_ms: u64,
    asked_ms: u64,
}

impl Liveness {
    pub(super) fn begin(now: Now) -> Self {
        let now = now.monotonic_ms;
        Self { connected_ms: now, heard_ms: now, asked_ms: now }
    }

    pub(super) fn heard(&mut self, now: Now) {
        self.heard_ms = self.heard_ms.max(now.monotonic_ms);
    }

    /// When the peer is given up, and by which limit.
    fn end(&self, phase: Phase, config: &Config, want: Option<Want>) -> Option<(u64, u64)> {
        match phase {
            Phase::Idle => None,
            Phase::Ready => config.keepalive.map(|keepalive| {
                let patience = match want {
                    Some(Want::Payload(length)) => u64::from(length) / SLOWEST_BYTES_PER_MS,
                    // While the driver decrypts, nothing is read.
                    None | Some(Want::Bytes(_)) => 0,
                };
                let limit = keepalive.dead_after_ms.saturating_add(patience);
                (self.heard_ms.saturating_add(limit), limit)
            }),
            _ => Some((self.connected_ms.saturating_add(config.handshake_ms), config.handshake_ms)),
        }
    }

    fn next_question(&self, phase: Phase, config: &Config) -> Option<u64> {
        let keepalive = config.keepalive.filter(|_| phase == Phase::Ready)?;
        Some(self.asked_ms.saturating_add(keepalive.every_ms.max(1)))
    }

    pub(super) fn next_timer(&self, phase: Phase, config: &Config, want: Option<Want>) -> Option<u64> {
        let end = self.end(phase, config, want).map(|(at, _)| at);
        [end, self.next_question(phase, config)].into_iter().flatten().min()
    }

    /// Whether it is time to ask.
    pub(super) fn on_timer(
        &mut self,
        now: Now,
        phase: Phase,
        config: &Config,
        want: Option<Want>,
    ) -> Result<bool, ConnectionError> {
        if let Some((at, milliseconds)) = self.end(phase, config, want)
            && now.reached(at)
        {
            return Err(match phase {
                Phase::Ready => ConnectionError::Silent { milliseconds },
                _ => ConnectionError::TimedOut { phase, milliseconds },
            });
        }
        let ask = self.next_question(phase, config).is_some_and(|at| now.reached(at));
        if ask {
            self.asked_ms = now.monotonic_ms;
        }
        Ok(ask)
    }
}
