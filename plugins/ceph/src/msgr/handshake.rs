//! From a fresh transport to flowing messages: banner, greeting, authentication, signature, session.

use super::aead::{AeadFactory, SecureKeys};
use super::auth::{Authenticator, SessionKeys};
use super::config::{Mode, Policy};
use super::connection::{Connection, Event, Peer};
use super::control::{ClientIdent, Control, FLAG_LOSSY, ServerIdent, SessionReconnect};
use super::error::{ConnectionError, Phase};
use super::features::{Features, MSG_ADDR2};
use super::frame::Tag;
use super::message::{Arrived, Chunk, Want};
use crate::encoding::{Decoder, Encoder};
use crate::entropy::Entropy;
use crate::payload::Payload;
use crate::time::Now;
use crate::types::{AddrKind, AddrVec, EntityAddr, EntityName, entity};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use zeroize::Zeroizing;

/// How a peer that speaks msgr2 begins.
const BANNER: &[u8; 8] = b"ceph v2\n";
/// How one begins that speaks the old protocol.
const OLD_BANNER: &[u8] = b"ceph v0";
/// Bytes of a banner before its features.
const BANNER_LEN: usize = BANNER.len() + 2;
/// Bytes of a banner's features: those supported, those required.
const BANNER_FEATURES_LEN: u16 = 16;
/// Longest features that are read; newer peers may have more than we know.
const BANNER_FEATURES_MAX: u16 = 1024;
/// The banner's feature bit of revision 2.1. Compression (bit 1) is not offered: payload is not looked at here.
const REVISION_1: u64 = 1;
/// Questions that a server may ask in one authentication. Cephx asks one.
const AUTH_ROUNDS_MAX: u32 = 8;

/// What is kept from the beginning of a transport until messages flow.
#[derive(Default)]
pub(super) struct Handshake {
    /// Length of the banner's features, once known.
    banner_features: Option<u16>,
    local: Option<IpAddr>,
    /// The address by which this client announces itself.
    own: EntityAddr,
    rounds: u32,
    /// Everything that went over the transport until the authentication was done. Each side signs what it received.
    transcript: Option<Transcript>,
    /// What the peer's signature must be of.
    sent: Vec<u8>,
    /// What signs.
    session_key: Zeroizing<Vec<u8>>,
    global_id: u64,
    mode: Option<Mode>,
}

#[derive(Default)]
struct Transcript {
    received: Vec<u8>,
    sent: Vec<u8>,
}

impl Handshake {
    pub(super) fn record_received(&mut self, bytes: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.received.extend_from_slice(bytes);
        }
    }

    pub(super) fn record_sent(&mut self, bytes: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.sent.extend_from_slice(bytes);
        }
    }
}

/// The signature of a transcript. Without a key (authentication `none`) it is zero.
fn sign(key: &[u8], transcript: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) if !key.is_empty() => mac.chain_update(transcript).finalize().into_bytes().into(),
        _ => [0; 32],
    }
}

/// Whether a signature is that of a transcript, compared in constant time.
fn verify(key: &[u8], transcript: &[u8], signature: &[u8; 32]) -> bool {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) if !key.is_empty() => mac.chain_update(transcript).verify_slice(signature).is_ok(),
        _ => *signature == [0; 32],
    }
}

/// What people call a daemon of this kind.
fn kind_name(kind: u8) -> &'static str {
    match kind {
        entity::MON => "a monitor",
        entity::MDS => "a metadata server",
        entity::OSD => "an OSD",
        entity::CLIENT => "a client",
        entity::MGR => "a manager",
        _ => "something unknown",
    }
}

impl<P: Payload, A: Authenticator, F: AeadFactory> Connection<P, A, F> {
    pub(super) fn begin_handshake(&mut self, local: Option<IpAddr>) {
        self.phase = Phase::Banner;
        self.handshake = Handshake { local, transcript: Some(Transcript::default()), ..Handshake::default() };
        let mut banner = Encoder::new();
        banner.raw(BANNER).u16(BANNER_FEATURES_LEN).u64(REVISION_1).u64(REVISION_1);
        let banner = banner.finish();
        self.handshake.record_sent(&banner);
        self.outbox.push(Chunk::Bytes(banner));
    }

    pub(super) fn want_banner(&self) -> Want {
        Want::Bytes(self.handshake.banner_features.map_or(BANNER_LEN as u32, u32::from))
    }

    pub(super) fn banner_received(&mut self, arrived: Arrived<P>) -> Result<(), ConnectionError> {
        let Arrived::Bytes(bytes) = arrived else { return Err(ConnectionError::Driver) };
        if Want::Bytes(bytes.len() as u32) != self.want_banner() {
            return Err(ConnectionError::Driver);
        }
        if self.handshake.banner_features.is_some() {
            return self.banner_features_received(&bytes);
        }
        let mut decoder = Decoder::new("a banner", &bytes);
        if decoder.bytes(BANNER.len())? != BANNER {
            let banner = bytes.escape_ascii().to_string();
            return Err(if bytes.starts_with(OLD_BANNER) {
                // Its version, `ceph v027`, without the beginning of what follows.
                ConnectionError::OldProtocol { banner: banner.chars().take(9).collect() }
            } else {
                ConnectionError::NotCeph { banner }
            });
        }
        let length = decoder.u16()?;
        if !(BANNER_FEATURES_LEN..=BANNER_FEATURES_MAX).contains(&length) {
            return Err(ConnectionError::Banner(length));
        }
        self.handshake.banner_features = Some(length);
        Ok(())
    }

    fn banner_features_received(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let mut decoder = Decoder::new("a banner", bytes);
        let (supported, required) = (decoder.u64()?, decoder.u64()?);
        if supported & REVISION_1 == 0 {
            return Err(ConnectionError::OldRevision { supported });
        }
        if required & !REVISION_1 != 0 {
            return Err(ConnectionError::NewRevision { missing: required & !REVISION_1 });
        }
        self.phase = Phase::Hello;
        self.push_control(&Control::Hello { kind: entity::CLIENT, peer_address: self.config.target })
    }

    /// Takes a frame that is not a message and has no place once messages flow.
    pub(super) fn handshake_received(
        &mut self,
        control: Control,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        use Phase::{Authentication, Hello, Session, Signature};
        match (self.phase, control) {
            (Hello, Control::Hello { kind, peer_address }) => self.greeted(kind, &peer_address, now, entropy),
            (Authentication, Control::AuthBadMethod { result, allowed_methods, allowed_modes, .. }) => {
                Err(self.authenticator.bad_method(result, &allowed_methods, &allowed_modes).into())
            }
            (Authentication, Control::AuthReplyMore(payload)) => {
                self.handshake.rounds += 1;
                if self.handshake.rounds > AUTH_ROUNDS_MAX {
                    return Err(ConnectionError::EndlessAuthentication);
                }
                let answer = self.authenticator.more(&payload, now, entropy)?;
                self.push_control(&Control::AuthRequestMore(answer))
            }
            (Authentication, Control::AuthDone { global_id, mode, payload }) => {
                self.authenticated(global_id, mode, &payload, now)
            }
            (Signature, Control::AuthSignature(signature)) => self.signed(&signature, entropy),
            (Session, Control::ServerIdent(ident)) if !self.resuming() => self.accepted(ident),
            (Session, Control::IdentMissingFeatures(missing)) => {
                Err(ConnectionError::MissingFeatures(Features(missing)))
            }
            (Session, Control::SessionReconnectOk(received)) if self.resuming() => self.resumed(received),
            (Session, Control::SessionRetry(known)) if self.resuming() => {
                self.session.connect_sequence = known.saturating_add(1);
                self.send_reconnect()
            }
            (Session, Control::SessionRetryGlobal(known)) if self.resuming() => {
                self.session.global_sequence = self.config.connections.next_after(known);
                self.send_reconnect()
            }
            (Session, Control::SessionReset { full }) if self.resuming() => {
                self.session.reset(full);
                if full {
                    self.events.push_back(Event::Reset);
                }
                self.send_ident(entropy)
            }
            (Session, Control::Wait) => Err(ConnectionError::Wait),
            (phase, control) => Err(ConnectionError::Unexpected { tag: control.tag(), phase }),
        }
    }

    fn greeted(
        &mut self,
        kind: u8,
        seen: &EntityAddr,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        if kind != self.config.peer_kind {
            let expected = kind_name(self.config.peer_kind);
            return Err(ConnectionError::WrongPeer { expected, found: kind_name(kind) });
        }
        // As the peer sees us: behind a translated network that is the address that others can name too.
        let ip = self.config.own_ip.or(seen.socket.map(|socket| socket.ip())).or(self.handshake.local);
        let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.handshake.own = EntityAddr {
            kind: AddrKind::Any,
            nonce: self.config.nonce,
            // Nobody connects to a client.
            socket: Some(SocketAddr::new(ip, 0)),
        };
        self.phase = Phase::Authentication;
        let payload = self.authenticator.start(now, entropy)?;
        let method = self.authenticator.method();
        self.push_control(&Control::AuthRequest { method, modes: self.offered(), payload })
    }

    fn offered(&self) -> Vec<u32> {
        self.config.modes.iter().map(|&mode| mode as u32).collect()
    }

    fn authenticated(
        &mut self,
        global_id: u64,
        number: u32,
        payload: &[u8],
        now: Now,
    ) -> Result<(), ConnectionError> {
        let Some(mode) = Mode::from_number(number).filter(|mode| self.config.modes.contains(mode)) else {
            let chosen = Mode::names(&[number]);
            return Err(ConnectionError::Mode { chosen, offered: Mode::names(&self.offered()) });
        };
        let SessionKeys { session_key, connection_secret } =
            self.authenticator.done(global_id, payload, now)?;
        if mode == Mode::Secure {
            let keys = SecureKeys::parse(&connection_secret)
                .ok_or(ConnectionError::NoSecret(connection_secret.len()))?;
            let cipher = Rc::new(self.ciphers.aes128_gcm(&keys.key).ok_or(ConnectionError::NoCipher)?);
            self.reader.secure(Rc::clone(&cipher), keys.from_server);
            self.writer.secure(Rc::clone(&cipher), keys.from_client);
            self.cipher = Some(cipher);
        }
        self.phase = Phase::Signature;
        self.handshake.global_id = global_id;
        self.handshake.mode = Some(mode);
        self.handshake.session_key = session_key;
        // The signatures are no part of what they sign.
        let transcript = self.handshake.transcript.take().unwrap_or_default();
        let signature = sign(&self.handshake.session_key, &transcript.received);
        self.handshake.sent = transcript.sent;
        self.push_control(&Control::AuthSignature(signature))
    }

    fn signed(&mut self, signature: &[u8; 32], entropy: &mut dyn Entropy) -> Result<(), ConnectionError> {
        let sent = std::mem::take(&mut self.handshake.sent);
        let key = std::mem::take(&mut self.handshake.session_key);
        if !verify(&key, &sent, signature) {
            return Err(ConnectionError::Signature);
        }
        self.phase = Phase::Session;
        if self.resuming() { self.send_reconnect() } else { self.send_ident(entropy) }
    }

    /// Whether this connection continues a session.
    fn resuming(&self) -> bool {
        self.session.server_cookie != 0
    }

    fn own_addresses(&self) -> AddrVec {
        AddrVec(vec![self.handshake.own])
    }

    fn send_ident(&mut self, entropy: &mut dyn Entropy) -> Result<(), ConnectionError> {
        let lossless = self.config.policy == Policy::Lossless;
        if lossless && self.session.client_cookie == 0 {
            self.session.client_cookie = entropy.number().max(1);
        }
        let ident = ClientIdent {
            addresses: self.own_addresses(),
            target: self.config.target,
            // Ids are counted from 4096; one that needs the sign bit is not a number that a cluster gives.
            global_id: self.handshake.global_id as i64,
            global_sequence: self.session.global_sequence,
            supported: self.config.features,
            required: MSG_ADDR2,
            flags: if lossless { 0 } else { FLAG_LOSSY },
            cookie: self.session.client_cookie,
        };
        self.push_control(&Control::ClientIdent(ident))
    }

    fn send_reconnect(&mut self) -> Result<(), ConnectionError> {
        let reconnect = SessionReconnect {
            addresses: self.own_addresses(),
            client_cookie: self.session.client_cookie,
            server_cookie: self.session.server_cookie,
            global_sequence: self.session.global_sequence,
            connect_sequence: self.session.connect_sequence,
            received: self.session.received(),
        };
        self.push_control(&Control::SessionReconnect(reconnect))
    }

    fn accepted(&mut self, ident: ServerIdent) -> Result<(), ConnectionError> {
        let missing = ident.required & !self.config.features;
        if missing != 0 {
            return Err(ConnectionError::MissingFeatures(Features(missing)));
        }
        // What the server says counts: it is the server that would have to keep the session.
        let lossy = ident.flags & FLAG_LOSSY != 0;
        self.session.policy = if lossy { Policy::Lossy } else { self.config.policy };
        if self.session.policy == Policy::Lossless {
            self.session.server_cookie = ident.cookie;
        }
        // Its addresses need not contain the one we used: there may be a translated network in between.
        let peer = Peer {
            name: EntityName { kind: self.config.peer_kind, number: ident.number },
            addresses: ident.addresses,
            features: ident.supported & self.config.features,
            global_id: self.handshake.global_id,
            own: self.handshake.own,
            mode: self.handshake.mode.unwrap_or(Mode::Crc),
        };
        self.peer = Some(peer);
        self.ready(false)
    }

    fn resumed(&mut self, received: u64) -> Result<(), ConnectionError> {
        if !self.session.resumed(received) {
            return Err(ConnectionError::Unexpected { tag: Tag::SessionReconnectOk, phase: self.phase });
        }
        if let (Some(peer), Some(mode)) = (&mut self.peer, self.handshake.mode) {
            peer.mode = mode;
            peer.own = self.handshake.own;
            peer.global_id = self.handshake.global_id;
        }
        self.ready(true)
    }

    fn ready(&mut self, resumed: bool) -> Result<(), ConnectionError> {
        let peer = self.peer.clone().ok_or(ConnectionError::Driver)?;
        self.phase = Phase::Ready;
        self.reader.messages_begin();
        self.events.push_back(Event::Ready { peer, resumed });
        Ok(())
    }
}
