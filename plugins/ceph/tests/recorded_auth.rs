//! Recorded authentications: with the keyring of the test cluster and the randomness of the recorded client, this client says what that
//! one said, believes what the cluster answered, and derives the same secrets: signatures agree, and what is encrypted can be read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::frames::{BANNER_LEN, Side};
use common::native::Ciphers;
use common::pcap::{Recording, recordings, text};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use wasmount_ceph::auth::{Cephx, Key, KeyType, Usage, keyring};
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::mds::kind;
use wasmount_ceph::msgr::control::Control;
use wasmount_ceph::msgr::frame::{Frame, Tag};
use wasmount_ceph::msgr::{AeadFactory, Authenticator, SecureKeys, SessionKeys};
use wasmount_ceph::types::entity;
use wasmount_ceph::{Entropy, Now};

/// Numbers known in advance. What is random without being a number is zero.
struct Script(VecDeque<u64>);

impl Entropy for Script {
    fn fill(&mut self, into: &mut [u8]) {
        match <&mut [u8; 8]>::try_from(&mut *into) {
            Ok(number) => *number = self.0.pop_front().expect("no more numbers are known").to_le_bytes(),
            Err(_) => into.fill(0),
        }
    }
}

fn script(numbers: &[u64]) -> Script {
    Script(numbers.iter().copied().collect())
}

/// One direction of a connection while it is read.
struct Reader {
    side: Side,
    all: Bytes,
    rest: Bytes,
}

impl Reader {
    fn new(stream: &[u8]) -> Self {
        let all = Bytes::copy_from_slice(stream);
        Self { side: Side::new(), rest: all.slice(BANNER_LEN..), all }
    }

    fn frame(&mut self) -> Option<Frame<Bytes>> {
        self.side.read(&mut self.rest).unwrap()
    }

    fn control(&mut self) -> Control {
        let frame = self.frame().unwrap();
        Control::decode(frame.tag, &frame.head).unwrap().unwrap()
    }

    /// The next frame, which must be the same when it is written.
    fn frame_again(&mut self) -> Option<Frame<Bytes>> {
        let before = self.rest.clone();
        let frame = self.frame()?;
        let again = self.side.again(&frame);
        assert!(again == before[..before.len() - self.rest.len()], "{} is written differently", frame.tag);
        Some(frame)
    }

    fn control_again(&mut self) -> Control {
        let frame = self.frame_again().unwrap();
        Control::decode(frame.tag, &frame.head).unwrap().unwrap()
    }

    /// What was read so far, the banner included.
    fn transcript(&self) -> Bytes {
        self.all.slice(..self.all.len() - self.rest.len())
    }
}

/// What was said until the client was authenticated.
struct Exchange {
    to_server: Reader,
    to_client: Reader,
    server: u8,
    request: Vec<u8>,
    challenge: Vec<u8>,
    answer: Vec<u8>,
    global_id: u64,
    mode: u32,
    done: Vec<u8>,
}

impl Exchange {
    fn read(recording: &Recording) -> Option<Self> {
        let mut to_server = Reader::new(&recording.to_server);
        let mut to_client = Reader::new(&recording.to_client);
        let Control::Hello { kind: entity::CLIENT, .. } = to_server.control() else { return None };
        let Control::Hello { kind: server, .. } = to_client.control() else { return None };
        let Control::AuthRequest { method: 2, payload: request, .. } = to_server.control() else {
            return None;
        };
        let Control::AuthReplyMore(challenge) = to_client.control() else { return None };
        let Control::AuthRequestMore(answer) = to_server.control() else { return None };
        let Control::AuthDone { global_id, mode, payload: done } = to_client.control() else { return None };
        Some(Self { to_server, to_client, server, request, challenge, answer, global_id, mode, done })
    }

    /// Checks both signatures with the derived key, then reads both directions to the end, and writes every frame again byte for byte;
    /// returns the messages.
    fn finish(self, keys: &SessionKeys) -> Vec<Frame<Bytes>> {
        let transcripts = [self.to_client.transcript(), self.to_server.transcript()];
        let secure = (self.mode == 2).then(|| SecureKeys::parse(&keys.connection_secret).unwrap());
        assert!(secure.is_some() || keys.connection_secret.is_empty());
        let mut messages = Vec::new();
        // Each side signs what it received.
        for (mut reader, transcript, nonce) in [
            (self.to_server, &transcripts[0], secure.as_ref().map(|keys| keys.from_client)),
            (self.to_client, &transcripts[1], secure.as_ref().map(|keys| keys.from_server)),
        ] {
            if let (Some(keys), Some(nonce)) = (&secure, nonce) {
                let cipher = Rc::new(Ciphers.aes128_gcm(&keys.key).unwrap());
                reader.side.secure(cipher, nonce, nonce);
            }
            let mac = Hmac::<Sha256>::new_from_slice(&keys.session_key).unwrap().chain_update(transcript);
            assert_eq!(reader.control_again(), Control::AuthSignature(mac.finalize().into_bytes().into()));
            while let Some(frame) = reader.frame_again() {
                if frame.tag == Tag::Message {
                    messages.push(frame);
                }
            }
            assert!(reader.rest.is_empty());
        }
        messages
    }
}

/// The session keys in a monitor's answer, by service.
fn session_keys(done: &[u8], user: &Key) -> BTreeMap<u32, Key> {
    fn tickets(decoder: &mut Decoder<'_>, key: &Key, keys: &mut BTreeMap<u32, Key>) {
        decoder.skip(1).unwrap();
        for _ in 0..decoder.u32().unwrap() {
            let service = decoder.u32().unwrap();
            decoder.skip(1).unwrap();
            let mine = key.open(Usage::TicketSessionKey, decoder.blob().unwrap(), "a ticket").unwrap();
            keys.insert(service, Key::decode(&mut Decoder::new("ticket", &mine[1..])).unwrap());
            decoder.skip(1).unwrap();
            decoder.blob().unwrap();
        }
    }
    let mut keys = BTreeMap::new();
    let mut decoder = Decoder::new("done", done);
    decoder.skip(6).unwrap();
    tickets(&mut decoder, user, &mut keys);
    let session = keys[&entity::AUTH.into()].clone();
    decoder.blob().unwrap();
    let extra = decoder.blob().unwrap();
    if !extra.is_empty() {
        tickets(&mut Decoder::new("extra", extra), &session, &mut keys);
    }
    keys
}

/// Global id and service of an authorizer, and the rest of it.
fn authorizer(payload: &[u8]) -> (u64, u32, Decoder<'_>) {
    let mut decoder = Decoder::new("authorizer", payload);
    decoder.skip(1).unwrap();
    let head = (decoder.u64().unwrap(), decoder.u32().unwrap());
    decoder.skip(9).unwrap();
    decoder.blob().unwrap();
    (head.0, head.1, decoder)
}

/// What an authorizer proves: nonce, whether a challenge is answered, and how.
fn proof(payload: &[u8], key: &Key) -> Vec<u8> {
    let (_, _, mut rest) = authorizer(payload);
    let opened = key.open(Usage::Authorize, rest.blob().unwrap(), "an authorizer").unwrap();
    assert!(rest.is_empty());
    opened.to_vec()
}

/// Counts connections to monitors, connections to services, and messages on both.
fn replay(recordings: &[Recording], user: &Key) -> (usize, usize, usize) {
    let (monitors, services, messages) = messages(recordings, user);
    (monitors, services, messages.len())
}

/// Replays everything that `client.admin` did. Returns connections to monitors, connections to services, and messages on both.
fn messages(recordings: &[Recording], user: &Key) -> (usize, usize, Vec<Frame<Bytes>>) {
    let mut clients = BTreeMap::new();
    let (mut monitors, mut services, mut messages) = (0, 0, Vec::new());
    let now = Now::default();
    for recording in recordings {
        let Some(exchange) = Exchange::read(recording) else { continue };
        let keys = if exchange.server == entity::MON {
            // Ceph's client asks for a second ticket of the authentication service, which this one does not unless it is told.
            let cephx =
                Cephx::new("client.admin", Some(user.clone()), &services_asked(&exchange.answer)).unwrap();
            let mut client = cephx.monitor();
            assert_eq!(client.start(now, &mut script(&[])).unwrap(), exchange.request);
            let challenge = u64::from_le_bytes(exchange.answer[3..11].try_into().unwrap());
            assert_eq!(
                client.more(&exchange.challenge, now, &mut script(&[challenge])).unwrap(),
                exchange.answer
            );
            let keys = client.done(exchange.global_id, &exchange.done, now).unwrap();
            assert_eq!(cephx.global_id(), exchange.global_id);
            clients.insert(exchange.global_id, (cephx, session_keys(&exchange.done, user)));
            monitors += 1;
            keys
        } else {
            let (global_id, service, _) = authorizer(&exchange.request);
            assert_eq!(service, exchange.server.into());
            let Some((cephx, session_keys)) = clients.get(&global_id) else { continue };
            let key = &session_keys[&service];
            let theirs = proof(&exchange.request, key);
            let nonce = u64::from_le_bytes(theirs[1..9].try_into().unwrap());
            let mut client = cephx.service(exchange.server);
            let request = client.start(now, &mut script(&[nonce])).unwrap();
            let answer = client.more(&exchange.challenge, now, &mut script(&[])).unwrap();
            assert_eq!(proof(&request, key), theirs);
            assert_eq!(proof(&answer, key), proof(&exchange.answer, key));
            if key.key_type() == KeyType::Aes {
                // Nothing about this cipher is random.
                assert_eq!((request, answer), (exchange.request.clone(), exchange.answer.clone()));
            }
            services += 1;
            client.done(exchange.global_id, &exchange.done, now).unwrap()
        };
        messages.append(&mut exchange.finish(&keys));
    }
    (monitors, services, messages)
}

/// The last number of a `CephXAuthenticate`, as a list of services.
fn services_asked(answer: &[u8]) -> Vec<u8> {
    let set = answer[answer.len() - 4];
    (0..8).map(|bit| 1 << bit).filter(|service| set & service != 0).collect()
}

fn key_of(name: &str) -> Key {
    keyring::parse(&text(name), "client.admin").unwrap()
}

#[test]
fn a_mount_in_crc_mode() {
    let user = key_of("client.admin.keyring");
    assert_eq!(replay(&recordings("fuse-crc.pcap.gz"), &user), (1, 3, 268));
}

#[test]
fn a_mount_in_secure_mode_can_be_read() {
    let user = key_of("client.admin.keyring");
    assert_eq!(replay(&recordings("fuse-secure.pcap.gz"), &user), (1, 3, 245));
}

/// What was encrypted is what the MDS and its client said.
#[test]
fn a_mount_in_secure_mode_can_be_understood() {
    let user = key_of("client.admin.keyring");
    let (_, _, messages) = messages(&recordings("fuse-secure.pcap.gz"), &user);
    let messages: Vec<_> = messages.into_iter().map(common::mds::message).collect();
    let census = common::mds::read_all(&messages, false);
    let count = |kind, version| census.get(&(kind, version)).copied().unwrap_or(0);
    assert_eq!(count(kind::MDS_MAP, 2), 1);
    assert!(count(kind::CLIENT_REQUEST, 5) > 50, "{census:?}");
    assert!(count(kind::CLIENT_REPLY, 1) >= count(kind::CLIENT_REQUEST, 5), "{census:?}");
    assert!(count(kind::CLIENT_CAPS, 11) > 30, "{census:?}");
}

#[test]
fn images_and_objects_from_several_clients() {
    let user = key_of("client.admin.keyring");
    assert_eq!(replay(&recordings("rbd-crc-all.pcap.gz"), &user), (24, 25, 474));
}

#[test]
fn a_mount_with_the_newer_cipher() {
    let user = key_of("tentacle.client.admin.keyring");
    assert_eq!(user.key_type(), KeyType::Aes256k);
    assert_eq!(replay(&recordings("fuse-crc-tentacle.pcap.gz"), &user), (1, 2, 69));
}

#[test]
fn a_wrong_key_is_noticed_by_the_client_too() {
    let recordings = recordings("fuse-crc.pcap.gz");
    let exchange = recordings.iter().find_map(Exchange::read).unwrap();
    let other = Key::parse("AQBiKBxYuPXiJRAAsupnTBsURoWzb0k00oM3iQ==").unwrap();
    let cephx = Cephx::new("client.admin", Some(other), &[entity::OSD]).unwrap();
    let mut client = cephx.monitor();
    client.start(Now::default(), &mut script(&[])).unwrap();
    assert_ne!(client.more(&exchange.challenge, Now::default(), &mut script(&[1])).unwrap(), exchange.answer);
    let error = client.done(exchange.global_id, &exchange.done, Now::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a ticket cannot be verified: the peer does not have the key it should have"
    );
    assert_eq!(cephx.global_id(), 0);
}
