//! msgr2.1: the protocol under everything Ceph says.
//!
//! A [`Connection`] is the client's side of it: banner, greeting, authentication (by an [`Authenticator`]), session, then messages
//! with keepalives, and for stateful peers acknowledgements and replay. [`frame`] cuts the stream into frames, in crc and in secure mode.
//!
//! Only what must be understood is read as bytes. The data of messages stay a [`Payload`](crate::Payload): in crc mode they are
//! read as such and checked where they are, in secure mode everything after a message's header is read as one, decrypted by the
//! driver, and sliced.
//!
//! Source: `doc/dev/msgr2.rst` of Ceph, and `msg/async/ProtocolV2.cc` for what it leaves out.

mod aead;
mod auth;
mod config;
mod connection;
pub mod control;
mod error;
pub mod features;
pub mod frame;
mod handshake;
mod liveness;
mod message;
mod outbox;
mod session;

pub use aead::{Aead, AeadFactory, NONCE_LEN, SecureKeys, TAG_LEN};
pub use auth::{Authenticator, SessionKeys};
pub use config::{Config, GlobalSequence, Keepalive, Mode, Policy};
pub use connection::{Connection, Event, Peer};
pub use error::{ConnectionError, Phase};
pub use message::{Arrived, Chunk, Message, MessageHeader, PRIORITY_DEFAULT, WANT_BYTES_MAX, Want};
