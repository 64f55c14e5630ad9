//! What happens because time passes.

use super::session::State;
use super::{SessionEvent, Sessions};
use crate::mds::{Rank, SessionMessage, SessionOp};
use crate::payload::Payload;
use crate::time::Now;

/// Used before there is a map that tells it, in seconds (`mds_session_timeout`).
const DEFAULT_TIMEOUT: u32 = 60;
/// No file system has a longer one.
const TIMEOUT_MAX: u32 = 86_400;
/// Renewals are sent this many times within the time that one lasts.
const RENEWALS: u64 = 3;

impl<P: Payload> Sessions<P> {
    /// For how long a renewal lasts.
    pub(super) fn lifetime_ms(&self) -> u64 {
        let seconds = self.map.as_ref().map_or(DEFAULT_TIMEOUT, |map| map.session_timeout);
        u64::from(seconds.clamp(RENEWALS as u32, TIMEOUT_MAX)) * 1000
    }

    /// When [`on_time`](Self::on_time) wants to be called, on the monotonic clock.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter_map(|session| match session.state {
            State::Open if !session.stale => Some(session.renew_at.min(session.valid_until)),
            State::Open => Some(session.renew_at),
            State::Orphaned | State::Reconnecting { .. } if !session.stale => Some(session.valid_until),
            State::Opening { asked: Some(asked) } => Some(asked.saturating_add(self.config.open_again_ms)),
            _ => None,
        });
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        sessions.chain(deadline).chain(self.next_attempt()).min()
    }

    /// When a session may be opened that was not to be opened before.
    fn next_attempt(&self) -> Option<u64> {
        let refused = self.refused.as_ref().map(|(_, until)| *until);
        let pauses = self.pauses.values().map(|(at, _)| *at);
        pauses.chain(refused).filter(|at| *at > 0).min()
    }

    /// Pauses that are over.
    fn attempt_again(&mut self, now: Now) {
        let pauses = self.pauses.values_mut().map(|(at, _)| at);
        for at in pauses.chain(self.refused.as_mut().map(|(_, until)| until)) {
            if now.reached(*at) {
                *at = 0;
            }
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Now) {
        let ranks: Vec<Rank> = self.sessions.keys().copied().collect();
        for rank in ranks {
            self.session_time(rank, now);
        }
        self.attempt_again(now);
        while let Some(&(at, tid)) = self.deadlines.first() {
            if !now.reached(at) {
                break;
            }
            self.deadlines.remove(&(at, tid));
            self.timed_out(tid, now);
        }
        self.kick(now);
    }

    fn session_time(&mut self, rank: Rank, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        if session.holds() && !session.stale && now.reached(session.valid_until) {
            session.stale = true;
            self.events.push_back(SessionEvent::Stale { rank, revoked: false });
        }
        match session.state {
            State::Open if now.reached(session.renew_at) => self.renew(rank, now),
            State::Opening { asked: Some(asked) }
                if session.ready && now.reached(asked.saturating_add(self.config.open_again_ms)) =>
            {
                self.ask_to_open(rank, now);
            }
            State::Opening { asked: Some(_) } if !session.ready => {
                // The connection will be made again, and the request is still on its way.
                session.state = State::Opening { asked: Some(now.monotonic_ms) };
            }
            _ => {}
        }
    }

    /// Tells an MDS that this client is still here.
    pub(super) fn renew(&mut self, rank: Rank, now: Now) {
        let interval = self.lifetime_ms() / RENEWALS;
        let oldest = self.oldest_tid();
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        session.renewal = session.renewal.wrapping_add(1).max(1);
        session.renewal_sent = now.monotonic_ms;
        session.renew_at = now.after(interval);
        let mut message = SessionMessage::new(SessionOp::RequestRenewCaps, session.renewal);
        message.oldest_client_tid = oldest;
        self.events.push_back(SessionEvent::Send { rank, message: message.into_message() });
    }
}
