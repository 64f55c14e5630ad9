//! Sessions with the MDSs of one file system, and the requests in them.
//!
//! [`Sessions`] is told what the monitors and the MDSs say and how connections to them fare, and leaves [`SessionEvent`]s: what is to be sent
//! to whom, and what came of requests. What capabilities mean is for the one who reads the events; here they are letters to be delivered in
//! order.
//!
//! A session belongs to a *rank*, and outlives the daemon that has it: when another daemon takes the rank over and asks in state
//! `up:reconnect`, the client tells what it holds and goes on. If it misses that, the session is [closed](SessionEvent::Closed) and everything
//! in it void. Requests survive both: they are sent again, unless they had been answered.
//!
//! - `maps`: which daemon has which rank. `incoming`: what an MDS says. `requests`: what is asked of which rank. `timing`: renewals and
//!   deadlines. `wanted`: sessions that cannot be had yet.
//!
//! Behaviour follows `client/Client.cc` and `mds/Server.cc` of Ceph, and `fs/ceph/mds_client.c` of Linux.

mod config;
mod event;
mod incoming;
mod maps;
mod requests;
mod session;
mod timing;
mod wanted;

pub use config::SessionConfig;
pub use event::{CloseReason, Request, RequestError, RequestId, SessionEvent, Status, Target};

use super::{
    FeatureSet, FileSystemId, MdsMap, MdsState, Rank, ReconnectCap, ReconnectMessage, ReconnectRealm,
};
use super::{SessionMessage, SessionOp, feature};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::rados::Level;
use crate::time::Now;
use crate::types::Epoch;
use requests::Pending;
use session::{Session, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many capabilities one message of a reconnect tells, if the MDS takes several.
const CAPS_PER_RECONNECT: usize = 32_768;
/// Why nothing more is asked.
const LEAVING: &str = "the client is leaving";

/// Sessions with the MDSs of one file system, and the requests in them.
///
/// It is told what monitors and MDSs say and how connections to them fare, and leaves [`SessionEvent`]s, which have to be heeded in order after
/// each call; [`on_time`](Self::on_time) is to be called at [`next_timer`](Self::next_timer).
pub struct Sessions<P> {
    config: SessionConfig,
    /// What this client can do.
    features: FeatureSet,
    /// The last map of file systems.
    fs_epoch: Option<Epoch>,
    /// The file system, once it is found.
    fs: Option<FileSystemId>,
    /// Why there is none.
    no_fs: Option<String>,
    map: Option<MdsMap>,
    sessions: BTreeMap<Rank, Session>,
    /// Ranks to which capabilities move, and whose session is not open yet. What they have given without one counts for nothing.
    wanted: BTreeSet<Rank>,
    /// Ranks whose session has ended: when it may be opened again (0: that has come), and how long the next pause is.
    pauses: BTreeMap<Rank, (u64, u64)>,
    /// An MDS refuses this client: why, and until when nobody is asked again (0: that has come).
    refused: Option<(String, u64)>,
    requests: BTreeMap<u64, Pending>,
    /// Those that wait for a session.
    waiting: BTreeSet<u64>,
    /// Those that were sent and that nobody waits for any more, oldest first.
    abandoned: VecDeque<u64>,
    deadlines: BTreeSet<(u64, u64)>,
    last_tid: u64,
    osd_barrier: Epoch,
    /// The client is leaving.
    closing: bool,
    events: VecDeque<SessionEvent<P>>,
}

impl<P: Payload> Sessions<P> {
    /// No sessions yet. It begins to ask for maps.
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        let mut sessions = Self {
            config,
            features: FeatureSet::supported(),
            fs_epoch: None,
            fs: None,
            no_fs: None,
            map: None,
            sessions: BTreeMap::new(),
            wanted: BTreeSet::new(),
            pauses: BTreeMap::new(),
            refused: None,
            requests: BTreeMap::new(),
            waiting: BTreeSet::new(),
            abandoned: VecDeque::new(),
            deadlines: BTreeSet::new(),
            last_tid: 0,
            osd_barrier: 0,
            closing: false,
            events: VecDeque::new(),
        };
        sessions.events.push_back(SessionEvent::Subscribe {
            what: maps::FS_MAP.to_owned(),
            start: 0,
            once: false,
        });
        sessions
    }

    /// What is to be done next, or has happened.
    pub fn poll_event(&mut self) -> Option<SessionEvent<P>> {
        self.events.pop_front()
    }

    /// The newest map of the file system; `None` until the first one is there.
    #[must_use]
    pub fn map(&self) -> Option<&MdsMap> {
        self.map.as_ref()
    }

    /// The newest map of OSDs that an MDS has named as the oldest to be used. What is given back (`MClientCapRelease`) names it too.
    #[must_use]
    pub fn osd_barrier(&self) -> Epoch {
        self.osd_barrier
    }

    /// Whether what the client has of this rank counts at this moment.
    #[must_use]
    pub fn is_valid(&self, rank: Rank, now: Now) -> bool {
        self.sessions.get(&rank).is_some_and(|s| s.holds() && !s.stale && !now.reached(s.valid_until))
    }

    /// Whether there is a session with a rank, whatever its state.
    #[must_use]
    pub fn has_session(&self, rank: Rank) -> bool {
        self.sessions.contains_key(&rank)
    }

    /// What the MDS of a rank can do; `None`: there is no session.
    #[must_use]
    pub fn features(&self, rank: Rank) -> Option<&FeatureSet> {
        self.sessions.get(&rank).map(|session| &session.features)
    }

    /// Requests that wait for a session or an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests.len() - self.abandoned.len()
    }

    /// Whether the file system can be used.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.sessions.keys().any(|rank| self.is_usable(*rank)) {
            return Status::Ready;
        }
        if let Some(why) = self.no_fs.as_ref().or(self.refused.as_ref().map(|(why, _)| why)) {
            return Status::Refused(why.clone());
        }
        Status::Waiting(self.what_is_missing())
    }

    /// What is in the way of a session.
    fn what_is_missing(&self) -> String {
        let Some(map) = &self.map else {
            return "no map of the file system has come yet".to_owned();
        };
        if !map.enabled {
            return "the file system does not exist any more".to_owned();
        }
        if map.active().next().is_none() {
            return map.trouble();
        }
        for (rank, session) in &self.sessions {
            if let Some(trouble) = &session.trouble {
                return format!("no connection to {rank}: {trouble}");
            }
        }
        match self.sessions.iter().next() {
            Some((rank, session)) => match session.state {
                State::Opening { asked: None } => format!("no connection to {rank} yet"),
                State::Opening { .. } => format!("{rank} has not opened the session yet"),
                _ => map.trouble(),
            },
            None => "the session with the MDS has ended and is opened again in a moment".to_owned(),
        }
    }

    /// The connection to a rank stands.
    pub fn peer_ready(&mut self, rank: Rank, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        session.ready = true;
        session.trouble = None;
        match session.state {
            State::Opening { asked: None } => self.ask_to_open(rank, now),
            State::Reconnecting { told: false } => {
                self.events.push_back(SessionEvent::WantReconnect { rank });
            }
            _ => {}
        }
    }

    /// The MDS of a rank has forgotten the connection and all that was said on it.
    pub fn peer_reset(&mut self, rank: Rank, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        match session.state {
            State::Opening { .. } | State::Reconnecting { told: true } => {
                self.end(rank, CloseReason::Lost, format!("{rank} has dropped it"), now);
            }
            State::Reconnecting { told: false } => {
                self.unlink(rank);
                self.link(rank);
            }
            // An MDS ends a connection for good when it throws its client out.
            State::Open => {
                let why = format!("{rank} has thrown this client out, or was restarted");
                self.end(rank, CloseReason::Evicted, why, now);
            }
            State::Closing => self.end(rank, CloseReason::Bye, format!("{rank} is done with it"), now),
            State::Orphaned => {}
        }
    }

    /// The connection to a rank cannot be made, or has ended. If this is not `permanent`, whoever has it goes on trying.
    pub fn peer_lost(&mut self, rank: Rank, reason: &str, permanent: bool, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        session.ready = false;
        session.trouble = Some(reason.to_owned());
        if permanent {
            let why = format!("{rank} does not accept this client: {reason}");
            self.refuse(why.clone(), now);
            self.end(rank, CloseReason::Refused, why, now);
        }
    }

    /// This client is in the blocklist of the OSD map: all its sessions are void. It has got another identity, or will have it before the next
    /// event is heeded: new sessions are opened at once.
    pub fn evicted(&mut self, now: Now) {
        self.end_all(CloseReason::Evicted, "the cluster has blocklisted this client", now);
        self.pauses.clear();
        self.kick(now);
    }

    /// Sends a message about capabilities. It is dropped if there is no session: then what it is about is void.
    pub fn send(&mut self, rank: Rank, message: Message<P>) {
        if self.sessions.get(&rank).is_some_and(Session::speaks) {
            self.events.push_back(SessionEvent::Send { rank, message });
        }
    }

    /// The answer to [`SessionEvent::WantReconnect`]: all that the client holds of this rank.
    pub fn reconnect(&mut self, rank: Rank, caps: Vec<ReconnectCap>, realms: Vec<ReconnectRealm>, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        if session.state != (State::Reconnecting { told: false }) || !session.ready {
            return;
        }
        session.state = State::Reconnecting { told: true };
        session.seq = 0;
        let several = session.features.has(feature::MULTI_RECONNECT);
        // The MDS must know of changes that it had answered and not written before it hears what the client holds.
        self.replay(rank, now);
        let mut rest = caps;
        let mut realms = Some(realms);
        loop {
            let keep = if several { CAPS_PER_RECONNECT } else { rest.len() };
            let later = rest.split_off(keep.min(rest.len()));
            let more = !later.is_empty();
            let message = ReconnectMessage { caps: rest, realms: realms.take().unwrap_or_default(), more };
            self.events.push_back(SessionEvent::Send { rank, message: message.into_message() });
            if !more {
                break;
            }
            rest = later;
        }
    }

    /// Leaves: closes all sessions. Capabilities must be given back before. Each session says [`SessionEvent::Closed`] when its MDS has let go.
    pub fn close(&mut self, now: Now) {
        self.closing = true;
        self.wanted.clear();
        self.fail_waiting(&RequestError::Refused(LEAVING.to_owned()));
        let ranks: Vec<Rank> = self.sessions.keys().copied().collect();
        for rank in ranks {
            let Some(session) = self.sessions.get_mut(&rank) else { continue };
            if session.state == State::Open {
                session.state = State::Closing;
                let message = SessionMessage::new(SessionOp::RequestClose, session.seq);
                self.events.push_back(SessionEvent::Send { rank, message: message.into_message() });
            } else {
                self.end(rank, CloseReason::Bye, LEAVING.to_owned(), now);
            }
        }
    }

    /// Whether requests can be sent to a rank.
    fn is_usable(&self, rank: Rank) -> bool {
        let open = self.sessions.get(&rank).is_some_and(|session| session.state == State::Open);
        open && self.serves(rank)
    }

    /// Whether a rank answers requests.
    fn serves(&self, rank: Rank) -> bool {
        let state = self.map.as_ref().and_then(|map| map.state(rank));
        matches!(state, Some(MdsState::ACTIVE | MdsState::STOPPING))
    }

    /// Whether a rank gives sessions.
    fn is_active(&self, rank: Rank) -> bool {
        self.map.as_ref().and_then(|map| map.state(rank)) == Some(MdsState::ACTIVE)
    }

    /// Makes a connection to the daemon of a session.
    fn link(&mut self, rank: Rank) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        let daemon = self.map.as_ref().and_then(|map| map.daemons.get(&session.gid));
        match daemon.and_then(super::MdsInfo::address) {
            Some(address) => {
                (session.linked, session.ready, session.trouble) = (true, false, None);
                self.events.push_back(SessionEvent::Connect { rank, gid: session.gid, address });
            }
            None => session.trouble = Some("it has no address where msgr2 is spoken".to_owned()),
        }
    }

    /// Ends the connection of a session.
    fn unlink(&mut self, rank: Rank) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        session.ready = false;
        if std::mem::take(&mut session.linked) {
            self.events.push_back(SessionEvent::Disconnect { rank });
        }
    }

    fn ask_to_open(&mut self, rank: Rank, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        session.state = State::Opening { asked: Some(now.monotonic_ms) };
        let mut message = SessionMessage::new(SessionOp::RequestOpen, 0);
        let own = [
            ("hostname", &self.config.hostname),
            ("entity_id", &self.config.entity_id),
            ("root", &self.config.root),
        ];
        for (key, value) in self.config.metadata.iter().map(|(k, v)| (k.as_str(), v)).chain(own) {
            message.metadata.insert(key.to_owned(), value.clone().into_bytes());
        }
        message.features = self.features.clone();
        self.events.push_back(SessionEvent::Send { rank, message: message.into_message() });
    }

    /// A session is over, or does not come about: its requests wait for the next one.
    fn end(&mut self, rank: Rank, reason: CloseReason, why: String, now: Now) {
        self.unlink(rank);
        let Some(session) = self.sessions.remove(&rank) else { return };
        self.pause(rank, &session, now);
        if session.holds() {
            let level = match reason {
                // When the client leaves that is what it asked for.
                _ if self.closing => Level::Debug,
                // A rank that is done with has handed over what it had.
                CloseReason::Bye => Level::Info,
                _ => Level::Warn,
            };
            self.log(level, format!("the session with {rank} has ended: {why}"));
        }
        self.events.push_back(SessionEvent::Closed { rank, reason, why });
        if reason != CloseReason::Lost {
            self.wanted.remove(&rank);
        }
        self.take_back(rank);
        self.kick(now);
    }

    /// All sessions are over, and nothing counts that was given for those to come.
    fn end_all(&mut self, reason: CloseReason, why: &str, now: Now) {
        for rank in self.wanted.clone() {
            self.want_no_more(rank, reason, why);
        }
        let ranks: Vec<Rank> = self.sessions.keys().copied().collect();
        for rank in ranks {
            self.end(rank, reason, why.to_owned(), now);
        }
    }

    /// When the session with a rank may be opened again: at once if the last one was a good one.
    fn pause(&mut self, rank: Rank, session: &Session, now: Now) {
        let lasted = now.reached(session.since.saturating_add(self.config.pause_max_ms * 2));
        let known = self.pauses.get(&rank).map(|(_, next)| *next);
        let pause = match known {
            _ if lasted && session.state == State::Open => 0,
            Some(next) => next,
            None => self.config.pause_ms,
        };
        let next = pause.max(self.config.pause_ms / 2).saturating_mul(2).min(self.config.pause_max_ms);
        self.pauses.insert(rank, (now.after(pause), next));
    }

    /// No session can be had; requests that wait fail.
    fn refuse(&mut self, why: String, now: Now) {
        self.refused = Some((why.clone(), now.after(self.config.refused_ms)));
        self.fail_waiting(&RequestError::Refused(why));
    }

    fn log(&mut self, level: Level, text: String) {
        self.events.push_back(SessionEvent::Log { level, text });
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
