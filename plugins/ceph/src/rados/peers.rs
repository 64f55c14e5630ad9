//! Peers whose sessions outlive their connections: metadata servers.
//!
//! A *peer* is a metadata server as one incarnation of its process has it. Its session, with cookies, numbers and messages that were not
//! acknowledged, is in a [`Connection`], which lies in a link while there is a transport, and rests here while there is none.
//! A transport that breaks is replaced until the peer is closed.

use super::action::Action;
use super::cluster::Cluster;
use super::jitter::Jitter;
use super::links::{Daemon, LinkAuthenticator};
use crate::auth::AuthError;
use crate::mon::LinkFailure;
use crate::msgr::{AeadFactory, Connection, Message};
use crate::payload::Payload;
use crate::time::Now;
use crate::types::{EntityAddr, entity};
use std::collections::BTreeMap;

/// Number of a peer, chosen by whoever opens it: one for each rank, for instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// Tickets that a peer refuses in succession before that is not taken for an old ticket any more: the first new one may have been made
/// with keys that it does not have yet.
const REFUSALS_MAX: u32 = 3;

/// A session without a transport.
type Resting<P, F> = Box<Connection<P, LinkAuthenticator, F>>;

struct Peer<P, F: AeadFactory> {
    address: EntityAddr,
    place: Place<P, F>,
    /// A session had begun.
    begun: bool,
    /// It has forgotten the session; that is told when the next one begins.
    forgotten: bool,
    /// Failed connections since its last message.
    failures: u32,
    /// Tickets or users refused in succession.
    refusals: u32,
    /// Why the last connection failed, as far as that was told.
    told: Option<String>,
}

/// Where the session is.
enum Place<P, F: AeadFactory> {
    /// In the link.
    Link,
    /// Here, until this moment of the monotonic clock.
    Until(u64, Resting<P, F>),
    /// Here, until there is a ticket.
    WithoutTicket(Resting<P, F>),
    /// Here, for good.
    Refused(Resting<P, F>),
}

impl<P: Payload, F: AeadFactory> Place<P, F> {
    fn resting(&mut self) -> Option<&mut Resting<P, F>> {
        match self {
            Self::Link => None,
            Self::Until(_, resting) | Self::WithoutTicket(resting) | Self::Refused(resting) => Some(resting),
        }
    }

    /// Takes the session out, for a link.
    fn take(&mut self) -> Option<Resting<P, F>> {
        match std::mem::replace(self, Self::Link) {
            Self::Link => None,
            Self::Until(_, resting) | Self::WithoutTicket(resting) | Self::Refused(resting) => Some(resting),
        }
    }
}

/// All peers of a client.
pub(super) struct Peers<P, F: AeadFactory> {
    peers: BTreeMap<PeerId, Peer<P, F>>,
    jitter: Jitter,
}

impl<P: Payload, F: AeadFactory> Peers<P, F> {
    pub(super) fn new(seed: u64) -> Self {
        Self { peers: BTreeMap::new(), jitter: Jitter::new(seed) }
    }

    /// A peer says that it does not know the session.
    pub(super) fn forgotten(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forgotten = true;
        }
    }

    /// When the next connection is to be made.
    pub(super) fn next_timer(&self) -> Option<u64> {
        let at = |peer: &Peer<P, F>| match peer.place {
            Place::Until(at, _) => Some(at),
            Place::Link | Place::WithoutTicket(_) | Place::Refused(_) => None,
        };
        self.peers.values().filter_map(at).min()
    }

    /// Those to connect to now.
    pub(super) fn due(&self, now: Now) -> Vec<PeerId> {
        self.of(|place| matches!(place, Place::Until(at, _) if now.reached(*at)))
    }

    /// Those that wait for a ticket.
    pub(super) fn without_ticket(&self) -> Vec<PeerId> {
        self.of(|place| matches!(place, Place::WithoutTicket(_)))
    }

    fn of(&self, which: impl Fn(&Place<P, F>) -> bool) -> Vec<PeerId> {
        self.peers.iter().filter(|(_, peer)| which(&peer.place)).map(|(&id, _)| id).collect()
    }
}

impl<P: Payload, F: AeadFactory + Clone> Cluster<P, F> {
    /// Begins a session with a metadata server, and keeps it until [`peer_close`](Self::peer_close). If the peer is open, it is closed before.
    pub fn peer_open(&mut self, id: PeerId, address: EntityAddr, now: Now) {
        self.peer_end(id);
        let connection = Box::new(self.connection(Daemon::Peer(id), address));
        let peer = Peer {
            address,
            place: Place::Until(now.monotonic_ms, connection),
            begun: false,
            forgotten: false,
            failures: 0,
            refusals: 0,
            told: None,
        };
        self.peers.peers.insert(id, peer);
        self.peer_connect(id, now);
        self.settle(now);
    }

    /// Sends a message to a peer: now, or when it can be reached again. Messages to peers that are not open are dropped.
    pub fn peer_send(&mut self, id: PeerId, message: Message<P>, now: Now) {
        let Some(peer) = self.peers.peers.get_mut(&id) else { return };
        match peer.place.resting() {
            Some(resting) => resting.send(message),
            None => self.send(Daemon::Peer(id), message),
        }
        self.settle(now);
    }

    /// Ends a session. The peer is not told; what it had not received is lost.
    pub fn peer_close(&mut self, id: PeerId, now: Now) {
        self.peer_end(id);
        self.settle(now);
    }

    fn peer_end(&mut self, id: PeerId) {
        self.peers.peers.remove(&id);
        self.close(Daemon::Peer(id));
    }

    /// Makes a transport for a session that rests.
    pub(super) fn peer_connect(&mut self, id: PeerId, now: Now) {
        let has_ticket = self.cephx.has_ticket(entity::MDS, now);
        let Some(peer) = self.peers.peers.get_mut(&id) else { return };
        let Some(socket) = peer.address.socket else {
            let reason = "it has no address at which msgr2 is spoken".to_owned();
            return self.peer_refused(id, reason);
        };
        let Some(resting) = peer.place.take() else { return };
        if !has_ticket {
            peer.place = Place::WithoutTicket(resting);
            return;
        }
        self.dial(Daemon::Peer(id), *resting, socket.ip().to_string(), socket.port(), now);
    }

    /// Messages flow.
    pub(super) fn peer_ready(&mut self, id: PeerId, resumed: bool, features: u64) {
        let Some(peer) = self.peers.peers.get_mut(&id) else { return };
        peer.begun = true;
        peer.told = None;
        peer.refusals = 0;
        if std::mem::take(&mut peer.forgotten) {
            // What was given to it meanwhile was meant for the session before.
            if let Some(link) = self.links.to(Daemon::Peer(id)).and_then(|link| self.links.get_mut(link)) {
                link.connection.discard_queued();
            }
            self.actions.push_back(Action::PeerReset { peer: id });
        }
        self.actions.push_back(Action::PeerReady { peer: id, resumed, features });
    }

    pub(super) fn peer_message(&mut self, id: PeerId, message: Message<P>) {
        if let Some(peer) = self.peers.peers.get_mut(&id) {
            peer.failures = 0;
            self.actions.push_back(Action::PeerMessage { peer: id, message });
        }
    }

    /// The transport could not be made, or broke.
    pub(super) fn peer_lost(
        &mut self,
        id: PeerId,
        mut connection: Connection<P, LinkAuthenticator, F>,
        failure: LinkFailure,
        now: Now,
    ) {
        let Some(peer) = self.peers.peers.get_mut(&id) else { return };
        connection.disconnected();
        peer.failures = peer.failures.saturating_add(1);
        peer.refusals = match &failure {
            LinkFailure::Auth(AuthError::TicketRefused { .. } | AuthError::NoCaps { .. }) => {
                peer.refusals.saturating_add(1)
            }
            LinkFailure::Auth(_) | LinkFailure::Broken(_) => 0,
        };
        let (reason, permanent) = match failure {
            LinkFailure::Auth(error) => (error.to_string(), error.is_permanent()),
            LinkFailure::Broken(reason) => (reason, false),
        };
        let resting = Box::new(connection);
        if permanent || peer.refusals >= REFUSALS_MAX {
            peer.place = Place::Refused(resting);
            return self.peer_refused(id, reason);
        }
        peer.place = Place::Until(now.after(self.peers.jitter.pause(peer.failures)), resting);
        if peer.told.as_ref() != Some(&reason) {
            peer.told = Some(reason.clone());
            self.actions.push_back(Action::PeerLost { peer: id, reason, permanent: false });
        }
    }

    /// Trying again does not help.
    fn peer_refused(&mut self, id: PeerId, reason: String) {
        let Some(peer) = self.peers.peers.get_mut(&id) else { return };
        if let Some(resting) = peer.place.take() {
            peer.place = Place::Refused(resting);
        }
        self.actions.push_back(Action::PeerLost { peer: id, reason, permanent: true });
    }

    /// This client is another one for its peers from now on.
    pub(super) fn peers_begin_anew(&mut self, now: Now) {
        let ids: Vec<PeerId> = self.peers.peers.keys().copied().collect();
        for id in ids {
            let Some(address) = self.peers.peers.get(&id).map(|peer| peer.address) else { continue };
            self.close(Daemon::Peer(id));
            let connection = Box::new(self.connection(Daemon::Peer(id), address));
            if let Some(peer) = self.peers.peers.get_mut(&id) {
                peer.forgotten |= peer.begun;
                peer.place = Place::Until(now.monotonic_ms, connection);
            }
            self.peer_connect(id, now);
        }
    }
}
