//! Sessions that are wanted, and when they can be had.

use super::session::Session;
use super::{CloseReason, SessionEvent, Sessions};
use crate::mds::{Gid, MdsMap, MdsState, Rank};
use crate::payload::Payload;
use crate::time::Now;
use std::ops::Range;

/// Ranks that a cluster can have (`MAX_MDS`). No others are remembered, whatever an MDS says.
const RANKS: Range<i32> = 0..0x100;

impl<P: Payload> Sessions<P> {
    /// Asks for a session with a rank, because a capability moves there. If none can be asked for now, that is done as soon as it can: the rank
    /// says what it takes back only in a session.
    pub fn open(&mut self, rank: Rank, now: Now) {
        if self.closing || !RANKS.contains(&rank.0) {
            return;
        }
        if self.sessions.get(&rank).is_none_or(|session| !session.holds()) {
            self.wanted.insert(rank);
        }
        self.begin(rank, now);
    }

    /// Asks for a session with a rank, if there is none and one may be asked for now.
    pub(super) fn begin(&mut self, rank: Rank, now: Now) {
        if self.closing || self.sessions.contains_key(&rank) || !self.may_open(rank, now) {
            return;
        }
        let Some(daemon) = self.map.as_ref().and_then(|map| map.daemon(rank)) else { return };
        // Before it is active, it would keep a request for a session back; those that are stopping drop it.
        if daemon.state != MdsState::ACTIVE {
            return;
        }
        self.sessions.insert(rank, Session::new(daemon.gid, now));
        self.link(rank);
    }

    /// Whether a session may be asked for now.
    pub(super) fn may_open(&self, rank: Rank, now: Now) -> bool {
        let refused = self.refused.as_ref().is_some_and(|(_, until)| !now.reached(*until));
        !refused && self.pauses.get(&rank).is_none_or(|(at, _)| now.reached(*at))
    }

    /// A session is not wanted any more. What was to be held in it must not count in a later one.
    pub(super) fn want_no_more(&mut self, rank: Rank, reason: CloseReason, why: &str) {
        if self.wanted.remove(&rank) && !self.sessions.contains_key(&rank) {
            self.events.push_back(SessionEvent::Closed { rank, reason, why: why.to_owned() });
        }
    }

    /// A new map has come: a daemon that is gone had given what was to be held in a session with it, and its successor knows nothing of that.
    pub(super) fn forget_replaced(&mut self, before: Option<&MdsMap>) {
        let gid = |map: Option<&MdsMap>, rank| -> Option<Gid> { Some(map?.daemon(rank)?.gid) };
        for rank in self.wanted.clone() {
            let was = gid(before, rank);
            if was.is_some() && was != gid(self.map.as_ref(), rank) {
                self.want_no_more(rank, CloseReason::Lost, &format!("{rank} is down"));
            }
        }
    }
}
