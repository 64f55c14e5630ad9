//! What frames other than messages say (`doc/dev/msgr2.rst`, `msg/async/frames_v2.h`).

use super::frame::Tag;
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::types::{AddrVec, EntityAddr, UTime};

/// Whether a session ends with its connection (`CEPH_MSG_CONNECT_LOSSY`), in the flags of the idents.
pub const FLAG_LOSSY: u64 = 1;

/// The payload of a frame that is not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Who speaks, and from where it sees the other connect.
    Hello {
        /// One of [`entity`](crate::types::entity).
        kind: u8,
        /// The other's address.
        peer_address: EntityAddr,
    },
    /// Begins an authentication.
    AuthRequest {
        /// `CEPH_AUTH_*`.
        method: u32,
        /// `CEPH_CON_MODE_*`, the most wanted first.
        modes: Vec<u32>,
        /// The method's.
        payload: Vec<u8>,
    },
    /// Refuses it.
    AuthBadMethod {
        /// What was tried.
        method: u32,
        /// Negative errno.
        result: i32,
        /// What may be tried.
        allowed_methods: Vec<u32>,
        /// What may be asked for.
        allowed_modes: Vec<u32>,
    },
    /// The server's part of a longer one.
    AuthReplyMore(Vec<u8>),
    /// The client's part of it.
    AuthRequestMore(Vec<u8>),
    /// Ends it.
    AuthDone {
        /// The number by which the cluster knows the client.
        global_id: u64,
        /// `CEPH_CON_MODE_*`.
        mode: u32,
        /// The method's.
        payload: Vec<u8>,
    },
    /// HMAC-SHA256 of all that the signer received so far.
    AuthSignature([u8; 32]),
    /// The client begins a session.
    ClientIdent(ClientIdent),
    /// The server accepts it.
    ServerIdent(ServerIdent),
    /// Features that the server needs and the client lacks.
    IdentMissingFeatures(u64),
    /// The client continues a session.
    SessionReconnect(SessionReconnect),
    /// The server has forgotten it.
    SessionReset {
        /// Whether messages of the session are lost.
        full: bool,
    },
    /// The server's count of connections of this session.
    SessionRetry(u64),
    /// The server's count of connections of this client.
    SessionRetryGlobal(u64),
    /// The session continues after this message of the client.
    SessionReconnectOk(u64),
    /// The server is connecting to the client at this moment.
    Wait,
    /// Is anybody there? The sender's time.
    Keepalive2(UTime),
    /// Yes. The time in the question.
    Keepalive2Ack(UTime),
    /// Messages up to this one have arrived.
    Ack(u64),
}

/// What a client says to begin a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdent {
    /// Its addresses.
    pub addresses: AddrVec,
    /// Whom it wants to reach.
    pub target: EntityAddr,
    /// Its number; -1 if it has none yet.
    pub global_id: i64,
    /// How many connections it has made. Of two connections, the one with the higher number is newer.
    pub global_sequence: u64,
    /// Features it has.
    pub supported: u64,
    /// Features it needs.
    pub required: u64,
    /// [`FLAG_LOSSY`].
    pub flags: u64,
    /// Its name for the session; 0 if the session ends with the connection.
    pub cookie: u64,
}

/// What a server says to accept a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdent {
    /// Its addresses.
    pub addresses: AddrVec,
    /// Its number: 3 of `osd.3`.
    pub number: i64,
    /// How many connections it has made.
    pub global_sequence: u64,
    /// Features it has.
    pub supported: u64,
    /// Features it needs.
    pub required: u64,
    /// [`FLAG_LOSSY`].
    pub flags: u64,
    /// Its name for the session.
    pub cookie: u64,
}

/// What a client says to continue a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReconnect {
    /// Its addresses.
    pub addresses: AddrVec,
    /// Its name for the session.
    pub client_cookie: u64,
    /// The server's name for it.
    pub server_cookie: u64,
    /// How many connections it has made.
    pub global_sequence: u64,
    /// How often it has connected for this session.
    pub connect_sequence: u64,
    /// The last message it received.
    pub received: u64,
}

impl Control {
    /// The tag of the frame that carries it.
    #[must_use]
    pub fn tag(&self) -> Tag {
        match self {
            Self::Hello { .. } => Tag::Hello,
            Self::AuthRequest { .. } => Tag::AuthRequest,
            Self::AuthBadMethod { .. } => Tag::AuthBadMethod,
            Self::AuthReplyMore(_) => Tag::AuthReplyMore,
            Self::AuthRequestMore(_) => Tag::AuthRequestMore,
            Self::AuthDone { .. } => Tag::AuthDone,
            Self::AuthSignature(_) => Tag::AuthSignature,
            Self::ClientIdent(_) => Tag::ClientIdent,
            Self::ServerIdent(_) => Tag::ServerIdent,
            Self::IdentMissingFeatures(_) => Tag::IdentMissingFeatures,
            Self::SessionReconnect(_) => Tag::SessionReconnect,
            Self::SessionReset { .. } => Tag::SessionReset,
            Self::SessionRetry(_) => Tag::SessionRetry,
            Self::SessionRetryGlobal(_) => Tag::SessionRetryGlobal,
            Self::SessionReconnectOk(_) => Tag::SessionReconnectOk,
            Self::Wait => Tag::Wait,
            Self::Keepalive2(_) => Tag::Keepalive2,
            Self::Keepalive2Ack(_) => Tag::Keepalive2Ack,
            Self::Ack(_) => Tag::Ack,
        }
    }

    /// Reads the payload of a frame. `None` if the tag is that of a message, or of compression, which is not used here.
    ///
    /// # Errors
    /// It is not what its tag says. What follows it is ignored.
    pub fn decode(tag: Tag, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let decoder = &mut Decoder::new(tag.name(), payload);
        Ok(Some(match tag {
            Tag::Hello => Self::Hello { kind: decoder.u8()?, peer_address: EntityAddr::decode(decoder)? },
            Tag::AuthRequest => Self::AuthRequest {
                method: decoder.u32()?,
                modes: decoder.list(Decoder::u32)?,
                payload: decoder.blob()?.to_vec(),
            },
            Tag::AuthBadMethod => Self::AuthBadMethod {
                method: decoder.u32()?,
                result: decoder.i32()?,
                allowed_methods: decoder.list(Decoder::u32)?,
                allowed_modes: decoder.list(Decoder::u32)?,
            },
            Tag::AuthReplyMore => Self::AuthReplyMore(decoder.blob()?.to_vec()),
            Tag::AuthRequestMore => Self::AuthRequestMore(decoder.blob()?.to_vec()),
            Tag::AuthDone => Self::AuthDone {
                global_id: decoder.u64()?,
                mode: decoder.u32()?,
                payload: decoder.blob()?.to_vec(),
            },
            Tag::AuthSignature => Self::AuthSignature(decoder.array()?),
            Tag::ClientIdent => Self::ClientIdent(ClientIdent {
                addresses: AddrVec::decode(decoder)?,
                target: EntityAddr::decode(decoder)?,
                global_id: decoder.i64()?,
                global_sequence: decoder.u64()?,
                supported: decoder.u64()?,
                required: decoder.u64()?,
                flags: decoder.u64()?,
                cookie: decoder.u64()?,
            }),
            Tag::ServerIdent => Self::ServerIdent(ServerIdent {
                addresses: AddrVec::decode(decoder)?,
                number: decoder.i64()?,
                global_sequence: decoder.u64()?,
                supported: decoder.u64()?,
                required: decoder.u64()?,
                flags: decoder.u64()?,
                cookie: decoder.u64()?,
            }),
            Tag::IdentMissingFeatures => Self::IdentMissingFeatures(decoder.u64()?),
            Tag::SessionReconnect => Self::SessionReconnect(SessionReconnect {
                addresses: AddrVec::decode(decoder)?,
                client_cookie: decoder.u64()?,
                server_cookie: decoder.u64()?,
                global_sequence: decoder.u64()?,
                connect_sequence: decoder.u64()?,
                received: decoder.u64()?,
            }),
            Tag::SessionReset => Self::SessionReset { full: decoder.bool()? },
            Tag::SessionRetry => Self::SessionRetry(decoder.u64()?),
            Tag::SessionRetryGlobal => Self::SessionRetryGlobal(decoder.u64()?),
            Tag::SessionReconnectOk => Self::SessionReconnectOk(decoder.u64()?),
            Tag::Wait => Self::Wait,
            Tag::Keepalive2 => Self::Keepalive2(UTime::decode(decoder)?),
            Tag::Keepalive2Ack => Self::Keepalive2Ack(UTime::decode(decoder)?),
            Tag::Ack => Self::Ack(decoder.u64()?),
            Tag::Message | Tag::CompressionRequest | Tag::CompressionDone => return Ok(None),
        }))
    }

    /// Writes the payload of its frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let numbers = |encoder: &mut Encoder, numbers: &[u32]| {
            encoder.list(numbers.iter(), |encoder, &number| {
                encoder.u32(number);
            });
        };
        match self {
            Self::Hello { kind, peer_address } => peer_address.encode(encoder.u8(*kind)),
            Self::AuthRequest { method, modes, payload } => {
                numbers(encoder.u32(*method), modes);
                encoder.blob(payload);
            }
            Self::AuthBadMethod { method, result, allowed_methods, allowed_modes } => {
                numbers(encoder.u32(*method).i32(*result), allowed_methods);
                numbers(&mut encoder, allowed_modes);
            }
            Self::AuthReplyMore(payload) | Self::AuthRequestMore(payload) => {
                encoder.blob(payload);
            }
            Self::AuthDone { global_id, mode, payload } => {
                encoder.u64(*global_id).u32(*mode).blob(payload);
            }
            Self::AuthSignature(signature) => {
                encoder.raw(signature);
            }
            Self::ClientIdent(ident) => {
                ident.addresses.encode(&mut encoder);
                ident.target.encode(&mut encoder);
                encoder.i64(ident.global_id).u64(ident.global_sequence);
                encoder.u64(ident.supported).u64(ident.required).u64(ident.flags).u64(ident.cookie);
            }
            Self::ServerIdent(ident) => {
                ident.addresses.encode(&mut encoder);
                encoder.i64(ident.number).u64(ident.global_sequence);
                encoder.u64(ident.supported).u64(ident.required).u64(ident.flags).u64(ident.cookie);
            }
            Self::SessionReconnect(session) => {
                session.addresses.encode(&mut encoder);
                encoder.u64(session.client_cookie).u64(session.server_cookie);
                encoder.u64(session.global_sequence).u64(session.connect_sequence).u64(session.received);
            }
            Self::SessionReset { full } => {
                encoder.bool(*full);
            }
            Self::IdentMissingFeatures(number)
            | Self::SessionRetry(number)
            | Self::SessionRetryGlobal(number)
            | Self::SessionReconnectOk(number)
            | Self::Ack(number) => {
                encoder.u64(*number);
            }
            Self::Wait => {}
            Self::Keepalive2(time) | Self::Keepalive2Ack(time) => time.encode(&mut encoder),
        }
        encoder.finish()
    }
}
