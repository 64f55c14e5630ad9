//! Sessions that outlive their connections: nothing is lost, nothing comes twice, whatever breaks and whenever.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::script::{Client, Server, config};
use proptest::prelude::*;
use wasmount_ceph::msgr::control::{Control, SessionReconnect};
use wasmount_ceph::msgr::{Config, ConnectionError, Event, Message, Phase, Policy};

const COOKIE: u64 = 0xc00c1e;

fn lossless() -> Config {
    Config { policy: Policy::Lossless, ..config() }
}

fn send(client: &mut Client<Bytes>, tid: u64) {
    client.connection.send(Message { tid, ..Message::new(42, 1, 1, vec![0; 10]) });
}

/// A client in a session, which was sent messages 1 and 2 by the server and has sent messages 1 to 3, none acknowledged.
fn interrupted() -> Client<Bytes> {
    let mut client = Client::new(lossless());
    let mut server = Server::lossless(false, COOKIE);
    client.connect();
    let ident = server.accept(&mut client).unwrap();
    assert_eq!(ident.flags, 0);
    assert_ne!(ident.cookie, 0);
    (1..=2).for_each(|tid| server.message(&mut client, tid, 1, 0));
    (1..=3).for_each(|tid| send(&mut client, tid));
    client.pump().unwrap();
    assert_eq!(server.messages(&mut client).0.len(), 3);
    assert_eq!(client.messages(), [(1, 0), (2, 0)]);
    client.connection.disconnected();
    client
}

/// Connects again, up to where the client asks to continue.
fn reconnect(client: &mut Client<Bytes>) -> (Server, SessionReconnect) {
    let mut server = Server::lossless(true, COOKIE);
    client.connect();
    server.authenticate(client).unwrap();
    let Control::SessionReconnect(reconnect) = server.control(client) else { panic!("should reconnect") };
    (server, reconnect)
}

#[test]
fn messages_are_acknowledged_on_their_own_only_if_nothing_carries_it() {
    let mut client = Client::<Bytes>::new(lossless());
    let mut server = Server::lossless(false, COOKIE);
    client.connect();
    server.accept(&mut client).unwrap();
    server.message(&mut client, 1, 1, 0);
    server.message(&mut client, 2, 1, 0);
    client.pump().unwrap();
    let (messages, controls) = server.messages(&mut client);
    assert_eq!(messages, []);
    assert_eq!(controls.last(), Some(&Control::Ack(2)));
    send(&mut client, 1);
    client.pump().unwrap();
    assert_eq!(server.messages(&mut client), (vec![(1, 1)], vec![]));
}

#[test]
fn a_session_continues_where_it_was() {
    let mut client = interrupted();
    send(&mut client, 4);
    let (mut server, asked) = reconnect(&mut client);
    assert_eq!((asked.server_cookie, asked.received), (COOKIE, 2));
    assert_eq!((asked.global_sequence, asked.connect_sequence), (2, 1));
    server.send(&mut client, &Control::SessionReconnectOk(2));
    // The peer does not know yet that 2 had arrived.
    server.sequence = 1;
    server.message(&mut client, 2, 1, 0);
    server.message(&mut client, 3, 1, 0);
    client.pump().unwrap();
    assert_eq!(server.messages(&mut client).0, [(3, 3), (4, 4)]);
    assert!(client.events.iter().any(|event| matches!(event, Event::Ready { resumed: true, .. })));
    assert_eq!(client.messages(), [(3, 0)]);
}

#[test]
fn a_server_that_knows_better_is_obeyed() {
    let mut client = interrupted();
    let (mut server, _) = reconnect(&mut client);
    server.send(&mut client, &Control::SessionRetry(6));
    client.pump().unwrap();
    let Control::SessionReconnect(again) = server.control(&mut client) else { panic!("should reconnect") };
    assert_eq!((again.global_sequence, again.connect_sequence), (2, 7));
    server.send(&mut client, &Control::SessionRetryGlobal(40));
    client.pump().unwrap();
    let Control::SessionReconnect(again) = server.control(&mut client) else { panic!("should reconnect") };
    assert_eq!((again.global_sequence, again.connect_sequence), (41, 7));
    server.send(&mut client, &Control::Wait);
    assert_eq!(client.pump(), Err(ConnectionError::Wait));
    // And once more, counting on from there.
    let (mut server, asked) = reconnect(&mut client);
    assert_eq!((asked.global_sequence, asked.connect_sequence), (42, 8));
    // Numbers that nothing comes after.
    server.send(&mut client, &Control::SessionRetry(u64::MAX));
    server.send(&mut client, &Control::SessionRetryGlobal(u64::MAX));
    client.pump().unwrap();
    client.connection.disconnected();
    let (_, asked) = reconnect(&mut client);
    assert_eq!((asked.global_sequence, asked.connect_sequence), (u64::MAX, u64::MAX));
}

#[test]
fn a_forgotten_session_begins_anew() {
    for full in [true, false] {
        let mut client = interrupted();
        client.events.clear();
        let (mut server, asked) = reconnect(&mut client);
        server.send(&mut client, &Control::SessionReset { full });
        client.pump().unwrap();
        let Control::ClientIdent(ident) = server.control(&mut client) else {
            panic!("should introduce itself")
        };
        assert_eq!(ident.cookie == asked.client_cookie, !full);
        server.ident.cookie = COOKIE + 1;
        let ident = server.ident.clone();
        server.send(&mut client, &Control::ServerIdent(ident));
        send(&mut client, 4);
        server.message(&mut client, 7, 1, 0);
        client.pump().unwrap();
        let reset = client.events.iter().any(|event| matches!(event, Event::Reset));
        assert_eq!(reset, full);
        let tids: Vec<u64> = server.messages(&mut client).0.iter().map(|&(_, tid)| tid).collect();
        assert_eq!(tids, if full { vec![4] } else { vec![1, 2, 3, 4] });
        assert_eq!(client.messages(), [(7, 0)]);
        // The new session is the one that is continued.
        client.connection.disconnected();
        assert_eq!(reconnect(&mut client).1.server_cookie, COOKIE + 1);
    }
}

#[test]
fn a_server_cannot_have_received_what_was_never_sent() {
    let mut client = interrupted();
    let (mut server, _) = reconnect(&mut client);
    server.send(&mut client, &Control::SessionReconnectOk(4));
    assert!(matches!(client.pump(), Err(ConnectionError::Unexpected { .. })));
}

#[test]
fn a_server_that_keeps_no_sessions_is_not_asked_to() {
    let mut client = Client::<Bytes>::new(lossless());
    client.connect();
    Server::new(false).accept(&mut client).unwrap();
    client.connection.disconnected();
    client.connect();
    Server::new(false).accept(&mut client).unwrap();
    assert_eq!(client.connection.phase(), Phase::Ready);
}

/// A server's session, in the plainest way: everything is kept for ever.
#[derive(Default)]
struct Model {
    client_cookie: u64,
    connect_sequence: u64,
    /// Messages to the client; the first has the number 1.
    sent: Vec<u64>,
    /// Messages of the client.
    received: Vec<u64>,
}

impl Model {
    /// Answers what the client says after authentication. Returns the last message that the client has.
    fn answer(&mut self, server: &mut Server, client: &mut Client<Bytes>) -> u64 {
        match server.control(client) {
            Control::ClientIdent(ident) => {
                assert!(self.client_cookie == 0 || self.client_cookie == ident.cookie);
                assert_eq!(self.received, [], "a session with messages must be continued");
                self.client_cookie = ident.cookie;
                server.send(client, &Control::ServerIdent(server.ident.clone()));
                0
            }
            Control::SessionReconnect(asked) => {
                assert_eq!((asked.client_cookie, asked.server_cookie), (self.client_cookie, COOKIE));
                assert!(asked.connect_sequence > self.connect_sequence);
                self.connect_sequence = asked.connect_sequence;
                server.send(client, &Control::SessionReconnectOk(self.received.len() as u64));
                asked.received
            }
            other => panic!("{other:?}"),
        }
    }
}

/// One connection: what is sent on it, and where it breaks.
#[derive(Clone, Debug)]
struct Episode {
    to_client: u8,
    to_server: u8,
    secure: bool,
    /// Parts of what is under way that still arrive.
    client_reads: prop::sample::Index,
    server_reads: prop::sample::Index,
    /// Whether it breaks before the session has begun.
    early: bool,
}

fn episode() -> impl Strategy<Value = Episode> {
    (
        0..5_u8,
        0..5_u8,
        any::<bool>(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(to_client, to_server, secure, client_reads, server_reads, early)| Episode {
            to_client,
            to_server,
            secure,
            client_reads,
            server_reads,
            early,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(episodes in prop::collection::vec(episode(), 1..8)) {
        let mut client = Client::<Bytes>::new(lossless());
        let mut model = Model::default();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let last = Episode { early: false, ..episodes[0].clone() };
        let count = episodes.len();
        for (index, episode) in episodes.into_iter().chain([last]).enumerate() {
            let whole = index == count;
            let mut server = Server::lossless(episode.secure, COOKIE);
            client.connect();
            server.authenticate(&mut client).unwrap();
            for _ in 0..episode.to_server {
                sent.push(sent.len() as u64 + 1);
                send(&mut client, sent.len() as u64);
            }
            server.sequence = model.answer(&mut server, &mut client);
            for _ in 0..episode.to_client {
                model.sent.push(model.sent.len() as u64 + 1);
            }
            for &tid in &model.sent[server.sequence as usize..] {
                server.message(&mut client, tid, 3, tid as usize % 3);
            }
            if !whole {
                let arrives = if episode.early { 0 } else { episode.client_reads.index(client.incoming.len() + 1) };
                client.incoming.truncate(arrives);
            }
            client.pump().unwrap();
            if !whole {
                client.outgoing.truncate(episode.server_reads.index(client.outgoing.len() + 1));
            }
            for (number, tid) in server.messages(&mut client).0 {
                prop_assert_eq!(number, model.received.len() as u64 + 1);
                model.received.push(tid);
            }
            received.extend(client.messages().into_iter().map(|(tid, _)| tid));
            client.connection.disconnected();
        }
        prop_assert_eq!(&model.received, &sent);
        prop_assert_eq!(&received, &model.sent);
    }
}
