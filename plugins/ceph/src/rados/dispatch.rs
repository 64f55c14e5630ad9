//! What the parts of a cluster's client have to say to each other.

use super::RadosError;
use super::action::{Action, Level, LinkId};
use super::cluster::Cluster;
use super::links::{Daemon, Link, LinkAuthenticator};
use super::objecter;
use crate::auth::AuthError;
use crate::mon::{LinkFailure, MonAction, MonError, Repeat};
use crate::msgr::{self, AeadFactory, Connection, ConnectionError, Message, Policy};
use crate::osd::{MapMessage, kind};
use crate::payload::Payload;
use crate::time::Now;
use crate::types::{AddrKind, EntityAddr, Epoch, entity};

/// The name under which the map of OSDs is subscribed to.
pub(super) const OSDMAP: &str = "osdmap";
/// The same map is not asked for again within this time, in milliseconds.
const ASK_AGAIN_MS: u64 = 5_000;

impl<P: Payload, F: AeadFactory + Clone> Cluster<P, F> {
    /// Takes maps.
    pub(super) fn maps(&mut self, message: &Message<P>, now: Now) {
        let maps = match MapMessage::decode(message.version, &message.front) {
            Ok(maps) => maps,
            Err(error) => return self.warn(format!("maps that cannot be read: {error}")),
        };
        let ours = self.monitors.monmap().map(|map| map.fsid);
        if ours.is_some_and(|ours| ours != maps.fsid) {
            return self.warn(format!("maps of another cluster ({}) are ignored", maps.fsid));
        }
        if let Err(error) = self.objecter.maps(&maps, now) {
            let error = error.to_string();
            self.objecter.fail_all(&RadosError::Cluster(error.clone()));
            self.warn(error);
        }
        if let Some(map) = self.objecter.map() {
            self.monitors.got(OSDMAP, map.epoch.into());
        }
    }

    pub(super) fn warn(&mut self, text: String) {
        self.actions.push_back(Action::Log { level: Level::Warn, text });
    }

    /// Passes on what the machines inside have to say to each other, until they have nothing more to say.
    pub(super) fn settle(&mut self, now: Now) {
        loop {
            if let Some(action) = self.monitors.poll_action() {
                self.monitor_action(action, now);
            } else if let Some(event) = self.objecter.poll_event() {
                self.objecter_event(event, now);
            } else if !self.write(now) {
                return;
            }
        }
    }

    fn monitor_action(&mut self, action: MonAction<P>, now: Now) {
        match action {
            MonAction::Connect { link, address } => {
                let target = EntityAddr { kind: AddrKind::Msgr2, nonce: 0, socket: address.socket() };
                self.connect(Daemon::Monitor(link), target, address.host, address.port, now);
            }
            MonAction::Close(link) => self.close(Daemon::Monitor(link)),
            MonAction::Send(link, message) => self.send(Daemon::Monitor(link), message),
            MonAction::Session { is_new } => {
                self.trouble = None;
                self.objecter.set_trouble(None);
                if is_new {
                    self.begin_anew("the client has a new identity", now);
                }
                self.connect_with_tickets(now);
            }
            MonAction::Tickets => self.connect_with_tickets(now),
            MonAction::Lost(text) => self.actions.push_back(Action::Log { level: Level::Info, text }),
            MonAction::Trouble(error) => self.monitor_trouble(error),
            MonAction::MonMap | MonAction::CommandDone { .. } => {}
            MonAction::Deliver(message) if message.kind == kind::OSD_MAP => self.maps(&message, now),
            MonAction::Deliver(message) => self.actions.push_back(Action::Delivered(message)),
            MonAction::Usage { request, usage } => self.actions.push_back(Action::Usage { request, usage }),
            MonAction::Version { request, newest, .. } => {
                if self.newest == Some(request) {
                    self.newest = None;
                    self.objecter.newest(Epoch::try_from(newest).ok());
                }
            }
        }
    }

    /// Daemons take this client for another one from now on.
    pub(super) fn begin_anew(&mut self, why: &str, now: Now) {
        for osd in self.links.osds() {
            self.close(Daemon::Osd(osd));
            self.objecter.lost(osd, why, now);
        }
        self.peers_begin_anew(now);
    }

    /// No session can be had at present.
    fn monitor_trouble(&mut self, error: MonError) {
        let text = error.to_string();
        // Without a map nothing can be done; with one, OSDs may still serve.
        if error.is_permanent() && self.objecter.map().is_none() {
            self.objecter.fail_all(&RadosError::Cluster(text.clone()));
        }
        self.objecter.set_trouble(Some(text.clone()));
        self.trouble = Some(error);
        self.warn(text);
    }

    fn objecter_event(&mut self, event: objecter::Event<P>, now: Now) {
        match event {
            objecter::Event::Connect { osd, address } => {
                if self.cephx.has_ticket(entity::OSD, now) {
                    self.connect_osd(osd, address, now);
                } else {
                    self.without_ticket.insert(osd, address);
                }
            }
            objecter::Event::Disconnect { osd } => self.close(Daemon::Osd(osd)),
            objecter::Event::Send { osd, message } => self.send(Daemon::Osd(osd), message),
            objecter::Event::Done { op, result } => {
                self.actions.push_back(Action::Completed { op, result });
            }
            objecter::Event::WantMaps { after } => {
                let asked = self.asked.is_some_and(|(epoch, at)| {
                    epoch == after && now.monotonic_ms < at.saturating_add(ASK_AGAIN_MS)
                });
                if !asked {
                    self.asked = Some((after, now.monotonic_ms));
                    let first = if after == 0 { 0 } else { u64::from(after) + 1 };
                    self.monitors.subscribe(OSDMAP, first, Repeat::Once);
                }
            }
            objecter::Event::WantNewest => {
                self.newest = Some(self.monitors.get_version(OSDMAP, now));
            }
            objecter::Event::Blocklisted { address } => {
                self.actions.push_back(Action::Blocklisted { address });
            }
        }
    }

    /// There may be tickets now.
    fn connect_with_tickets(&mut self, now: Now) {
        if self.cephx.has_ticket(entity::OSD, now) {
            for (osd, address) in std::mem::take(&mut self.without_ticket) {
                self.connect_osd(osd, address, now);
            }
        }
        for peer in self.peers.without_ticket() {
            self.peer_connect(peer, now);
        }
    }

    fn connect_osd(&mut self, osd: i32, address: EntityAddr, now: Now) {
        let Some(socket) = address.socket else { return };
        self.connect(Daemon::Osd(osd), address, socket.ip().to_string(), socket.port(), now);
    }

    fn connect(&mut self, daemon: Daemon, target: EntityAddr, host: String, port: u16, now: Now) {
        self.close(daemon);
        let connection = self.connection(daemon, target);
        self.dial(daemon, connection, host, port, now);
    }

    /// A connection to a daemon, without a transport.
    pub(super) fn connection(
        &self,
        daemon: Daemon,
        target: EntityAddr,
    ) -> Connection<P, LinkAuthenticator, F> {
        let service = |kind| LinkAuthenticator::Service(self.cephx.service(kind));
        let (peer_kind, policy, modes, authenticator) = match daemon {
            Daemon::Monitor(_) => {
                let authenticator = LinkAuthenticator::Monitor(self.cephx.monitor());
                (entity::MON, Policy::Lossy, &self.config.monitor_modes, authenticator)
            }
            Daemon::Osd(_) => (entity::OSD, Policy::Lossy, &self.config.osd_modes, service(entity::OSD)),
            Daemon::Peer(_) => (entity::MDS, Policy::Lossless, &self.config.osd_modes, service(entity::MDS)),
        };
        let mut config = msgr::Config::new(peer_kind, target, self.nonce, self.connections.clone());
        config.policy = policy;
        config.modes.clone_from(modes);
        config.own_ip = self.own_ip;
        config.handshake_ms = self.config.connect_ms;
        Connection::new(config, authenticator, self.ciphers.clone())
    }

    /// Has a transport made for a connection.
    pub(super) fn dial(
        &mut self,
        daemon: Daemon,
        connection: Connection<P, LinkAuthenticator, F>,
        host: String,
        port: u16,
        now: Now,
    ) -> LinkId {
        let link = self.links.insert(Link {
            daemon,
            connection,
            connected: false,
            writing: false,
            connect_by: Some(now.after(self.config.connect_ms)),
        });
        self.actions.push_back(Action::Connect { link, host, port });
        link
    }

    pub(super) fn send(&mut self, daemon: Daemon, message: Message<P>) {
        let Some(id) = self.links.to(daemon) else { return };
        if let Some(link) = self.links.get_mut(id) {
            link.connection.send(message);
            self.touched.insert(id);
        }
    }

    /// Hands out what connections have to write; `false`: nothing.
    fn write(&mut self, now: Now) -> bool {
        let Some(id) = self.touched.pop_first() else { return false };
        let Some(link) = self.links.get_mut(id).filter(|link| link.connected && !link.writing) else {
            // It is asked again when it is connected, or when the driver has written what it has.
            return true;
        };
        match link.connection.poll_write() {
            Ok(None) => {}
            Ok(Some(chunks)) => {
                link.writing = true;
                self.actions.push_back(Action::Write { link: id, chunks });
            }
            Err(error) => self.drop_link(id, failure(error), true, now),
        }
        // What is encrypted by the driver has to be asked for.
        self.events(id, now);
        true
    }

    /// Ends a connection that nobody wants any more.
    pub(super) fn close(&mut self, daemon: Daemon) {
        if let Daemon::Osd(osd) = daemon {
            self.without_ticket.remove(&osd);
        }
        if let Some(id) = self.links.to(daemon) {
            self.links.remove(id);
            self.actions.push_back(Action::Close { link: id });
        }
    }

    /// Ends a connection that failed, and tells whose it was.
    pub(super) fn drop_link(&mut self, id: LinkId, failure: LinkFailure, close: bool, now: Now) {
        let Some(link) = self.links.remove(id) else { return };
        if close {
            self.actions.push_back(Action::Close { link: id });
        }
        match link.daemon {
            Daemon::Monitor(link) => self.monitors.failed(link, failure, now, &mut *self.entropy),
            Daemon::Peer(peer) => self.peer_lost(peer, link.connection, failure, now),
            Daemon::Osd(osd) => {
                let denied = matches!(&failure, LinkFailure::Auth(AuthError::NoCaps { .. }));
                let reason = match failure {
                    LinkFailure::Auth(error) => error.to_string(),
                    LinkFailure::Broken(reason) => reason,
                };
                let text = format!("connection to osd.{osd} ended: {reason}");
                self.actions.push_back(Action::Log { level: Level::Info, text });
                if denied {
                    self.objecter.denied(osd);
                }
                self.objecter.lost(osd, &reason, now);
            }
        }
    }
}

/// What the monitor client makes of a connection's error.
pub(super) fn failure(error: ConnectionError) -> LinkFailure {
    match error {
        ConnectionError::Auth(error) => LinkFailure::Auth(error),
        error => LinkFailure::Broken(error.to_string()),
    }
}
