//! A connection against a scripted server: how it begins, what flows, and all the ways in which it can fail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::script::{Client, Fault, GLOBAL_ID, Known, Server, config, target};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;
use wasmount_ceph::Payload;
use wasmount_ceph::msgr::control::Control;
use wasmount_ceph::msgr::frame::Tag;
use wasmount_ceph::msgr::{Arrived, Chunk, Config, ConnectionError, Event, Message, Mode, Phase};
use wasmount_ceph::types::{AddrKind, UTime, entity};

fn connected(secure: bool) -> (Client<Bytes>, Server) {
    let mut client = Client::new(config());
    let mut server = Server::new(secure);
    client.connect();
    server.accept(&mut client).unwrap();
    (client, server)
}

#[test]
fn both_sides_learn_who_the_other_is() {
    for secure in [false, true] {
        let mut client = Client::<Bytes>::new(config());
        let mut server = Server::new(secure);
        client.connect();
        let ident = server.accept(&mut client).unwrap();
        // As the server sees it, with the nonce of all its connections and no port.
        let own = ident.addresses.0[0];
        assert_eq!((own.kind, own.nonce), (AddrKind::Any, 77));
        assert_eq!(own.socket.unwrap().to_string(), "198.51.100.7:0");
        assert_eq!((ident.target, ident.global_id), (target(), GLOBAL_ID as i64));
        assert_eq!((ident.flags, ident.cookie, ident.global_sequence), (1, 0, 1));
        let Some(Event::Ready { peer, resumed: false }) = client.events.pop_front() else {
            panic!("not ready")
        };
        assert_eq!((peer.name.kind, peer.name.number, peer.own), (entity::OSD, 3, own));
        assert_eq!(peer.mode, if secure { Mode::Secure } else { Mode::Crc });
        assert_eq!(client.connection.phase(), Phase::Ready);
    }
}

#[test]
fn messages_flow_both_ways() {
    for secure in [false, true] {
        let (mut client, mut server) = connected(secure);
        for (tid, data) in [(1, 0), (2, 100_000), (3, 5), (4, 0)] {
            server.message(&mut client, tid, 20, data);
            let chunks = match data {
                0 => vec![],
                _ => vec![Chunk::Bytes(vec![1; 3]), Chunk::Payload(Bytes::from(vec![2; data]))],
            };
            let front = vec![7; 90];
            client.connection.send(Message { tid, data: chunks, ..Message::new(42, 8, 3, front) });
        }
        client.pump().unwrap();
        assert_eq!(client.messages(), [(1, 0), (2, 100_000), (3, 5), (4, 0)]);
        let (messages, controls) = server.messages(&mut client);
        assert_eq!(messages, [(1, 1), (2, 2), (3, 3), (4, 4)]);
        // Lossy peers are not told what arrived.
        assert_eq!(controls, []);
    }
}

#[test]
fn messages_keep_their_order_while_one_is_decrypted() {
    let (mut client, mut server) = connected(true);
    client.opening = Some(Default::default());
    for (tid, data) in [(1, 10), (2, 0), (3, 10), (4, 10)] {
        server.message(&mut client, tid, 20, data);
    }
    client.pump().unwrap();
    assert_eq!(client.messages(), []);
    // The next frame was read meanwhile, but no more.
    assert_eq!(client.connection.want(), None);
    for expected in [&[(1, 10), (2, 0)][..], &[(3, 10)], &[(4, 10)]] {
        let plain = client.opening.as_mut().unwrap().pop_front().unwrap();
        client.opened(Some(plain)).unwrap();
        client.pump().unwrap();
        assert_eq!(client.messages(), expected);
    }
}

#[test]
fn what_was_changed_on_its_way_is_not_delivered() {
    let (mut client, mut server) = connected(true);
    client.opening = Some(Default::default());
    server.message(&mut client, 1, 20, 10);
    client.pump().unwrap();
    let error = client.opened(None).unwrap_err();
    assert_eq!(error.to_string(), "a message cannot be decrypted: it was changed on its way");
    assert_eq!((client.connection.phase(), client.connection.want()), (Phase::Idle, None));
    assert_eq!(client.opened(None), Err(ConnectionError::Driver));
}

#[test]
fn keepalives_are_answered_and_asked() {
    let (mut client, mut server) = connected(false);
    let theirs = UTime { seconds: 5, nanoseconds: 6 };
    server.send(&mut client, &Control::Keepalive2(theirs));
    client.pump().unwrap();
    assert_eq!(server.control(&mut client), Control::Keepalive2Ack(theirs));

    let start = client.now.monotonic_ms;
    assert_eq!(client.connection.next_timer(), Some(start + 10_000));
    client.now.monotonic_ms += 10_000;
    client.now.wall.seconds = 99;
    client.connection.on_timer(client.now).unwrap();
    client.pump().unwrap();
    let ours = UTime { seconds: 99, nanoseconds: 0 };
    assert_eq!(server.control(&mut client), Control::Keepalive2(ours));
    server.send(&mut client, &Control::Keepalive2Ack(ours));
    client.pump().unwrap();
    // Asked again even though the peer answers, and given up 30 s after it was last heard.
    for at in [20_000, 30_000] {
        assert_eq!(client.connection.next_timer(), Some(start + at));
        client.now.monotonic_ms = start + at;
        client.connection.on_timer(client.now).unwrap();
    }
    assert_eq!(client.connection.next_timer(), Some(start + 40_000));
    client.now.monotonic_ms = start + 40_000;
    let error = client.connection.on_timer(client.now).unwrap_err();
    assert_eq!(error.to_string(), "nothing was heard of the peer for 30000 ms");
    assert_eq!(client.connection.next_timer(), None);
}

#[test]
fn questions_without_end_take_no_memory_without_end() {
    let (mut client, mut server) = connected(false);
    let question = server.side.control(Tag::Keepalive2, &Control::Keepalive2(UTime::default()).encode());
    let mut read = 0;
    for _ in 0..40_000 {
        for part in [&question[..32], &question[32..]] {
            read += part.len();
            client
                .connection
                .received(client.now, Arrived::Bytes(part.to_vec()), &mut client.entropy)
                .unwrap();
        }
    }
    let written: usize = client.connection.poll_write().unwrap().unwrap().iter().map(Chunk::len).sum();
    // One write, and no more than one answer too many.
    assert!(read > 1_700_000 && written >= 1 << 20 && written < (1 << 20) + question.len(), "{written}");
}

#[test]
fn a_large_payload_on_its_way_is_not_silence() {
    let (mut client, mut server) = connected(false);
    server.message(&mut client, 1, 20, 6_400_000);
    client.incoming.truncate(1000);
    client.pump().unwrap();
    // 6.4 MB take 100 s at the slowest rate that counts.
    client.now.monotonic_ms += 129_000;
    client.connection.on_timer(client.now).unwrap();
    client.now.monotonic_ms += 1_000;
    assert_eq!(
        client.connection.on_timer(client.now),
        Err(ConnectionError::Silent { milliseconds: 130_000 })
    );
}

#[test]
fn a_handshake_has_its_time() {
    let mut client = Client::<Bytes>::new(config());
    assert_eq!((client.connection.next_timer(), client.connection.want()), (None, None));
    client.connect();
    let mut server = Server::new(false);
    client.pump().unwrap();
    server.banner(&mut client);
    client.now.monotonic_ms += 5_000;
    client.pump().unwrap();
    assert_eq!(client.connection.next_timer(), Some(11_000));
    client.now.monotonic_ms = 11_000;
    let error = client.connection.on_timer(client.now).unwrap_err();
    assert_eq!(error.to_string(), "the peer did not answer within 10000 ms, waiting for its greeting");
}

fn begins_with(bytes: &[u8]) -> String {
    let mut client = Client::<Bytes>::new(config());
    client.connect();
    client.incoming.extend_from_slice(bytes);
    client.pump().unwrap_err().to_string()
}

#[test]
fn other_protocols_are_told_apart() {
    assert_eq!(
        begins_with(b"ceph v027\0\0\0\0\0\0"),
        "the peer speaks only the old protocol v1 (its banner is \"ceph v027\"): give the address of its msgr2 port \
         (of a monitor, 3300) or turn it on (ceph mon enable-msgr2)"
    );
    assert_eq!(
        begins_with(b"HTTP/1.1 400 Bad Request\r\n"),
        "the peer does not speak Ceph's protocol: it begins with \"HTTP/1.1 4\" where \"ceph v2\" is expected"
    );
    assert!(begins_with(b"\x15\x03\x01\0\x02\x02\x46\0\0\0").contains("\"\\x15\\x03"));
    let features = |supported: u64, required: u64| {
        [&b"ceph v2\n\x10\0"[..], &supported.to_le_bytes(), &required.to_le_bytes()].concat()
    };
    assert!(begins_with(&features(0, 0)).starts_with("the peer does not speak revision 2.1"));
    assert!(begins_with(&features(7, 5)).ends_with("(0x4): it is too new"));
    assert!(begins_with(b"ceph v2\n\x0f\0").ends_with("announces 15 bytes of features, 16 are expected"));
}

fn refused(config: Config, change: impl FnOnce(&mut Server)) -> String {
    let mut client = Client::<Bytes>::new(config);
    let mut server = Server::new(false);
    change(&mut server);
    client.connect();
    let error = server.accept(&mut client).unwrap_err();
    assert_eq!(client.connection.phase(), Phase::Idle);
    error.to_string()
}

#[test]
fn peers_that_are_not_as_expected_are_refused() {
    assert_eq!(
        refused(config(), |server| server.kind = entity::MON),
        "the peer is a monitor, not an OSD as expected: another daemon has taken the address"
    );
    assert!(
        refused(config(), |server| server.fault = Fault::Signature)
            .starts_with("the peer's signature of the handshake is wrong")
    );
    assert_eq!(
        refused(Config { modes: vec![Mode::Secure], ..config() }, |server| {
            server.secure = true;
            server.fault = Fault::Mode;
        }),
        "the peer chose connection mode crc, which was not offered (secure)"
    );
    assert_eq!(
        refused(config(), |server| server.ident.required |= 1 << 38),
        "the peer requires features that this client does not have: CRUSH_MSR"
    );
}

#[test]
fn a_refusal_is_explained_by_the_authenticator() {
    let mut client = Client::<Bytes>::new(config());
    let mut server = Server::new(false);
    client.connect();
    client.pump().unwrap();
    server.banner(&mut client);
    server.hello(&mut client);
    client.pump().unwrap();
    let refusal = Control::AuthBadMethod {
        method: 2,
        result: -13,
        allowed_methods: vec![1, 2],
        allowed_modes: vec![2],
    };
    server.send(&mut client, &refusal);
    assert_eq!(client.pump().unwrap_err().to_string(), "authentication: refused by the script");
}

#[test]
fn an_authentication_ends() {
    let mut client = Client::<Bytes>::new(config());
    let mut server = Server::new(false);
    client.connect();
    client.pump().unwrap();
    server.banner(&mut client);
    server.hello(&mut client);
    for _ in 0..9 {
        server.send(&mut client, &Control::AuthReplyMore(Vec::new()));
    }
    assert_eq!(client.pump(), Err(ConnectionError::EndlessAuthentication));
}

#[test]
fn frames_out_of_place_are_refused() {
    let (mut client, mut server) = connected(false);
    server.send(&mut client, &Control::SessionRetry(3));
    assert_eq!(client.pump().unwrap_err().to_string(), "the peer sent SESSION_RETRY while in the session");

    let mut client = Client::<Bytes>::new(config());
    let mut server = Server::new(false);
    client.connect();
    server.authenticate(&mut client).unwrap();
    server.send(&mut client, &Control::IdentMissingFeatures(1 << 50));
    assert!(client.pump().unwrap_err().to_string().ends_with("SERVER_TENTACLE"));
}

#[test]
fn missing_messages_are_noticed() {
    let (mut client, mut server) = connected(false);
    server.message(&mut client, 1, 10, 0);
    server.sequence += 1;
    server.message(&mut client, 2, 10, 0);
    assert_eq!(client.pump().unwrap_err().to_string(), "message 2 is missing, the peer sent 3");
    // What came before is still delivered.
    while let Some(event) = client.connection.poll_event() {
        client.events.push_back(event);
    }
    assert_eq!(client.messages(), [(1, 0)]);
}

#[test]
fn a_broken_lossy_connection_begins_anew() {
    let (mut client, _server) = connected(false);
    client.connection.send(Message::new(1, 1, 1, vec![1]));
    client.connection.disconnected();
    assert_eq!(client.connection.queued(), 0);
    client.connection.send(Message { tid: 9, ..Message::new(1, 1, 1, vec![1]) });
    client.connect();
    let mut server = Server::new(true);
    let ident = server.accept(&mut client).unwrap();
    assert_eq!(ident.global_sequence, 2);
    assert_eq!(server.messages(&mut client).0, [(1, 9)]);
}

thread_local! {
    /// Bytes copied out of payload.
    static COPIED: Cell<usize> = const { Cell::new(0) };
}

/// A payload that notes what is copied out of it.
struct Counted(Bytes);

impl Payload for Counted {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn slice(&self, offset: usize, length: usize) -> Option<Self> {
        Payload::slice(&self.0, offset, length).map(Self)
    }

    fn share(&self) -> Self {
        Self(self.0.clone())
    }

    fn copy_out(&self, offset: usize, length: usize) -> Option<Vec<u8>> {
        COPIED.set(COPIED.get() + length);
        self.0.copy_out(offset, length)
    }

    fn crc32c(&self, register: u32) -> u32 {
        self.0.crc32c(register)
    }
}

impl Known for Counted {
    fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

#[test]
fn four_mebibytes_of_data_cost_a_few_hundred_bytes() {
    for secure in [false, true] {
        let mut client = Client::<Counted>::new(config());
        let mut server = Server::new(secure);
        client.connect();
        server.accept(&mut client).unwrap();
        client.looked_at = 0;
        COPIED.set(0);
        server.message(&mut client, 1, 200, 4 << 20);
        client.pump().unwrap();
        assert_eq!(client.messages(), [(1, 4 << 20)]);
        // Preamble, header and its crc, front, epilogue; or sealed preamble, and what is copied out of the rest.
        let expected = if secure { (96, 1 + 200) } else { (32 + 41 + 4 + 200 + 13, 0) };
        assert_eq!((client.looked_at, COPIED.get()), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300), after in 0..3_u8) {
        let mut client = Client::<Bytes>::new(config());
        let mut server = Server::new(false);
        client.connect();
        match after {
            0 => {}
            1 => {
                client.pump().unwrap();
                server.banner(&mut client);
            }
            _ => drop(server.accept(&mut client).unwrap()),
        }
        client.incoming.extend_from_slice(&bytes);
        let result = client.pump();
        prop_assert!(result.is_ok() || client.connection.phase() == Phase::Idle);
    }

    /// Frames that are well-formed outside and anything inside, at any moment.
    #[test]
    fn arbitrary_payloads_do_no_harm(tag in 1..21_u8, payload in vec(any::<u8>(), 0..150), after in 0..3_u8) {
        let mut client = Client::<Bytes>::new(config());
        let mut server = Server::new(false);
        client.connect();
        match after {
            0 => {
                client.pump().unwrap();
                server.banner(&mut client);
            }
            1 => server.authenticate(&mut client).unwrap(),
            _ => drop(server.accept(&mut client).unwrap()),
        }
        let tag = Tag::from_number(tag).unwrap();
        let bytes = server.side.control(tag, &payload);
        client.incoming.extend_from_slice(&bytes);
        let result = client.pump();
        prop_assert!(result.is_ok() || client.connection.phase() == Phase::Idle);
    }
}
