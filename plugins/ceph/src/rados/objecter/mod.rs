//! Requests under way: to which OSD each goes, when it is sent, and when it is sent again.
//!
//! A request belongs to nobody while the map names no OSD for it, and otherwise to one *session*: what is agreed with one OSD. There it is
//! *queued* until it may be sent (the connection stands, the OSD does not ask to hold back, not too much is in flight), and then
//! *sent* until the answer comes. Every new map is held against every request: whoever's answer can no longer be relied on is
//! queued again, with the same transaction id and a higher attempt, so that an OSD recognises a write it has already done.
//!
//! Requests to one object stay in order: transaction ids ascend, and whatever is queued is sent in that order.
//!
//! Like everything here it does no I/O: it is told what happened, and leaves [`Event`]s.

mod maps;
mod operation;
mod replies;
mod session;
mod timing;

use super::error::RadosError;
use super::jitter::Jitter;
use super::request::{OpId, OpReply, OpRequest};
use super::target::{NoTarget, Pause, Placements, Target};
use crate::msgr::Message;
use crate::osd::{Op, flags};
use crate::osdmap::OsdMap;
use crate::payload::Payload;
use crate::time::Now;
use crate::types::{EntityAddr, Epoch};
use operation::{Operation, Place};
use session::Session;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Transaction id: the number of a request on the wire.
type Tid = u64;

/// How often requests that wait are looked at, in milliseconds: whether a newer map would help them.
const TICK_MS: u64 = 5_000;
/// A request that was sent so long ago may have been sent to the wrong OSD.
const LAGGY_MS: u64 = 10_000;
/// Operations of one request at most.
const OPS_MAX: usize = 1024;

/// Limits on what is in flight to one OSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests (`objecter_inflight_ops` of Ceph, which counts them over all OSDs).
    pub requests: usize,
    /// Bytes of objects (`objecter_inflight_op_bytes`). A larger request goes alone.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 1024, bytes: 100 << 20 }
    }
}

/// What is to be done outside.
#[derive(Debug)]
pub(super) enum Event<P> {
    /// Make a connection, and say [`Objecter::ready`] or [`Objecter::lost`].
    Connect {
        /// To this OSD.
        osd: i32,
        /// There.
        address: EntityAddr,
    },
    /// End the connection.
    Disconnect {
        /// To this OSD.
        osd: i32,
    },
    /// Send a message.
    Send {
        /// To this OSD.
        osd: i32,
        /// This one.
        message: Message<P>,
    },
    /// A request has ended.
    Done {
        /// This one.
        op: OpId,
        /// So.
        result: Result<OpReply<P>, RadosError>,
    },
    /// Newer maps would help; 0: any map.
    WantMaps {
        /// Newer than this one.
        after: Epoch,
    },
    /// Ask a monitor which map is the newest, and say [`Objecter::newest`].
    WantNewest,
    /// The cluster has locked this client out.
    Blocklisted {
        /// The address under which it is listed.
        address: String,
    },
}

/// The requests of one client.
pub(super) struct Objecter<P> {
    limits: Limits,
    /// Feature bits that requests announce.
    features: u64,
    map: Option<OsdMap>,
    placements: Placements,
    operations: BTreeMap<Tid, Operation<P>>,
    tids: HashMap<OpId, Tid>,
    deadlines: BTreeSet<(u64, Tid)>,
    /// Requests that an OSD refused for the moment, and when they are tried again.
    delayed: BTreeSet<(u64, Tid)>,
    sessions: BTreeMap<i32, Session>,
    last_tid: Tid,
    last_op: u64,
    /// How the cluster knows this client: one address for each interface it uses.
    own: Vec<EntityAddr>,
    /// The one of them that the map lists as locked out.
    blocklisted: Option<String>,
    /// That was told.
    told_blocklisted: bool,
    /// No request is sent with an older map than this.
    barrier: Epoch,
    /// A monitor was asked for the newest epoch.
    asked_newest: bool,
    /// What is known about why there is no map.
    trouble: Option<String>,
    next_tick: Option<u64>,
    jitter: Jitter,
    events: VecDeque<Event<P>>,
}

impl<P: Payload> Objecter<P> {
    /// Nothing under way, and no map yet.
    pub(super) fn new(limits: Limits, features: u64, seed: u64) -> Self {
        Self {
            limits,
            features,
            map: None,
            placements: Placements::default(),
            operations: BTreeMap::new(),
            tids: HashMap::new(),
            deadlines: BTreeSet::new(),
            delayed: BTreeSet::new(),
            sessions: BTreeMap::new(),
            last_tid: 0,
            last_op: 0,
            own: Vec::new(),
            blocklisted: None,
            told_blocklisted: false,
            barrier: 0,
            asked_newest: false,
            trouble: None,
            next_tick: None,
            jitter: Jitter::new(seed),
            events: VecDeque::new(),
        }
    }

    /// The next thing to do outside.
    pub(super) fn poll_event(&mut self) -> Option<Event<P>> {
        self.events.pop_front()
    }

    /// The newest map.
    pub(super) fn map(&self) -> Option<&OsdMap> {
        self.map.as_ref()
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.operations.len()
    }

    /// What is known about why there is no map, for the sentence of a request that times out; `None`: all is well.
    pub(super) fn set_trouble(&mut self, trouble: Option<String>) {
        self.trouble = trouble;
    }

    /// Takes a request. Its end is an [`Event::Done`].
    pub(super) fn submit(&mut self, request: OpRequest<P>, now: Now) -> OpId {
        self.last_op += 1;
        let id = OpId(self.last_op);
        if let Err(error) = self.admit(&request, now) {
            self.events.push_back(Event::Done { op: id, result: Err(error) });
            return id;
        }
        let operation = Operation::new(id, request);
        self.enter(operation, now);
        self.next_tick.get_or_insert(now.after(TICK_MS));
        id
    }

    /// Whether it makes sense to begin with a request.
    fn admit(&self, request: &OpRequest<P>, now: Now) -> Result<(), RadosError> {
        let too_long = |op: &Op<P>| match op {
            Op::Call { class, method, .. } => class.len().max(method.len()) > usize::from(u8::MAX),
            _ => false,
        };
        if request.ops.is_empty() || request.ops.len() > OPS_MAX || request.ops.iter().any(too_long) {
            return Err(RadosError::Unsupported);
        }
        if request.deadline_ms.is_some_and(|deadline| now.reached(deadline)) {
            return Err(RadosError::TimedOut { waiting: "its deadline was over when it began".into() });
        }
        match &self.blocklisted {
            Some(address) => Err(RadosError::Blocklisted { address: address.clone() }),
            None => Ok(()),
        }
    }

    /// Gives a request the next transaction id and sends it on its way.
    fn enter(&mut self, operation: Operation<P>, now: Now) -> Tid {
        self.last_tid += 1;
        let tid = self.last_tid;
        self.tids.insert(operation.id, tid);
        if let Some(deadline) = operation.request.deadline_ms {
            self.deadlines.insert((deadline, tid));
        }
        self.operations.insert(tid, operation);
        self.aim(tid, now, false);
        tid
    }

    /// Takes a request out, whatever its state.
    fn leave(&mut self, tid: Tid) -> Option<Operation<P>> {
        self.detach(tid);
        let operation = self.operations.remove(&tid)?;
        self.tids.remove(&operation.id);
        if let Some(deadline) = operation.request.deadline_ms {
            self.deadlines.remove(&(deadline, tid));
        }
        if self.operations.is_empty() {
            self.next_tick = None;
        }
        Some(operation)
    }

    /// Ends a request.
    fn finish(&mut self, tid: Tid, result: Result<OpReply<P>, RadosError>) {
        if let Some(operation) = self.leave(tid) {
            self.events.push_back(Event::Done { op: operation.id, result });
        }
    }

    /// Gives a request up; nothing more is said about it.
    pub(super) fn cancel(&mut self, op: OpId, now: Now) {
        let Some(&tid) = self.tids.get(&op) else { return };
        let osd = self.operations.get(&tid).and_then(|operation| operation.place.osd());
        self.leave(tid);
        if let Some(osd) = osd {
            self.pump(osd, now);
        }
    }

    /// Ends all requests with this error.
    pub(super) fn fail_all(&mut self, error: &RadosError) {
        let tids: Vec<Tid> = self.operations.keys().copied().collect();
        for tid in tids {
            self.finish(tid, Err(error.clone()));
        }
    }

    /// Takes a request away from its session, if it has one.
    fn detach(&mut self, tid: Tid) {
        let Some(operation) = self.operations.get_mut(&tid) else { return };
        let place = std::mem::replace(&mut operation.place, Place::Nowhere);
        if let Place::Delayed { until } = place {
            self.delayed.remove(&(until, tid));
        }
        if let Some(session) = place.osd().and_then(|osd| self.sessions.get_mut(&osd)) {
            session.remove(tid, operation.cost);
        }
    }

    /// Holds a request against the map: finds its place, and queues it if it has to be sent; `again`: even if it was sent there.
    fn aim(&mut self, tid: Tid, now: Now, again: bool) {
        let Some(operation) = self.operations.get_mut(&tid) else { return };
        let Some(map) = &self.map else { return self.want_maps() };
        let target = Target::of(
            map,
            &mut self.placements,
            &operation.request,
            operation.flags,
            operation.redirect.as_ref(),
        );
        let target = match target {
            Ok(target) => target,
            Err(NoTarget::PoolFails) => return self.finish(tid, Err(RadosError::Io)),
            Err(NoTarget::PoolMissing { pool }) => return self.pool_missing(tid, pool),
        };
        let pool = map.pool(target.object.pool);
        let same = operation.place.osd().is_some()
            && operation.place.osd() == target.primary
            && operation.target.as_ref().is_some_and(|old| !old.must_resend(&target, pool));
        let barrier = (map.epoch < self.barrier).then_some(Pause::Barrier(self.barrier));
        let (pause, primary) = (target.pause.or(barrier), target.primary);
        operation.target = Some(target);
        if same && !again {
            return;
        }
        self.detach(tid);
        let place = match (pause, primary) {
            (Some(pause), _) => Place::Paused(pause),
            (None, None) => Place::Nowhere,
            (None, Some(osd)) if self.session(osd) => Place::Queued(osd),
            (None, Some(osd)) => Place::NoAddress(osd),
        };
        let queued = place.osd();
        if queued.is_none() {
            self.want_maps();
        }
        if let Some(operation) = self.operations.get_mut(&tid) {
            operation.place = place;
        }
        if let Some(osd) = queued {
            if let Some(session) = self.sessions.get_mut(&osd) {
                session.queued.insert(tid);
            }
            self.pump(osd, now);
        }
    }

    /// A request to a pool that the map does not have. Once a pool was there, its absence is its end; else the map may be too old
    /// to know it.
    fn pool_missing(&mut self, tid: Tid, pool: i64) {
        let Some(operation) = self.operations.get(&tid) else { return };
        if operation.target.is_some() {
            return self.finish(tid, Err(RadosError::PoolNotFound { pool }));
        }
        if matches!(operation.place, Place::PoolMissing { pool: known, .. } if known == pool) {
            return;
        }
        self.detach(tid);
        if let Some(operation) = self.operations.get_mut(&tid) {
            operation.place = Place::PoolMissing { pool, bound: None };
        }
        self.ask_newest();
    }

    fn ask_newest(&mut self) {
        if !self.asked_newest {
            self.asked_newest = true;
            self.events.push_back(Event::WantNewest);
        }
    }

    fn want_maps(&mut self) {
        let after = self.map.as_ref().map_or(0, |map| map.epoch);
        let asked = matches!(self.events.back(), Some(Event::WantMaps { after: last }) if *last == after);
        if !asked {
            self.events.push_back(Event::WantMaps { after });
        }
    }

    /// The flags on the wire of an attempt.
    fn wire_flags(request_flags: u32, attempt: i32, redirected: bool) -> u32 {
        let retry = if attempt > 0 { flags::RETRY } else { 0 };
        let redirected = if redirected { flags::REDIRECTED } else { 0 };
        request_flags | flags::ONDISK | flags::KNOWN_REDIR | retry | redirected
    }
}

#[cfg(test)]
mod tests;
