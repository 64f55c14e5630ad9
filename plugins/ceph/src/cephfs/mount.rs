//! A mounted file system as a whole: cluster, sessions with metadata servers, and the client.

use super::client::{Command, FsClient};
use super::config::FsConfig;
use super::error::FsError;
use super::ids::CallId;
use super::{Done, answer};
use crate::auth::AuthError;
use crate::entropy::Entropy;
use crate::mds::{
    self, Op, Rank, Request, RequestError, RequestId, SessionConfig, SessionEvent, Sessions, Target,
};
use crate::mon::Repeat;
use crate::msgr::{AeadFactory, Message};
use crate::payload::Payload;
use crate::rados::{Action, Cluster, Config, Level, Machine, PeerId, Status};
use crate::time::Now;
use crate::types::entity;
use std::collections::{BTreeMap, VecDeque};

/// A mounted file system, without I/O.
///
/// It is driven as a [`Machine`]. Its user calls functions of [`fs_mut`](Self::fs_mut) and then [`settle`](Machine::settle), and is told what comes of
/// it by [`poll_done`](Machine::poll_done).
pub struct FsMount<P: Payload, F: AeadFactory> {
    cluster: Cluster<P, F>,
    sessions: Sessions<P>,
    fs: FsClient,
    /// Which of the client's requests each request of the sessions is.
    requests: BTreeMap<RequestId, u64>,
    actions: VecDeque<Action<P, F::Aead>>,
}

impl<P: Payload, F: AeadFactory + Clone> FsMount<P, F> {
    /// A mount that begins to look for a monitor. Tickets for metadata servers are asked for whatever `cluster` says of them.
    ///
    /// # Errors
    /// The user's name is not one.
    pub fn new(
        mut cluster: Config,
        sessions: SessionConfig,
        fs: FsConfig,
        ciphers: F,
        entropy: Box<dyn Entropy>,
        now: Now,
    ) -> Result<Self, AuthError> {
        if !cluster.services.contains(&entity::MDS) {
            cluster.services.push(entity::MDS);
        }
        let mut mount = Self {
            cluster: Cluster::new(cluster, ciphers, entropy, now)?,
            sessions: Sessions::new(sessions),
            fs: FsClient::new(fs),
            requests: BTreeMap::new(),
            actions: VecDeque::new(),
        };
        mount.pass_on(now);
        Ok(mount)
    }

    /// The client, to look at.
    #[must_use]
    pub fn fs(&self) -> &FsClient {
        &self.fs
    }

    /// The client, to call. [`Machine::settle`] has to follow.
    pub fn fs_mut(&mut self) -> &mut FsClient {
        &mut self.fs
    }

    /// Sessions with metadata servers, to look at.
    #[must_use]
    pub fn sessions(&self) -> &Sessions<P> {
        &self.sessions
    }

    /// Leaves: metadata servers forget this client at once, and nobody has to wait for it. What is called afterwards is not answered.
    pub fn close(&mut self, now: Now) {
        self.sessions.close(now);
        self.pass_on(now);
    }

    /// Whether all metadata servers have let go after [`close`](Self::close).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.sessions.map().is_some_and(|map| map.active().any(|rank| self.sessions.has_session(rank)))
    }

    fn log(&mut self, level: Level, text: String) {
        self.actions.push_back(Action::Log { level, text });
    }

    /// Passes on what the parts have to say to each other, until they have nothing more to say.
    fn pass_on(&mut self, now: Now) {
        loop {
            // Whatever has arrived is told before anything new is begun.
            if let Some(action) = self.cluster.poll_action() {
                self.take_from_cluster(action, now);
            } else if let Some(event) = self.sessions.poll_event() {
                self.take_from_sessions(event, now);
            } else if let Some(command) = self.fs.poll_command() {
                self.do_for_fs(command, now);
            } else {
                return;
            }
        }
    }

    fn take_from_cluster(&mut self, action: Action<P, F::Aead>, now: Now) {
        match action {
            Action::Delivered(message) => {
                if let Err(error) = self.sessions.delivered(&message, now) {
                    self.log(Level::Warn, format!("a map that cannot be read: {error}"));
                }
            }
            Action::PeerReady { peer, .. } => self.sessions.peer_ready(rank(peer), now),
            Action::PeerReset { peer } => self.sessions.peer_reset(rank(peer), now),
            Action::PeerLost { peer, reason, permanent } => {
                self.sessions.peer_lost(rank(peer), &reason, permanent, now);
            }
            Action::PeerMessage { peer, message } => self.take_from_mds(rank(peer), &message, now),
            Action::Blocklisted { address } => {
                let text = format!(
                    "the cluster has evicted this client ({address}, see `ceph osd blocklist ls`); it goes on as a new one"
                );
                self.log(Level::Warn, text);
                self.sessions.evicted(now);
                self.cluster.rename(now);
            }
            other => self.actions.push_back(other),
        }
    }

    fn take_from_mds(&mut self, from: Rank, message: &Message<P>, now: Now) {
        if let Err(error) = self.sessions.message(from, message, now) {
            self.log(Level::Warn, format!("{from} says something that cannot be understood: {error}"));
        }
    }

    fn take_from_sessions(&mut self, event: SessionEvent<P>, now: Now) {
        match event {
            SessionEvent::Subscribe { what, start, once } => {
                let repeat = if once { Repeat::Once } else { Repeat::Always };
                self.cluster.subscribe(&what, start, repeat, now);
            }
            SessionEvent::Got { what, epoch } => self.cluster.got(&what, epoch),
            SessionEvent::Unsubscribe { what } => self.cluster.unsubscribe(&what),
            SessionEvent::Connect { rank, address, .. } => self.cluster.peer_open(peer(rank), address, now),
            SessionEvent::Disconnect { rank } => self.cluster.peer_close(peer(rank), now),
            SessionEvent::Send { rank, message } => self.cluster.peer_send(peer(rank), message, now),
            SessionEvent::Stale { rank, revoked } => self.fs.suspended(rank, revoked, now),
            SessionEvent::Opened { rank, .. } | SessionEvent::Renewed { rank, .. } => {
                self.fs.resumed(rank, now);
            }
            SessionEvent::Closed { rank, .. } => self.fs.closed(rank, now),
            SessionEvent::WantReconnect { rank } => self.fs.reconnect(rank, now),
            SessionEvent::Recall { rank, max_caps } => self.fs.recall(rank, max_caps, now),
            SessionEvent::Caps { rank, message } => self.fs.caps(rank, &message, now),
            SessionEvent::Lease { rank, message } => self.fs.lease_message(rank, message, now),
            SessionEvent::Snap { message, .. } => self.fs.snapshots(&message),
            SessionEvent::Quota { message, .. } => self.fs.quota(&message),
            SessionEvent::Reply { id, rank, sent_ms, reply } => {
                if let Some(number) = self.requests.remove(&id) {
                    self.fs.replied(number, rank, sent_ms, *reply, now);
                }
            }
            SessionEvent::Failed { id, error } => {
                if let Some(number) = self.requests.remove(&id) {
                    self.fs.failed(number, &error.into(), now);
                }
            }
            SessionEvent::OsdBarrier(epoch) => {
                self.fs.osd_barrier(epoch);
                self.cluster.osd_barrier(epoch, now);
            }
            SessionEvent::Log { level, text } => self.log(level, text),
            // What is held is told when it is told; and a reader has no exclusive rights to lose.
            SessionEvent::Reconnected { .. } | SessionEvent::ReadOnly { .. } => {}
        }
    }

    fn do_for_fs(&mut self, command: Command, now: Now) {
        match command {
            Command::Open { rank } => self.sessions.open(rank, now),
            Command::Request { number, op, path, path2, rank } => {
                let want_dentry = matches!(op, Op::Lookup { .. });
                // Whoever does not serve it sends it on to who does.
                let target = rank.map_or(Target::Random, Target::Any);
                let request = Request { path2, target, want_dentry, ..Request::new(op, path) };
                let id = self.sessions.request(request, now);
                self.requests.insert(id, number);
            }
            Command::Caps { rank, message } => self.sessions.send(rank, message.into_message()),
            Command::Release { rank, release } => self.sessions.send(rank, release.into_message()),
            Command::Lease { rank, message } => self.sessions.send(rank, message.into_message()),
            Command::Reconnect { rank, caps, realms } => self.sessions.reconnect(rank, caps, realms, now),
        }
    }
}

/// The connection to a rank. There is one at a time.
fn peer(rank: Rank) -> PeerId {
    PeerId(u64::from(rank.0.unsigned_abs()))
}

/// The rank at the other end of a connection.
fn rank(peer: PeerId) -> Rank {
    Rank(i32::try_from(peer.0).unwrap_or(i32::MAX))
}

impl From<RequestError> for FsError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TimedOut { waiting } => Self::TimedOut(waiting),
            RequestError::Malformed(error) => Self::Malformed(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl<P: Payload, F: AeadFactory + Clone + 'static> Machine for FsMount<P, F> {
    type Payload = P;
    type Ciphers = F;
    type Done = Done;

    fn cluster(&self) -> &Cluster<P, F> {
        &self.cluster
    }

    fn cluster_mut(&mut self) -> &mut Cluster<P, F> {
        &mut self.cluster
    }

    fn settle(&mut self, now: Now) {
        self.pass_on(now);
    }

    fn poll_action(&mut self) -> Option<Action<P, F::Aead>> {
        self.actions.pop_front()
    }

    fn poll_done(&mut self) -> Option<Done> {
        self.fs.poll_done()
    }

    fn answers(done: &Done) -> Option<u64> {
        match done {
            answer::Done::Call { id, .. } => Some(id.0),
            answer::Done::Invalidate { .. } | answer::Done::Shrink { .. } => None,
        }
    }

    fn waits_for(&self, call: u64) -> Option<String> {
        let waits_for = self.fs.waits_for(CallId(call))?;
        Some(match self.sessions.status() {
            mds::Status::Ready => waits_for,
            mds::Status::Waiting(why) | mds::Status::Refused(why) => format!("{waits_for} ({why})"),
        })
    }

    fn give_up(&mut self, call: u64, now: Now) {
        self.fs.give_up(CallId(call), now);
        self.pass_on(now);
    }

    fn status(&self) -> Status {
        match (self.cluster.status(), self.sessions.status()) {
            (Status::Ready, mds::Status::Ready) => Status::Ready,
            (Status::Ready, mds::Status::Waiting(why)) => Status::Connecting(Some(why)),
            (Status::Ready, mds::Status::Refused(why)) => Status::Failed(why),
            (other, _) => other,
        }
    }

    fn next_timer(&self) -> Option<u64> {
        let timers = [self.cluster.next_timer(), self.sessions.next_timer(), self.fs.next_timer()];
        timers.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Now) {
        self.cluster.on_time(now);
        self.sessions.on_time(now);
        self.fs.on_time(now);
        self.pass_on(now);
    }
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
