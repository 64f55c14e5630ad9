//! A client's connection and a scripted server, with a wire between them that a test can watch and cut.

use super::frames::{Side, join};
use super::native::{Cipher, Ciphers, Counting};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::VecDeque;
use std::rc::Rc;
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::msgr::control::{ClientIdent, Control, ServerIdent};
use wasmount_ceph::msgr::frame::{Frame, Tag};
use wasmount_ceph::msgr::{
    Aead, AeadFactory, Arrived, Authenticator, Chunk, Config, Connection, ConnectionError, Event,
    GlobalSequence, Message, MessageHeader, SecureKeys, SessionKeys, Want,
};
use wasmount_ceph::types::{AddrVec, EntityAddr, entity};
use wasmount_ceph::{Entropy, Now, Payload};
use zeroize::Zeroizing;

pub const SESSION_KEY: &[u8] = b"what both sides know";
pub const GLOBAL_ID: u64 = 4321;

/// A payload that a test can look into.
pub trait Known: Payload {
    fn from_bytes(bytes: Bytes) -> Self;
    fn to_bytes(&self) -> Bytes;
}

impl Known for Bytes {
    fn from_bytes(bytes: Bytes) -> Self {
        bytes
    }

    fn to_bytes(&self) -> Bytes {
        self.clone()
    }
}

/// The secret of connections in secure mode.
pub fn secret() -> Vec<u8> {
    (100..164).collect()
}

/// An authentication that asks one question.
#[derive(Debug)]
pub struct Scripted;

impl Authenticator for Scripted {
    fn method(&self) -> u32 {
        2
    }

    fn start(&mut self, _: Now, _: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        Ok(b"start".to_vec())
    }

    fn bad_method(&mut self, result: i32, methods: &[u32], modes: &[u32]) -> AuthError {
        assert_eq!((result, methods, modes), (-13, &[1, 2][..], &[2][..]));
        AuthError::Protocol("refused by the script")
    }

    fn more(&mut self, payload: &[u8], _: Now, _: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        Ok([b"answer to ", payload].concat())
    }

    fn done(&mut self, global_id: u64, payload: &[u8], _: Now) -> Result<SessionKeys, AuthError> {
        assert_eq!((global_id, payload), (GLOBAL_ID, &b"done"[..]));
        Ok(SessionKeys {
            session_key: Zeroizing::new(SESSION_KEY.to_vec()),
            connection_secret: Zeroizing::new(secret()),
        })
    }
}

/// A client, and the bytes on their way to and from it.
pub struct Client<P: Payload> {
    pub connection: Connection<P, Scripted, Ciphers>,
    pub now: Now,
    pub entropy: Counting,
    /// What the server has sent and the client has not read.
    pub incoming: BytesMut,
    /// What the client has written.
    pub outgoing: Vec<u8>,
    pub events: VecDeque<Event<P, Cipher>>,
    /// Bytes that were read into memory, and not as payload.
    pub looked_at: usize,
    /// What the driver has not decrypted yet, if it is not to do so at once.
    pub opening: Option<VecDeque<Bytes>>,
}

/// The target of all connections here.
pub fn target() -> EntityAddr {
    EntityAddr::msgr2("192.0.2.1:6800".parse().unwrap(), 55)
}

pub fn config() -> Config {
    Config::new(entity::OSD, target(), 77, GlobalSequence::default())
}

impl<P: Known> Client<P> {
    pub fn new(config: Config) -> Self {
        Self {
            connection: Connection::new(config, Scripted, Ciphers),
            now: Now { monotonic_ms: 1000, ..Now::default() },
            entropy: Counting(0),
            incoming: BytesMut::new(),
            outgoing: Vec::new(),
            events: VecDeque::new(),
            looked_at: 0,
            opening: None,
        }
    }

    pub fn connect(&mut self) {
        self.incoming.clear();
        self.outgoing.clear();
        self.connection.connected(None, self.now);
    }

    /// Moves everything that can be moved.
    pub fn pump(&mut self) -> Result<(), ConnectionError> {
        loop {
            let wrote = self.write()?;
            let seen = self.take_events()?;
            if !(self.read()? || wrote || seen) {
                return Ok(());
            }
        }
    }

    fn write(&mut self) -> Result<bool, ConnectionError> {
        let Some(chunks) = self.connection.poll_write()? else { return Ok(false) };
        for chunk in chunks {
            match chunk {
                Chunk::Bytes(bytes) => self.outgoing.extend(bytes),
                Chunk::Payload(payload) => self.outgoing.extend(payload.to_bytes()),
            }
        }
        Ok(true)
    }

    fn take_events(&mut self) -> Result<bool, ConnectionError> {
        let mut seen = false;
        while let Some(event) = self.connection.poll_event() {
            seen = true;
            match event {
                Event::Open { cipher, nonce, sealed } => {
                    let plain = cipher.open(&nonce, &sealed.to_bytes()).map(Bytes::from);
                    match (&mut self.opening, plain) {
                        (Some(opening), Some(plain)) => opening.push_back(plain),
                        (_, plain) => self.opened(plain)?,
                    }
                }
                Event::Seal { cipher, nonce, plain } => {
                    let plain: Vec<_> = plain
                        .into_iter()
                        .map(|chunk| match chunk {
                            Chunk::Bytes(bytes) => Chunk::Bytes(bytes),
                            Chunk::Payload(payload) => Chunk::Payload(payload.to_bytes()),
                        })
                        .collect();
                    let sealed = cipher.seal(&nonce, &join(&plain)).unwrap();
                    self.connection.sealed(P::from_bytes(sealed.into()))?;
                }
                event => self.events.push_back(event),
            }
        }
        Ok(seen)
    }

    pub fn opened(&mut self, plain: Option<Bytes>) -> Result<(), ConnectionError> {
        self.connection.opened(self.now, plain.map(P::from_bytes), &mut self.entropy)
    }

    fn read(&mut self) -> Result<bool, ConnectionError> {
        let Some(want) = self.connection.want() else { return Ok(false) };
        let (Want::Bytes(length) | Want::Payload(length)) = want;
        if self.incoming.len() < length as usize {
            return Ok(false);
        }
        let piece = self.incoming.split_to(length as usize).freeze();
        let arrived = match want {
            Want::Bytes(_) => {
                self.looked_at += piece.len();
                Arrived::Bytes(piece.to_vec())
            }
            Want::Payload(_) => Arrived::Payload(P::from_bytes(piece)),
        };
        self.connection.received(self.now, arrived, &mut self.entropy)?;
        Ok(true)
    }

    /// The messages that came in, by their transaction numbers and data.
    pub fn messages(&mut self) -> Vec<(u64, usize)> {
        self.events
            .drain(..)
            .filter_map(|event| match event {
                Event::Message(message) => Some((message.tid, message.data_len())),
                _ => None,
            })
            .collect()
    }
}

/// What a server sends in place of what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    Signature,
    Mode,
}

/// The server's end of one transport.
pub struct Server {
    pub side: Side,
    stream: BytesMut,
    sent: Vec<u8>,
    received: Vec<u8>,
    pub secure: bool,
    pub fault: Fault,
    pub ident: ServerIdent,
    pub kind: u8,
    /// The number of the last message sent.
    pub sequence: u64,
}

impl Server {
    pub fn new(secure: bool) -> Self {
        Self {
            side: Side::new(),
            stream: BytesMut::new(),
            sent: Vec::new(),
            received: Vec::new(),
            secure,
            fault: Fault::None,
            kind: entity::OSD,
            sequence: 0,
            ident: ServerIdent {
                addresses: AddrVec(vec![target()]),
                number: 3,
                global_sequence: 9,
                supported: u64::MAX,
                required: 1 << 59,
                flags: 1,
                cookie: 0,
            },
        }
    }

    /// A server that keeps sessions.
    pub fn lossless(secure: bool, cookie: u64) -> Self {
        let mut server = Self::new(secure);
        server.ident.flags = 0;
        server.ident.cookie = cookie;
        server
    }

    pub fn raw<P: Known>(&mut self, client: &mut Client<P>, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        client.incoming.extend_from_slice(bytes);
    }

    pub fn send<P: Known>(&mut self, client: &mut Client<P>, control: &Control) {
        let bytes = self.side.control(control.tag(), &control.encode());
        self.raw(client, &bytes);
    }

    /// Sends the next message of this number and length of data.
    pub fn message<P: Known>(&mut self, client: &mut Client<P>, tid: u64, front: usize, data: usize) {
        self.sequence += 1;
        let message = Message {
            tid,
            sequence: self.sequence,
            data: if data == 0 { vec![] } else { vec![Chunk::Payload(vec![tid as u8; data].into())] },
            ..Message::new(43, 8, 2, vec![9; front])
        };
        self.message_as_is(client, message, 0);
    }

    pub fn message_as_is<P: Known>(
        &mut self,
        client: &mut Client<P>,
        message: Message<Bytes>,
        acknowledged: u64,
    ) {
        let header = MessageHeader {
            sequence: message.sequence,
            tid: message.tid,
            kind: message.kind,
            version: message.version,
            compat: message.compat,
            acknowledged,
            ..MessageHeader::default()
        };
        let bytes = self.side.message(&header, message);
        self.raw(client, &bytes);
    }

    /// The next frame of the client.
    pub fn frame<P: Known>(&mut self, client: &mut Client<P>) -> Option<Frame<Bytes>> {
        self.stream.extend_from_slice(&client.outgoing);
        client.outgoing.clear();
        let mut stream = self.stream.clone().freeze();
        let before = stream.clone();
        let frame = self.side.read(&mut stream).unwrap()?;
        self.received.extend_from_slice(&before[..before.len() - stream.len()]);
        self.stream = BytesMut::from(&stream[..]);
        Some(frame)
    }

    pub fn control<P: Known>(&mut self, client: &mut Client<P>) -> Control {
        let frame = self.frame(client).expect("the client has sent nothing");
        Control::decode(frame.tag, &frame.head).unwrap().expect("a control frame")
    }

    /// Messages of the client, by number in the stream and transaction number; the frames between them.
    pub fn messages<P: Known>(&mut self, client: &mut Client<P>) -> (Vec<(u64, u64)>, Vec<Control>) {
        let (mut messages, mut controls) = (Vec::new(), Vec::new());
        while let Some(frame) = self.frame(client) {
            if frame.tag == Tag::Message {
                let header = MessageHeader::decode(&frame.head).unwrap();
                messages.push((header.sequence, header.tid));
            } else {
                controls.extend(Control::decode(frame.tag, &frame.head).unwrap());
            }
        }
        (messages, controls)
    }

    pub fn banner<P: Known>(&mut self, client: &mut Client<P>) {
        let banner = [&b"ceph v2\n\x10\0\x01\0\0\0\0\0\0\0"[..], &[0; 8]].concat();
        self.raw(client, &banner);
        assert_eq!(client.outgoing[..10], *b"ceph v2\n\x10\0");
        self.received.extend(client.outgoing.drain(..super::frames::BANNER_LEN));
    }

    pub fn hello<P: Known>(&mut self, client: &mut Client<P>) {
        let peer_address = EntityAddr::msgr2("198.51.100.7:40000".parse().unwrap(), 0);
        self.send(client, &Control::Hello { kind: self.kind, peer_address });
    }

    /// Everything up to the signatures.
    pub fn authenticate<P: Known>(&mut self, client: &mut Client<P>) -> Result<(), ConnectionError> {
        client.pump()?;
        self.banner(client);
        client.pump()?;
        let Control::Hello { kind, peer_address } = self.control(client) else { panic!("a greeting is due") };
        assert_eq!((kind, peer_address), (entity::CLIENT, target()));
        self.hello(client);
        client.pump()?;
        let Control::AuthRequest { method: 2, payload, .. } = self.control(client) else {
            panic!("a request is due")
        };
        assert_eq!(payload, b"start");
        self.send(client, &Control::AuthReplyMore(b"a question".to_vec()));
        client.pump()?;
        assert_eq!(self.control(client), Control::AuthRequestMore(b"answer to a question".to_vec()));
        let mode = if self.secure { 2 } else { 1 };
        let mode = if self.fault == Fault::Mode { 3 - mode } else { mode };
        self.send(client, &Control::AuthDone { global_id: GLOBAL_ID, mode, payload: b"done".to_vec() });
        let (sent, received) = (sign(&self.sent), sign(&self.received));
        client.pump()?;
        if self.secure {
            let keys = SecureKeys::parse(&secret()).unwrap();
            let cipher = Rc::new(Ciphers.aes128_gcm(&keys.key).unwrap());
            self.side.secure(cipher, keys.from_client, keys.from_server);
        }
        assert_eq!(self.control(client), Control::AuthSignature(sent));
        let signature = if self.fault == Fault::Signature { [1; 32] } else { received };
        self.send(client, &Control::AuthSignature(signature));
        client.pump()
    }

    /// Everything, for a new session.
    pub fn accept<P: Known>(&mut self, client: &mut Client<P>) -> Result<ClientIdent, ConnectionError> {
        self.authenticate(client)?;
        let Control::ClientIdent(ident) = self.control(client) else { panic!("an ident is due") };
        self.send(client, &Control::ServerIdent(self.ident.clone()));
        client.pump()?;
        Ok(ident)
    }
}

/// A signature of what was said.
fn sign(transcript: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(SESSION_KEY).unwrap();
    mac.chain_update(transcript).finalize().into_bytes().into()
}
