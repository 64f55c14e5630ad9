//! Peers of a cluster's client: sessions that go on over broken connections, until somebody forgets them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::{Bytes, BytesMut};
use common::frames::{BANNER_LEN, Side, join};
use common::native::{Ciphers, Counting};
use std::collections::BTreeMap;
use wasmount_ceph::Now;
use wasmount_ceph::mon::parse_mon_host;
use wasmount_ceph::msgr::control::{ClientIdent, Control, ServerIdent};
use wasmount_ceph::msgr::frame::Tag;
use wasmount_ceph::msgr::{Arrived, Message, MessageHeader, Mode, Want};
use wasmount_ceph::rados::{Action, Cluster, Config, LinkId, PeerId};
use wasmount_ceph::types::{AddrVec, EntityAddr, entity};

const PEER: PeerId = PeerId(7);
const PORT: u16 = 6800;

/// What the server does when the client wants to begin a session, or to continue one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Whatever it wants. New sessions have this cookie.
    Willing(u64),
    /// It knows no session, and accepts a new one, of this cookie.
    Forgetful(u64),
    /// It knows no session, and says nothing to a new one.
    Mute,
    /// It wants secure connections.
    Secretive,
}

/// The server's end of a connection.
struct Daemon {
    side: Side,
    manner: Manner,
    /// What the client has written and the server has not read.
    arrived: BytesMut,
    has_banner: bool,
    /// What the server has written and the client has not read.
    leaving: BytesMut,
    idents: Vec<ClientIdent>,
    /// Messages of the client: numbers in the stream, and transaction numbers.
    messages: Vec<(u64, u64)>,
    sequence: u64,
}

impl Daemon {
    fn new(manner: Manner) -> Self {
        Self {
            side: Side::new(),
            manner,
            arrived: BytesMut::new(),
            has_banner: false,
            leaving: BytesMut::new(),
            idents: Vec::new(),
            messages: Vec::new(),
            sequence: 0,
        }
    }

    fn control(&mut self, control: &Control) {
        let bytes = self.side.control(control.tag(), &control.encode());
        self.leaving.extend_from_slice(&bytes);
    }

    fn ident(&mut self, cookie: u64) {
        self.control(&Control::ServerIdent(ServerIdent {
            addresses: AddrVec(vec![address()]),
            number: 0,
            global_sequence: 1,
            supported: u64::MAX,
            required: 1 << 59,
            flags: 0,
            cookie,
        }));
    }

    fn message(&mut self, tid: u64, acknowledged: u64) {
        self.sequence += 1;
        let header = MessageHeader {
            sequence: self.sequence,
            tid,
            kind: 99,
            version: 1,
            compat: 1,
            acknowledged,
            ..MessageHeader::default()
        };
        let bytes = self.side.message(&header, Message::new(99, 1, 1, vec![1]));
        self.leaving.extend_from_slice(&bytes);
    }

    /// Reads and answers what has come.
    fn serve(&mut self, received: u64) {
        if !self.has_banner {
            if self.arrived.len() < BANNER_LEN {
                return;
            }
            self.has_banner = true;
            drop(self.arrived.split_to(BANNER_LEN));
            self.leaving.extend_from_slice(b"ceph v2\n\x10\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        }
        let mut stream = self.arrived.split().freeze();
        while let Some(frame) = self.side.read(&mut stream).unwrap() {
            if frame.tag == Tag::Message {
                let header = MessageHeader::decode(&frame.head).unwrap();
                self.messages.push((header.sequence, header.tid));
                continue;
            }
            match (Control::decode(frame.tag, &frame.head).unwrap().unwrap(), self.manner) {
                (Control::Hello { .. }, _) => {
                    let peer_address = EntityAddr::msgr2("198.51.100.7:40000".parse().unwrap(), 0);
                    self.control(&Control::Hello { kind: entity::MDS, peer_address });
                }
                (Control::AuthRequest { method: 1, .. }, Manner::Secretive) => {
                    self.control(&Control::AuthBadMethod {
                        method: 1,
                        result: -95,
                        allowed_methods: vec![1],
                        allowed_modes: vec![2],
                    });
                }
                (Control::AuthRequest { method: 1, .. }, _) => {
                    self.control(&Control::AuthDone { global_id: 0, mode: 1, payload: Vec::new() });
                    self.control(&Control::AuthSignature([0; 32]));
                }
                (Control::AuthSignature(signature), _) => assert_eq!(signature, [0; 32]),
                (Control::ClientIdent(ident), Manner::Willing(cookie) | Manner::Forgetful(cookie)) => {
                    self.idents.push(ident);
                    self.ident(cookie);
                }
                (Control::ClientIdent(_), _) => {}
                (Control::SessionReconnect(_), Manner::Willing(_)) => {
                    self.control(&Control::SessionReconnectOk(received));
                }
                (Control::SessionReconnect(_), _) => self.control(&Control::SessionReset { full: true }),
                (Control::Ack(_), _) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
        // The rest of a frame, which comes later.
        self.arrived = BytesMut::from(&stream[..]);
    }
}

fn address() -> EntityAddr {
    EntityAddr::msgr2(format!("192.0.2.1:{PORT}").parse().unwrap(), 55)
}

/// A client of a cluster without keys, and of its peer.
struct World {
    cluster: Cluster<Bytes, Ciphers>,
    now: Now,
    /// What the next connection finds.
    manner: Manner,
    /// Messages that the server has received, in all connections.
    received: u64,
    daemons: BTreeMap<LinkId, Daemon>,
    closed: usize,
    told: Vec<String>,
}

impl World {
    fn new(manner: Manner) -> Self {
        let mut config = Config::new(parse_mon_host("192.0.2.9:3300").unwrap(), "client.x", None);
        config.osd_modes = vec![Mode::Crc];
        let now = Now { monotonic_ms: 1_000, ..Now::default() };
        let cluster = Cluster::new(config, Ciphers, Box::new(Counting(0)), now).unwrap();
        let (daemons, told) = (BTreeMap::new(), Vec::new());
        let mut world = Self { cluster, now, manner, received: 0, daemons, closed: 0, told };
        world.cluster.peer_open(PEER, address(), now);
        world.settle();
        world
    }

    fn send(&mut self, tid: u64) {
        let message = Message { tid, ..Message::new(98, 1, 1, vec![0; 10]) };
        self.cluster.peer_send(PEER, message, self.now);
        self.settle();
    }

    /// Lets everything happen that can without time.
    fn settle(&mut self) {
        let mut idle = false;
        while !idle {
            idle = true;
            while let Some(action) = self.cluster.poll_action() {
                idle = false;
                self.act(action);
            }
            for (&link, daemon) in &mut self.daemons {
                daemon.serve(self.received);
                while let Some(Want::Bytes(length) | Want::Payload(length)) = self.cluster.want(link) {
                    if daemon.leaving.len() < length as usize {
                        break;
                    }
                    idle = false;
                    let piece = daemon.leaving.split_to(length as usize);
                    let arrived = match self.cluster.want(link) {
                        Some(Want::Payload(_)) => Arrived::Payload(piece.freeze()),
                        _ => Arrived::Bytes(piece.to_vec()),
                    };
                    self.cluster.received(link, arrived, self.now);
                }
            }
        }
    }

    fn act(&mut self, action: Action<Bytes, common::native::Cipher>) {
        match action {
            Action::Connect { link, port: PORT, .. } => {
                self.daemons.insert(link, Daemon::new(self.manner));
                self.cluster.connected(link, None, self.now);
            }
            Action::Write { link, chunks } => {
                if let Some(daemon) = self.daemons.get_mut(&link) {
                    daemon.arrived.extend_from_slice(&join(&chunks));
                }
                self.cluster.written(link, self.now);
            }
            Action::Close { link } => self.closed += usize::from(self.daemons.remove(&link).is_some()),
            Action::PeerReady { peer: PEER, resumed, .. } => {
                self.told.push(format!("ready, resumed: {resumed}"))
            }
            Action::PeerReset { peer: PEER } => self.told.push("reset".into()),
            Action::PeerMessage { peer: PEER, message } => self.told.push(format!("message {}", message.tid)),
            Action::PeerLost { peer: PEER, reason, permanent } => {
                self.told.push(format!("lost, permanent: {permanent}: {reason}"));
            }
            // The monitor is not there.
            Action::Connect { .. } | Action::Log { .. } => {}
            _ => panic!("nobody has asked for that"),
        }
    }

    /// What was told since the last time.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// The only connection to the peer.
    fn daemon(&mut self) -> &mut Daemon {
        assert_eq!(self.daemons.len(), 1);
        self.daemons.values_mut().next().unwrap()
    }

    /// Breaks the connection, and says what came over it.
    fn cut(&mut self, reason: &str) -> Vec<(u64, u64)> {
        let (link, daemon) = self.daemons.pop_first().unwrap();
        self.cluster.failed(link, reason, self.now);
        self.settle();
        daemon.messages
    }

    /// Lets time pass until there is a connection to the peer again; milliseconds.
    fn until_connected(&mut self) -> u64 {
        let begin = self.now.monotonic_ms;
        while self.daemons.is_empty() {
            self.now.monotonic_ms = self.cluster.next_timer().unwrap().max(self.now.monotonic_ms);
            self.cluster.on_time(self.now);
            self.settle();
        }
        self.now.monotonic_ms - begin
    }
}

#[test]
fn a_session_outlives_its_connections() {
    let mut world = World::new(Manner::Willing(5));
    assert_eq!(world.told(), ["ready, resumed: false"]);
    (1..=3).for_each(|tid| world.send(tid));
    world.daemon().message(40, 1);
    world.settle();
    assert_eq!(world.told(), ["message 40"]);
    assert_eq!(world.cut("reset by peer"), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(world.told(), ["lost, permanent: false: reset by peer"]);
    // Sent while there is no connection. The server has received two of the three.
    world.send(4);
    world.received = 2;
    assert_eq!(world.until_connected(), 0);
    assert_eq!(world.told(), ["ready, resumed: true"]);
    assert_eq!(world.daemon().messages, [(3, 3), (4, 4)]);
    world.daemon().sequence = 1;
    world.daemon().message(41, 4);
    world.settle();
    assert_eq!(world.told(), ["message 41"]);
}

#[test]
fn what_a_peer_forgets_is_told_when_there_is_a_new_session() {
    let mut world = World::new(Manner::Willing(5));
    world.send(1);
    world.told();
    world.cut("reset by peer");
    // It forgets, and before it accepts a new session it goes away: it may be another one by now.
    world.manner = Manner::Mute;
    world.until_connected();
    assert_eq!(world.told(), ["lost, permanent: false: reset by peer"]);
    world.send(2);
    world.manner = Manner::Forgetful(6);
    world.cut("reset by peer");
    world.until_connected();
    // The reason is the same as before.
    assert_eq!(world.told(), ["reset", "ready, resumed: false"]);
    // What was meant for the old session does not go to the new one.
    assert_eq!(world.daemon().messages, []);
    world.send(3);
    assert_eq!(world.daemon().messages, [(1, 3)]);
    // And the new one is continued.
    world.manner = Manner::Willing(0);
    world.received = 1;
    world.cut("reset by peer");
    world.until_connected();
    assert_eq!(world.told(), ["lost, permanent: false: reset by peer", "ready, resumed: true"]);
}

#[test]
fn attempts_become_seldom_and_are_told_once() {
    let mut world = World::new(Manner::Mute);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        world.cut("connection refused");
        pauses.push(world.until_connected());
    }
    assert_eq!(world.told(), ["lost, permanent: false: connection refused"]);
    assert_eq!(pauses[0], 0);
    assert!((75..=125).contains(&pauses[1]), "{pauses:?}");
    assert!((3_750..=6_250).contains(&pauses[11]), "{pauses:?}");
    world.cut("no route to host");
    assert_eq!(world.told(), ["lost, permanent: false: no route to host"]);
    // One that accepts and hangs up before it has said anything is no better.
    world.manner = Manner::Willing(5);
    world.until_connected();
    world.cut("reset by peer");
    assert!(world.until_connected() > 3_000);
    world.daemon().message(40, 0);
    world.settle();
    world.cut("reset by peer");
    assert_eq!(world.until_connected(), 0);
}

#[test]
fn a_peer_that_cannot_be_used_is_left_alone() {
    let mut world = World::new(Manner::Secretive);
    let told = world.told();
    assert!(told.len() == 1 && told[0].starts_with("lost, permanent: true: the cluster accepts"), "{told:?}");
    assert_eq!((world.daemons.len(), world.closed), (0, 1));
    for _ in 0..20 {
        world.now.monotonic_ms = world.cluster.next_timer().unwrap();
        world.cluster.on_time(world.now);
        world.settle();
    }
    assert_eq!(world.daemons.len(), 0);
    world.manner = Manner::Willing(5);
    world.cluster.peer_open(PEER, address(), world.now);
    world.settle();
    assert_eq!(world.told(), ["ready, resumed: false"]);
}

#[test]
fn a_new_name_makes_a_new_session() {
    let mut world = World::new(Manner::Willing(5));
    world.send(1);
    world.told();
    let before = world.daemon().idents.remove(0);
    world.cluster.rename(world.now);
    world.settle();
    assert_eq!(world.told(), ["reset", "ready, resumed: false"]);
    let after = world.daemon().idents.remove(0);
    assert_ne!(before.cookie, after.cookie);
    assert_ne!(before.addresses.0[0].nonce, after.addresses.0[0].nonce);
    assert_eq!(before.addresses.0[0].socket, after.addresses.0[0].socket);
    assert_eq!(world.daemon().messages, []);
}

#[test]
fn nothing_is_said_to_or_of_a_peer_that_was_closed() {
    let mut world = World::new(Manner::Willing(5));
    world.told();
    world.cluster.peer_close(PEER, world.now);
    world.send(1);
    assert_eq!((world.daemons.len(), world.closed), (0, 1));
    assert_eq!(world.told(), [""; 0]);
}
