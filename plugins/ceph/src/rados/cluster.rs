//! Everything together: monitors, OSDs, requests.

use super::action::{Action, LinkId};
use super::config::Config;
use super::dispatch::{OSDMAP, failure};
use super::links::{Daemon, Link, Links};
use super::objecter::Objecter;
use super::peers::Peers;
use super::{OpId, OpRequest};
use crate::auth::{AuthError, Cephx, Key};
use crate::entropy::Entropy;
use crate::mon::{LinkFailure, MonClient, MonConfig, MonError, Repeat, RequestId};
use crate::msgr::{AeadFactory, Arrived, ConnectionError, Event, GlobalSequence, Message, Want, features};
use crate::osd::kind;
use crate::osdmap::OsdMap;
use crate::payload::Payload;
use crate::time::Now;
use crate::types::{EntityAddr, Epoch, Fsid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// Whether the cluster can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not yet; the sentence says what is in the way, if anything is known.
    Connecting(Option<String>),
    /// There is a map.
    Ready,
    /// Not with this configuration. It is tried again all the same, in case the cluster changes.
    Failed(String),
}

/// A client of one cluster, without I/O.
///
/// A *driver* makes it talk. It does what [`poll_action`](Self::poll_action) says until there is nothing more, tells what came of it
/// by the calls named there, reads from each connection exactly what [`want`](Self::want) says and hands it to
/// [`received`](Self::received), and calls [`on_time`](Self::on_time) at [`next_timer`](Self::next_timer). After each of these calls
/// it looks for actions, and at `want` and `next_timer`, again.
pub struct Cluster<P: Payload, F: AeadFactory> {
    pub(super) config: Config,
    pub(super) ciphers: F,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) cephx: Cephx,
    pub(super) monitors: MonClient<P>,
    pub(super) objecter: Objecter<P>,
    pub(super) links: Links<P, F>,
    /// Connections that may have something to write.
    pub(super) touched: BTreeSet<LinkId>,
    pub(super) peers: Peers<P, F>,
    /// OSDs to connect to when there is a ticket for them.
    pub(super) without_ticket: BTreeMap<i32, EntityAddr>,
    /// Tells this client apart from others on the same machine.
    pub(super) nonce: u32,
    pub(super) own_ip: Option<IpAddr>,
    pub(super) connections: GlobalSequence,
    /// The question for the newest map.
    pub(super) newest: Option<RequestId>,
    /// The last map that was asked for: after which one, and when.
    pub(super) asked: Option<(Epoch, u64)>,
    pub(super) trouble: Option<MonError>,
    pub(super) actions: VecDeque<Action<P, F::Aead>>,
}

impl<P: Payload, F: AeadFactory + Clone> Cluster<P, F> {
    /// A client that begins to look for a monitor.
    ///
    /// # Errors
    /// The user's name is not one.
    pub fn new(
        config: Config,
        ciphers: F,
        mut entropy: Box<dyn Entropy>,
        now: Now,
    ) -> Result<Self, AuthError> {
        let cephx = Cephx::new(&config.entity, config.key.clone(), &config.services)?;
        let mut monitor_config = MonConfig::new(config.monitors.clone());
        monitor_config.fsid = config.fsid;
        monitor_config.hostname.clone_from(&config.hostname);
        let mut monitors = MonClient::new(monitor_config, cephx.clone());
        monitors.subscribe(OSDMAP, 0, Repeat::Once);
        monitors.start(now, &mut *entropy);
        let (seed, nonce) = (entropy.number(), entropy.number() as u32 | 1);
        let mut cluster = Self {
            objecter: Objecter::new(config.limits, features::SUPPORTED, seed),
            config,
            ciphers,
            entropy,
            cephx,
            monitors,
            links: Links::new(),
            peers: Peers::new(seed),
            touched: BTreeSet::new(),
            without_ticket: BTreeMap::new(),
            nonce,
            own_ip: None,
            connections: GlobalSequence::default(),
            newest: None,
            asked: Some((0, now.monotonic_ms)),
            trouble: None,
            actions: VecDeque::new(),
        };
        cluster.settle(now);
        Ok(cluster)
    }

    /// The user's key was exchanged. Sessions and tickets stay; the new one is used with the next monitor, which is looked for at once if there is none.
    pub fn replace_key(&mut self, key: Key, now: Now) {
        self.cephx.replace_key(key);
        self.monitors.hurry(now, &mut *self.entropy);
        self.settle(now);
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action<P, F::Aead>> {
        self.actions.pop_front()
    }

    /// Whether the cluster can be used.
    #[must_use]
    pub fn status(&self) -> Status {
        match (&self.trouble, self.objecter.map()) {
            (_, Some(_)) => Status::Ready,
            (Some(trouble), None) if trouble.is_permanent() => Status::Failed(trouble.to_string()),
            (trouble, None) => Status::Connecting(trouble.as_ref().map(MonError::to_string)),
        }
    }

    /// The newest map; `None` until the first one is there.
    #[must_use]
    pub fn osdmap(&self) -> Option<&OsdMap> {
        self.objecter.map()
    }

    /// How the cluster knows this client, for instance in its blocklist; `None` before the first connection.
    #[must_use]
    pub fn address(&self) -> Option<EntityAddr> {
        self.objecter.address()
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.objecter.in_flight()
    }

    /// What the cluster calls this client: the number of `client.NUMBER`. 0 before the first session with a monitor.
    #[must_use]
    pub fn global_id(&self) -> u64 {
        self.cephx.global_id()
    }

    /// Id of the cluster; `None` before the first map of the monitors.
    #[must_use]
    pub fn fsid(&self) -> Option<Fsid> {
        self.monitors.monmap().map(|map| map.fsid)
    }

    /// Asks the monitors to send a map (`mdsmap`, `fsmap.user`) from this version on, once or on and on; it comes as
    /// [`Action::Delivered`].
    pub fn subscribe(&mut self, what: &str, start: u64, repeat: Repeat, now: Now) {
        self.monitors.subscribe(what, start, repeat);
        self.settle(now);
    }

    /// Takes a [`subscribe`](Self::subscribe) back; what is on its way may still come.
    pub fn unsubscribe(&mut self, what: &str) {
        self.monitors.unsubscribe(what);
    }

    /// This version of a map has come, so that the next monitor need not send it.
    pub fn got(&mut self, what: &str, version: u64) {
        self.monitors.got(what, version);
    }

    /// Asks how much room there is in the cluster, or for a pool; the answer is an [`Action::Usage`]. Of a pool that the map does not have
    /// nothing is asked, since monitors would not answer, but of the cluster.
    pub fn usage(&mut self, pool: Option<i64>, now: Now) -> RequestId {
        let known = |id: &i64| self.objecter.map().is_none_or(|map| map.pool(*id).is_some());
        let pool = pool.filter(known);
        let request = self.monitors.usage(pool, now);
        self.settle(now);
        request
    }

    /// Nobody waits for the answer to [`usage`](Self::usage) any more.
    pub fn cancel_usage(&mut self, request: RequestId) {
        self.monitors.cancel(request);
    }

    /// No request on objects is sent with an older map than this (`osd_epoch_barrier` of messages of metadata servers).
    pub fn osd_barrier(&mut self, epoch: Epoch, now: Now) {
        self.objecter.set_barrier(epoch, now);
        self.settle(now);
    }

    /// Takes another address, so that a cluster that has locked this client out takes it for another one. All connections to OSDs and
    /// peers are made anew; sessions with peers are reset.
    pub fn rename(&mut self, now: Now) {
        self.nonce = self.entropy.number() as u32 | 1;
        self.objecter.rename();
        self.begin_anew("the client has a new address", now);
        self.settle(now);
    }

    /// Takes a request. Its end is an [`Action::Completed`], which comes for every request that is not cancelled.
    pub fn submit(&mut self, request: OpRequest<P>, now: Now) -> OpId {
        let op = self.objecter.submit(request, now);
        self.settle(now);
        op
    }

    /// What a request waits for, in words; `None`: it has ended.
    #[must_use]
    pub fn waits_for(&self, op: OpId, now: Now) -> Option<String> {
        self.objecter.waits_for(op, now)
    }

    /// Gives a request up. An OSD that has it may do it all the same.
    pub fn cancel(&mut self, op: OpId, now: Now) {
        self.objecter.cancel(op, now);
        self.settle(now);
    }

    /// What to read next from a connection; `None`: nothing for now, look again after [`opened`](Self::opened).
    #[must_use]
    pub fn want(&self, link: LinkId) -> Option<Want> {
        self.links.get(link).filter(|link| link.connected)?.connection.want()
    }

    /// A connection is made. `local` is its own end.
    pub fn connected(&mut self, id: LinkId, local: Option<IpAddr>, now: Now) {
        if let Some(link) = self.links.get_mut(id) {
            link.connected = true;
            link.connect_by = None;
            link.connection.connected(local, now);
        }
        self.step(id, Ok(()), now);
    }

    /// A connection could not be made, or broke: `connection refused`.
    pub fn failed(&mut self, id: LinkId, reason: &str, now: Now) {
        self.drop_link(id, LinkFailure::Broken(reason.to_owned()), false, now);
        self.settle(now);
    }

    /// What [`want`](Self::want) said was read.
    pub fn received(&mut self, id: LinkId, arrived: Arrived<P>, now: Now) {
        let Some(link) = self.links.get_mut(id) else { return };
        let result = link.connection.received(now, arrived, &mut *self.entropy);
        self.step(id, result, now);
    }

    /// [`Action::Open`] is done; `None`: the tag does not fit.
    pub fn opened(&mut self, id: LinkId, plain: Option<P>, now: Now) {
        let Some(link) = self.links.get_mut(id) else { return };
        let result = link.connection.opened(now, plain, &mut *self.entropy);
        self.step(id, result, now);
    }

    /// [`Action::Seal`] is done.
    pub fn sealed(&mut self, id: LinkId, sealed: P, now: Now) {
        let Some(link) = self.links.get_mut(id) else { return };
        let result = link.connection.sealed(sealed);
        self.step(id, result, now);
    }

    /// [`Action::Write`] is done.
    pub fn written(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.writing = false;
        self.step(id, Ok(()), now);
    }

    /// When [`on_time`](Self::on_time) wants to be called, on the monotonic clock.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        let links = self.links.iter().filter_map(|(_, link)| match link.connect_by {
            Some(at) => Some(at),
            None => link.connection.next_timer(),
        });
        let parts = [self.monitors.next_timer(), self.objecter.next_timer(), self.peers.next_timer()];
        links.chain(parts.into_iter().flatten()).min()
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Now) {
        let due = |link: &Link<P, F>| match link.connect_by {
            Some(at) => now.reached(at),
            None => link.connection.next_timer().is_some_and(|at| now.reached(at)),
        };
        let ids: Vec<LinkId> = self.links.iter().filter(|(_, link)| due(link)).map(|(id, _)| id).collect();
        for id in ids {
            let Some(link) = self.links.get_mut(id) else { continue };
            if link.connect_by.is_some() {
                let late = format!("no connection within {} ms", self.config.connect_ms);
                self.drop_link(id, LinkFailure::Broken(late), true, now);
            } else {
                let result = link.connection.on_timer(now);
                self.step(id, result, now);
            }
        }
        if self.monitors.next_timer().is_some_and(|at| now.reached(at)) {
            self.monitors.on_time(now, &mut *self.entropy);
        }
        self.objecter.on_time(now);
        for peer in self.peers.due(now) {
            self.peer_connect(peer, now);
        }
        self.settle(now);
    }

    /// After something happened on a connection.
    fn step(&mut self, id: LinkId, result: Result<(), ConnectionError>, now: Now) {
        self.events(id, now);
        match result {
            Ok(()) => {
                self.touched.insert(id);
            }
            Err(error) => self.drop_link(id, failure(error), true, now),
        }
        self.settle(now);
    }

    /// Handles what a connection tells.
    pub(super) fn events(&mut self, id: LinkId, now: Now) {
        while let Some(link) = self.links.get_mut(id) {
            let Some(event) = link.connection.poll_event() else { return };
            let daemon = link.daemon;
            match event {
                Event::Ready { peer, resumed } => {
                    if let Some(own) = peer.own.socket {
                        self.own_ip.get_or_insert(own.ip());
                    }
                    self.objecter.known_as(peer.own);
                    match daemon {
                        Daemon::Monitor(link) => self.monitors.ready(link, now, &mut *self.entropy),
                        Daemon::Osd(osd) => self.objecter.ready(osd, now),
                        Daemon::Peer(id) => self.peer_ready(id, resumed, peer.features),
                    }
                }
                Event::Message(message) => self.message(id, daemon, message, now),
                Event::Open { cipher, nonce, sealed } => {
                    self.actions.push_back(Action::Open { link: id, cipher, nonce, sealed });
                }
                Event::Seal { cipher, nonce, plain } => {
                    self.actions.push_back(Action::Seal { link: id, cipher, nonce, plain });
                }
                // Sessions with monitors and OSDs do not outlive their connections.
                Event::Reset => {
                    if let Daemon::Peer(peer) = daemon {
                        self.peers.forgotten(peer);
                    }
                }
            }
        }
    }

    fn message(&mut self, id: LinkId, daemon: Daemon, message: Message<P>, now: Now) {
        match daemon {
            Daemon::Monitor(link) => self.monitors.received(link, message, now, &mut *self.entropy),
            Daemon::Peer(peer) => self.peer_message(peer, message),
            Daemon::Osd(_) if message.kind == kind::OSD_MAP => self.maps(&message, now),
            Daemon::Osd(osd) => {
                if let Err(error) = self.objecter.message_from(osd, message, now) {
                    self.drop_link(id, LinkFailure::Broken(error.to_string()), true, now);
                }
            }
        }
    }
}
