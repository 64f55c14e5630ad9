//! What is agreed with one OSD.

use super::operation::{Operation, Place};
use super::{Event, Limits, Objecter, Tid};
use crate::msgr::Message;
use crate::osd::{Backoff, Request, kind};
use crate::payload::Payload;
use crate::rados::error::RadosError;
use crate::time::Now;
use crate::types::EntityAddr;
use std::collections::BTreeSet;

/// Backoffs that one OSD may have at once. Each stands for a placement group or a part of one; none has so many.
const BACKOFFS_MAX: usize = 4096;
/// Priority of requests (`osd_client_op_priority` of Ceph).
const PRIORITY: u16 = 63;

/// A session.
pub(super) struct Session {
    osd: i32,
    pub(super) address: EntityAddr,
    link: Link,
    /// Failed connections since the last answer.
    failures: u32,
    /// Why the last one failed.
    reason: String,
    /// Requests to send, in this order.
    pub(super) queued: BTreeSet<Tid>,
    /// Requests that the OSD has.
    pub(super) sent: BTreeSet<Tid>,
    /// What the sent ones count for.
    in_flight: u64,
    backoffs: Vec<Backoff>,
}

/// The connection of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// There is none, and none is wanted.
    None,
    /// One is being made.
    Connecting,
    /// It stands.
    Ready,
    /// One will be made then.
    Waiting(u64),
}

impl Session {
    pub(super) fn new(osd: i32, address: EntityAddr) -> Self {
        Self {
            osd,
            address,
            link: Link::None,
            failures: 0,
            reason: String::new(),
            queued: BTreeSet::new(),
            sent: BTreeSet::new(),
            in_flight: 0,
            backoffs: Vec::new(),
        }
    }

    /// When to connect again.
    pub(super) fn retry_at(&self) -> Option<u64> {
        match self.link {
            Link::Waiting(at) => Some(at),
            Link::None | Link::Connecting | Link::Ready => None,
        }
    }

    /// Its address, for people.
    pub(super) fn place(&self) -> String {
        self.address.socket.map_or_else(|| "an unknown address".into(), |socket| socket.to_string())
    }

    /// An answer came: the connection is good.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// Takes a request out.
    pub(super) fn remove(&mut self, tid: Tid, cost: u64) {
        self.queued.remove(&tid);
        if self.sent.remove(&tid) {
            self.in_flight = self.in_flight.saturating_sub(cost);
        }
    }

    /// Whether one more such request may be in flight.
    fn has_room(&self, limits: &Limits, cost: u64) -> bool {
        let bytes = self.in_flight.saturating_add(cost);
        self.sent.is_empty() || (self.sent.len() < limits.requests && bytes <= limits.bytes)
    }

    /// Whether the OSD asks to hold this request back.
    fn backs_off<P>(&self, operation: &Operation<P>) -> bool {
        let Some(target) = &operation.target else { return false };
        self.backoffs.iter().any(|backoff| backoff.pg == target.pg && backoff.covers(&target.object))
    }

    /// Why a queued request is not sent, in words.
    pub(super) fn holds_up<P>(&self, operation: &Operation<P>) -> String {
        let (osd, place) = (self.osd, self.place());
        if self.link != Link::Ready {
            let reason = if self.reason.is_empty() { "not connected yet" } else { &self.reason };
            return format!("osd.{osd} at {place} cannot be reached: {reason}");
        }
        match &operation.target {
            Some(target) if self.backs_off(operation) => {
                format!("osd.{osd} holds requests to placement group {} back until it is active", target.pg)
            }
            _ => format!("too many requests to osd.{osd} are under way"),
        }
    }
}

impl<P: Payload> Objecter<P> {
    /// Sees to a session with this OSD; `false` if the map has no address for it that can be used.
    pub(super) fn session(&mut self, osd: i32) -> bool {
        if self.sessions.contains_key(&osd) {
            return true;
        }
        let addresses = self.map.as_ref().and_then(|map| map.addrs(osd));
        let Some(address) = addresses.and_then(crate::types::AddrVec::msgr2) else { return false };
        self.sessions.insert(osd, Session::new(osd, address));
        true
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, osd: i32) {
        let Some(session) = self.sessions.get_mut(&osd) else { return };
        if session.queued.is_empty() {
            // Nobody is waiting for it any more.
            self.sessions.remove(&osd);
            return;
        }
        session.link = Link::Connecting;
        self.events.push_back(Event::Connect { osd, address: session.address });
    }

    /// The connection to an OSD stands.
    pub(in crate::rados) fn ready(&mut self, osd: i32, now: Now) {
        let Some(session) = self.sessions.get_mut(&osd) else { return };
        session.link = Link::Ready;
        session.reason.clear();
        self.pump(osd, now);
    }

    /// An OSD does not let the user in: no request to it can succeed.
    pub(in crate::rados) fn denied(&mut self, osd: i32) {
        let Some(session) = self.sessions.get(&osd) else { return };
        for tid in session.queued.union(&session.sent).copied().collect::<Vec<_>>() {
            self.finish(tid, Err(RadosError::Denied));
        }
    }

    /// The connection to an OSD has failed. What it had is sent again over the next one.
    pub(in crate::rados) fn lost(&mut self, osd: i32, reason: &str, now: Now) {
        let Some(session) = self.sessions.get_mut(&osd) else { return };
        let sent = std::mem::take(&mut session.sent);
        session.in_flight = 0;
        session.backoffs.clear();
        session.failures = session.failures.saturating_add(1);
        reason.clone_into(&mut session.reason);
        for tid in sent {
            if let Some(operation) = self.operations.get_mut(&tid) {
                operation.place = Place::Queued(osd);
                session.queued.insert(tid);
            }
        }
        if session.queued.is_empty() {
            // An OSD closes idle connections. The next request makes a new one.
            self.sessions.remove(&osd);
            return;
        }
        session.link = Link::Waiting(now.after(self.jitter.pause(session.failures)));
        self.want_maps();
    }

    /// Sends what may be sent.
    pub(super) fn pump(&mut self, osd: i32, now: Now) {
        let Some(session) = self.sessions.get_mut(&osd) else { return };
        if session.link == Link::None && !session.queued.is_empty() {
            return self.connect(osd);
        }
        if session.link != Link::Ready {
            return;
        }
        let mut going = Vec::new();
        for &tid in &session.queued {
            let Some(operation) = self.operations.get(&tid) else { continue };
            if session.backs_off(operation) {
                continue;
            }
            if !session.has_room(&self.limits, operation.cost) {
                break;
            }
            session.sent.insert(tid);
            session.in_flight = session.in_flight.saturating_add(operation.cost);
            going.push(tid);
        }
        for tid in &going {
            session.queued.remove(tid);
        }
        for tid in going {
            if let Some(message) = self.message(tid, osd, now) {
                self.events.push_back(Event::Send { osd, message });
            }
        }
    }

    /// The message of the next attempt.
    fn message(&mut self, tid: Tid, osd: i32, now: Now) -> Option<Message<P>> {
        let epoch = self.map.as_ref()?.epoch;
        let operation = self.operations.get_mut(&tid)?;
        let target = operation.target.as_ref()?;
        let attempt = operation.attempts;
        operation.attempts = attempt.saturating_add(1);
        operation.place = Place::Sent { osd, since: now.monotonic_ms };
        let request = Request {
            pg: target.pg,
            object: &target.object,
            epoch,
            flags: Self::wire_flags(operation.flags, attempt, operation.redirect.is_some()),
            attempt,
            mtime: operation.request.mutation.mtime,
            snap_context: &operation.request.mutation.snap_context,
            features: self.features,
            ops: &operation.request.ops,
        };
        let (front, data) = request.encode();
        let mut message = Message::new(kind::OSD_OP, Request::<P>::VERSION, Request::<P>::COMPAT, front);
        message.tid = tid;
        message.priority = PRIORITY;
        message.data = data;
        Some(message)
    }

    /// An OSD asks to hold back, or to go on.
    pub(super) fn block(&mut self, osd: i32, backoff: Backoff) -> bool {
        let Some(session) = self.sessions.get_mut(&osd) else { return true };
        session.backoffs.retain(|known| known.id != backoff.id);
        if session.backoffs.len() >= BACKOFFS_MAX {
            return false;
        }
        session.backoffs.push(backoff);
        // The OSD has dropped what it had of the range.
        for tid in std::mem::take(&mut session.sent) {
            let Some(operation) = self.operations.get_mut(&tid) else { continue };
            if session.backs_off(operation) {
                operation.place = Place::Queued(osd);
                session.queued.insert(tid);
                session.in_flight = session.in_flight.saturating_sub(operation.cost);
            } else {
                session.sent.insert(tid);
            }
        }
        true
    }

    /// An OSD takes a backoff back.
    pub(super) fn unblock(&mut self, osd: i32, id: u64, now: Now) {
        if let Some(session) = self.sessions.get_mut(&osd) {
            session.backoffs.retain(|known| known.id != id);
        }
        self.pump(osd, now);
    }
}
