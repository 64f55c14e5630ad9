//! A connection from its first byte on, with a server that says anything.
//!
//! Authentication lets everybody in and the cipher changes nothing, so that bytes reach what lies behind both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use bytes::Bytes;
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::msgr::control::{Control, FLAG_LOSSY, ServerIdent};
use wasmount_ceph::msgr::frame::{Assembled, FrameWriter, Tag};
use wasmount_ceph::msgr::{
    Aead, AeadFactory, Arrived, Authenticator, Chunk, Config, Connection, Event, GlobalSequence, Message,
    MessageHeader, NONCE_LEN, Policy, SessionKeys, TAG_LEN, Want, features,
};
use wasmount_ceph::types::{AddrVec, EntityAddr, entity};
use wasmount_ceph::{Entropy, Now};

use crate::input::{Input, pieces};

const BANNER: &[u8] = b"ceph v2\n\x10\x00\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

struct Nothing;

impl Entropy for Nothing {
    fn fill(&mut self, into: &mut [u8]) {
        into.fill(7);
    }
}

/// Adds an empty tag, and takes it away.
#[derive(Debug)]
struct Open;

impl Aead for Open {
    fn open(&self, _: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        sealed.len().checked_sub(TAG_LEN).and_then(|length| sealed.get(..length)).map(<[u8]>::to_vec)
    }

    fn seal(&self, _: &[u8; NONCE_LEN], plain: &[u8]) -> Option<Vec<u8>> {
        Some([plain, &[0; TAG_LEN]].concat())
    }
}

impl AeadFactory for Open {
    type Aead = Self;

    fn aes128_gcm(&self, _: &[u8; 16]) -> Option<Self> {
        Some(Self)
    }
}

/// Without a session key signatures are zeros; the secret of the connection is what secure mode takes its keys from.
struct Anybody;

impl Authenticator for Anybody {
    fn method(&self) -> u32 {
        2
    }

    fn start(&mut self, _: Now, _: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        Ok(vec![1; 20])
    }

    fn bad_method(&mut self, _: i32, _: &[u32], _: &[u32]) -> AuthError {
        AuthError::Superseded
    }

    fn more(&mut self, payload: &[u8], _: Now, _: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        Ok(payload.to_vec())
    }

    fn done(&mut self, _: u64, _: &[u8], _: Now) -> Result<SessionKeys, AuthError> {
        Ok(SessionKeys { connection_secret: vec![3; 64].into(), ..SessionKeys::default() })
    }
}

type Client = Connection<Bytes, Anybody, Open>;

fn client(lossless: bool) -> Client {
    let server = EntityAddr::msgr2(SocketAddr::from((Ipv4Addr::LOCALHOST, 3300)), 0);
    let mut config = Config::new(entity::MON, server, 1, GlobalSequence::default());
    if lossless {
        (config.peer_kind, config.policy) = (entity::MDS, Policy::Lossless);
    }
    Connection::new(config, Anybody, Open)
}

/// Everything that a driver does after each step.
fn drive(client: &mut Client, now: Now) -> bool {
    for _ in 0..64 {
        let mut idle = true;
        match client.poll_write() {
            Ok(Some(_)) => idle = false,
            Ok(None) => {}
            Err(_) => return false,
        }
        while let Some(event) = client.poll_event() {
            idle = false;
            let fine = match event {
                Event::Open { cipher, nonce, sealed } => {
                    client.opened(now, cipher.open(&nonce, &sealed).map(Bytes::from), &mut Nothing)
                }
                Event::Seal { cipher, nonce, plain } => {
                    let plain: Vec<u8> = plain.into_iter().flat_map(chunk_bytes).collect();
                    client.sealed(cipher.seal(&nonce, &plain).unwrap_or_default().into())
                }
                Event::Ready { .. } | Event::Message(_) | Event::Reset => Ok(()),
            };
            if fine.is_err() {
                return false;
            }
        }
        if idle {
            return true;
        }
    }
    true
}

fn chunk_bytes(chunk: Chunk<Bytes>) -> Vec<u8> {
    match chunk {
        Chunk::Bytes(bytes) => bytes,
        Chunk::Payload(payload) => payload.to_vec(),
    }
}

/// Lets the client read these bytes; after an error it connects again and reads what is left, as often as a client would.
fn read(mut client: Client, bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut now = Now::default();
    client.send(Message::new(1, 1, 1, vec![1; 30]));
    for _ in 0..4 {
        client.connected(Some(IpAddr::from(Ipv4Addr::LOCALHOST)), now);
        while drive(&mut client, now) && !input.is_empty() {
            let arrived = match client.want() {
                Some(Want::Bytes(length)) if length as usize <= input.0.len() => {
                    Arrived::Bytes(input.take(length as usize).to_vec())
                }
                Some(Want::Payload(length)) if length as usize <= input.0.len() => {
                    Arrived::Payload(Bytes::copy_from_slice(input.take(length as usize)))
                }
                Some(_) | None => return,
            };
            if client.received(now, arrived, &mut Nothing).is_err() {
                break;
            }
        }
        if let Some(timer) = client.next_timer() {
            now.monotonic_ms = timer;
            let _ = client.on_timer(now);
        }
        client.disconnected();
    }
}

/// Bytes as they come.
pub(super) fn stream(input: &[u8]) {
    let mut input = Input(input);
    let lossless = input.byte() & 1 != 0;
    read(client(lossless), input.rest());
}

/// Frames whose checksums are right: for each one a tag, flags, and pieces for its segments.
pub(super) fn session(input: &[u8]) {
    let mut input = Input(input);
    let lossless = input.byte() & 1 != 0;
    let (mut bytes, mut writer) = (BANNER.to_vec(), FrameWriter::<Open>::default());
    while !input.is_empty() {
        let (tag, flags) = (input.byte(), input.byte());
        let Some(tag) = Tag::from_number(tag) else { continue };
        if tag == Tag::Message {
            let Ok(header) = MessageHeader::decode(input.take(MessageHeader::LENGTH)) else { break };
            let mut message =
                Message::new(header.kind, header.version, header.compat, input.piece().to_vec());
            message.middle = input.piece().to_vec();
            message.data = vec![Chunk::Payload(Bytes::copy_from_slice(input.piece()))];
            match writer.message(&header, message) {
                Ok(Assembled::Ready(chunks)) => bytes.extend(chunks.into_iter().flat_map(chunk_bytes)),
                Ok(Assembled::Sealing { before, nonce, plain }) => {
                    let plain: Vec<u8> = plain.into_iter().flat_map(chunk_bytes).collect();
                    bytes.extend(before);
                    bytes.extend(Open.seal(&nonce, &plain).unwrap_or_default());
                }
                Err(_) => break,
            }
        } else {
            let Ok(frame) = writer.control(tag, input.piece()) else { break };
            bytes.extend(frame);
        }
        if flags & 1 != 0 {
            writer.secure(std::rc::Rc::new(Open), [0; NONCE_LEN]);
        }
        if flags & 2 != 0 {
            // The other end has hung up and is connected to again.
            writer = FrameWriter::default();
            bytes.extend_from_slice(BANNER);
        }
    }
    read(client(lossless), &bytes);
}

/// A whole session, each frame with its flags.
fn frames(mode: u32, lossless: bool) -> Vec<(Control, u8)> {
    let address = EntityAddr::msgr2(SocketAddr::from((Ipv4Addr::LOCALHOST, 40000)), 9);
    let kind = if lossless { entity::MDS } else { entity::MON };
    let ident = ServerIdent {
        addresses: AddrVec(vec![EntityAddr::msgr2(SocketAddr::from((Ipv4Addr::LOCALHOST, 3300)), 0)]),
        number: 0,
        global_sequence: 1,
        supported: features::SUPPORTED,
        required: 0,
        flags: if lossless { 0 } else { FLAG_LOSSY },
        cookie: u64::from(lossless) * 77,
    };
    vec![
        (Control::Hello { kind, peer_address: address }, 0),
        (Control::AuthReplyMore(vec![5; 9]), 0),
        (Control::AuthDone { global_id: 4100, mode, payload: vec![6; 30] }, u8::from(mode == 2)),
        (Control::AuthSignature([0; 32]), 0),
        (Control::ServerIdent(ident), 0),
        (Control::Ack(1), 0),
        (Control::Keepalive2(Now::default().wall), 0),
    ]
}

fn header(sequence: u64) -> MessageHeader {
    MessageHeader {
        sequence,
        tid: 1,
        kind: 43,
        priority: 127,
        version: 8,
        data_padding: 0,
        data_offset: 0,
        acknowledged: 1,
        flags: 0,
        compat: 1,
    }
}

pub(super) fn session_seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (mode, lossless) in [(1, false), (2, false), (1, true), (2, true)] {
        let mut seed = vec![u8::from(lossless)];
        for (control, flags) in frames(mode, lossless) {
            seed.extend([control.tag() as u8, flags]);
            seed.extend(pieces([control.encode().as_slice()]));
        }
        seed.extend([Tag::Message as u8, u8::from(lossless) * 2]);
        seed.extend(header(1).encode());
        seed.extend(pieces([&[1_u8; 40][..], &[], &[2; 300]]));
        if lossless {
            for (control, flags) in frames(mode, true).into_iter().take(4) {
                seed.extend([control.tag() as u8, flags]);
                seed.extend(pieces([control.encode().as_slice()]));
            }
            for control in [
                Control::SessionRetry(3),
                Control::SessionReconnectOk(1),
                Control::SessionReset { full: true },
            ] {
                seed.extend([control.tag() as u8, 0]);
                seed.extend(pieces([control.encode().as_slice()]));
            }
        }
        seeds.push(seed);
    }
    Ok(seeds)
}

pub(super) fn stream_seeds() -> Result<Vec<Vec<u8>>> {
    let mut writer = FrameWriter::<Open>::default();
    let mut seed = [&[0], BANNER].concat();
    for (control, _) in frames(1, false) {
        seed.extend(writer.control(control.tag(), &control.encode())?);
    }
    Ok(vec![seed])
}
