//! A connection: one transport after the other, and the session that may outlive them.

use super::aead::{AeadFactory, NONCE_LEN};
use super::auth::Authenticator;
use super::config::{Config, Mode};
use super::control::Control;
use super::error::{ConnectionError, Phase};
use super::frame::{Frame, FrameError, FrameReader, FrameWriter, Read, Tag};
use super::handshake::Handshake;
use super::liveness::Liveness;
use super::message::{Arrived, Chunk, Message, MessageHeader, Want};
use super::outbox::Outbox;
use super::session::{Place, Session};
use crate::entropy::Entropy;
use crate::payload::Payload;
use crate::time::Now;
use crate::types::{AddrVec, EntityAddr, EntityName};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

/// Frames that may wait behind one that is being decrypted, itself included: so the next one arrives meanwhile, and no more is held.
const PENDING_MAX: usize = 2;

/// Who answered, and what was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: EntityName,
    /// Its addresses.
    pub addresses: AddrVec,
    /// Features that both sides have.
    pub features: u64,
    /// The number by which the cluster knows this client.
    pub global_id: u64,
    /// The address by which this client announced itself.
    pub own: EntityAddr,
    /// How messages are protected.
    pub mode: Mode,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<P, C> {
    /// Messages flow from now on.
    Ready {
        /// Who answered.
        peer: Peer,
        /// Whether this continues the session of an earlier connection.
        resumed: bool,
    },
    /// A message came in.
    Message(Message<P>),
    /// The driver is to decrypt this and call [`Connection::opened`].
    Open {
        /// With this cipher.
        cipher: Rc<C>,
        /// And this nonce.
        nonce: [u8; NONCE_LEN],
        /// Ciphertext and tag.
        sealed: P,
    },
    /// The driver is to encrypt this as one text and call [`Connection::sealed`].
    Seal {
        /// With this cipher.
        cipher: Rc<C>,
        /// And this nonce.
        nonce: [u8; NONCE_LEN],
        /// The text.
        plain: Vec<Chunk<P>>,
    },
    /// The peer has forgotten the session. Messages that it had not acknowledged are lost.
    Reset,
}

/// The client's side of a connection.
///
/// A driver makes a transport and calls [`connected`](Self::connected). From then on it reads what [`want`](Self::want) says and hands it
/// to [`received`](Self::received), writes what [`poll_write`](Self::poll_write) gives, calls [`on_timer`](Self::on_timer) at
/// [`next_timer`](Self::next_timer), and takes events from [`poll_event`](Self::poll_event), which it looks at after each of these calls.
/// When the transport breaks it calls [`disconnected`](Self::disconnected). Whatever returns an error has done that itself: the
/// driver drops the transport, and may connect again.
pub struct Connection<P, A, F: AeadFactory> {
    pub(super) config: Config,
    pub(super) authenticator: A,
    pub(super) ciphers: F,
    pub(super) session: Session<P>,
    pub(super) phase: Phase,
    pub(super) handshake: Handshake,
    pub(super) peer: Option<Peer>,
    pub(super) reader: FrameReader<P, F::Aead>,
    pub(super) writer: FrameWriter<F::Aead>,
    /// The cipher of secure mode.
    pub(super) cipher: Option<Rc<F::Aead>>,
    pub(super) outbox: Outbox<P>,
    pub(super) liveness: Liveness,
    pub(super) events: VecDeque<Event<P, F::Aead>>,
    /// Frames in order. Only the first can be with the driver.
    pending: VecDeque<Read<P>>,
    /// Whether the driver is decrypting the first of them.
    opening: bool,
}

impl<P: Payload, A: Authenticator, F: AeadFactory> Connection<P, A, F> {
    /// A connection without a transport.
    pub fn new(config: Config, authenticator: A, ciphers: F) -> Self {
        Self {
            session: Session::new(config.policy),
            phase: Phase::Idle,
            handshake: Handshake::default(),
            peer: None,
            reader: FrameReader::new(config.limits),
            writer: FrameWriter::default(),
            cipher: None,
            outbox: Outbox::default(),
            liveness: Liveness::default(),
            events: VecDeque::new(),
            pending: VecDeque::new(),
            opening: false,
            config,
            authenticator,
            ciphers,
        }
    }

    /// There is a transport, and nothing was read from it or written to it. `local` is its own end, if the driver knows.
    pub fn connected(&mut self, local: Option<IpAddr>, now: Now) {
        self.disconnected();
        self.session.connecting(self.config.connections.next());
        self.liveness = Liveness::begin(now);
        self.begin_handshake(local);
    }

    /// There is no transport any more. Messages of a lossless session are kept for the next one; those of a lossy session are
    /// forgotten, also those that were not written yet.
    pub fn disconnected(&mut self) {
        if self.phase == Phase::Idle {
            return;
        }
        self.phase = Phase::Idle;
        self.session.disconnected();
        self.handshake = Handshake::default();
        self.reader = FrameReader::new(self.config.limits);
        self.writer = FrameWriter::default();
        self.cipher = None;
        self.outbox = Outbox::default();
        self.pending.clear();
        self.opening = false;
        self.events.retain(|event| !matches!(event, Event::Open { .. } | Event::Seal { .. }));
    }

    /// How far the connection is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Who is at the other end; `None` until it has said so.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Messages that were not written yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.session.queued()
    }

    /// What to read next; `None`: nothing until something else has happened.
    #[must_use]
    pub fn want(&self) -> Option<Want> {
        match self.phase {
            Phase::Idle => None,
            Phase::Banner => Some(self.want_banner()),
            _ if self.pending.len() >= PENDING_MAX => None,
            _ => Some(self.reader.want()),
        }
    }

    /// Takes what was read, which must be what [`want`](Self::want) said.
    ///
    /// # Errors
    /// The connection is at its end.
    pub fn received(
        &mut self,
        now: Now,
        arrived: Arrived<P>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        let result = self.try_received(now, arrived, entropy);
        self.end_on_error(result)
    }

    /// Takes what the driver decrypted for [`Event::Open`]; `None` if the tag does not fit.
    ///
    /// # Errors
    /// The connection is at its end.
    pub fn opened(
        &mut self,
        now: Now,
        plain: Option<P>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        let result = self.try_opened(now, plain, entropy);
        self.end_on_error(result)
    }

    /// Takes what the driver encrypted for [`Event::Seal`].
    ///
    /// # Errors
    /// It was not asked to.
    pub fn sealed(&mut self, sealed: P) -> Result<(), ConnectionError> {
        let result = self.outbox.sealed(sealed).ok_or(ConnectionError::Driver);
        self.end_on_error(result)
    }

    /// Sends a message, as soon as messages flow. A message sent while there is no transport waits for the next one.
    pub fn send(&mut self, message: Message<P>) {
        self.session.enqueue(message);
    }

    /// Drops messages that were not written yet.
    pub fn discard_queued(&mut self) {
        self.session.discard_queued();
    }

    /// What to write next, all of it, in order.
    ///
    /// # Errors
    /// A message cannot be written; the connection is at its end.
    pub fn poll_write(&mut self) -> Result<Option<Vec<Chunk<P>>>, ConnectionError> {
        let result = self.write_messages();
        self.end_on_error(result)?;
        Ok(self.outbox.take())
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event<P, F::Aead>> {
        self.events.pop_front()
    }

    /// When to call [`on_timer`](Self::on_timer), in milliseconds of [`Now::monotonic_ms`].
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        self.liveness.next_timer(self.phase, &self.config, self.want())
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The peer has been silent for too long; the connection is at its end.
    pub fn on_timer(&mut self, now: Now) -> Result<(), ConnectionError> {
        let result = match self.liveness.on_timer(now, self.phase, &self.config, self.want()) {
            Ok(true) => self.push_control(&Control::Keepalive2(now.wall)),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        self.end_on_error(result)
    }

    fn end_on_error<T>(&mut self, result: Result<T, ConnectionError>) -> Result<T, ConnectionError> {
        if result.is_err() {
            self.disconnected();
        }
        result
    }

    fn try_received(
        &mut self,
        now: Now,
        arrived: Arrived<P>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        if self.want().is_none() {
            return Err(ConnectionError::Driver);
        }
        self.liveness.heard(now);
        if let Arrived::Bytes(bytes) = &arrived {
            self.handshake.record_received(bytes);
        }
        if self.phase == Phase::Banner {
            return self.banner_received(arrived);
        }
        if let Some(read) = self.reader.received(arrived)? {
            self.pending.push_back(read);
            self.handle_pending(now, entropy)?;
        }
        Ok(())
    }

    fn try_opened(
        &mut self,
        now: Now,
        plain: Option<P>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        if !std::mem::take(&mut self.opening) {
            return Err(ConnectionError::Driver);
        }
        let Some(Read::Sealed(sealed)) = self.pending.pop_front() else {
            return Err(ConnectionError::Driver);
        };
        let plain = plain.ok_or(FrameError::Unauthentic { what: "a message" })?;
        self.pending.push_front(Read::Frame(sealed.opened(&plain)?));
        self.handle_pending(now, entropy)
    }

    /// Handles frames in order, up to one that has to be decrypted first.
    fn handle_pending(&mut self, now: Now, entropy: &mut dyn Entropy) -> Result<(), ConnectionError> {
        while !self.opening {
            match self.pending.pop_front() {
                None => break,
                Some(Read::Frame(frame)) if frame.tag == Tag::Message => self.message_received(frame)?,
                Some(Read::Frame(frame)) => {
                    let control = Control::decode(frame.tag, &frame.head)?
                        .ok_or(ConnectionError::Unexpected { tag: frame.tag, phase: self.phase })?;
                    self.control_received(control, now, entropy)?;
                }
                Some(Read::Sealed(sealed)) => {
                    let Some(cipher) = &self.cipher else { return Err(ConnectionError::Driver) };
                    self.events.push_back(Event::Open {
                        cipher: Rc::clone(cipher),
                        nonce: sealed.nonce,
                        sealed: sealed.sealed.share(),
                    });
                    self.opening = true;
                    self.pending.push_front(Read::Sealed(sealed));
                }
            }
        }
        Ok(())
    }

    fn message_received(&mut self, frame: Frame<P>) -> Result<(), ConnectionError> {
        let header = MessageHeader::decode(&frame.head)?;
        self.session.acknowledged(header.acknowledged);
        match self.session.arrived(header.sequence) {
            Place::Next => {}
            // Sent again by a peer that did not know it had arrived.
            Place::Duplicate => return Ok(()),
            Place::Gap { expected } => {
                return Err(ConnectionError::Sequence { expected, found: header.sequence });
            }
        }
        self.events.push_back(Event::Message(Message {
            kind: header.kind,
            version: header.version,
            compat: header.compat,
            tid: header.tid,
            priority: header.priority,
            sequence: header.sequence,
            data_offset: header.data_offset,
            front: frame.front,
            middle: frame.middle,
            data: frame.data.into_iter().map(Chunk::Payload).collect(),
        }));
        Ok(())
    }

    fn control_received(
        &mut self,
        control: Control,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ConnectionError> {
        match (self.phase, control) {
            // Who asks without end and does not read the answers gets no more of them.
            (Phase::Ready, Control::Keepalive2(_)) if self.outbox.is_full() => Ok(()),
            (Phase::Ready, Control::Keepalive2(time)) => self.push_control(&Control::Keepalive2Ack(time)),
            // That it came is all it says.
            (Phase::Ready, Control::Keepalive2Ack(_)) => Ok(()),
            (Phase::Ready, Control::Ack(sequence)) => {
                self.session.acknowledged(sequence);
                Ok(())
            }
            (_, control) => self.handshake_received(control, now, entropy),
        }
    }

    /// Puts a frame at the end of what is to be written.
    pub(super) fn push_control(&mut self, control: &Control) -> Result<(), ConnectionError> {
        let bytes = self.writer.control(control.tag(), &control.encode())?;
        self.handshake.record_sent(&bytes);
        self.outbox.push(Chunk::Bytes(bytes));
        Ok(())
    }
}

impl<P: Payload, A, F: AeadFactory> std::fmt::Debug for Connection<P, A, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("target", &self.config.target)
            .field("phase", &self.phase)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
