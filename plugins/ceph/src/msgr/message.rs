//! Messages, and the units in which bytes move between a connection and its driver.

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::payload::Payload;

/// A message: what Ceph's daemons and clients say to each other. What `front`, `middle` and data mean depends on its kind and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<P> {
    /// What it is (`CEPH_MSG_*` of `include/ceph_fs.h`, `MSG_*` of `msg/Message.h`).
    pub kind: u16,
    /// Version of its encoding.
    pub version: u16,
    /// Oldest version that a reader must know.
    pub compat: u16,
    /// Number by which an answer is matched to its request; 0 if there is none.
    pub tid: u64,
    /// How urgent it is for the receiver (`CEPH_MSG_PRIO_*`; 127 is the default, 196 high).
    pub priority: u16,
    /// Its place in the stream. Given by the connection; 0 in a message that was not sent yet.
    pub sequence: u64,
    /// Where in a page the data would best begin at the receiver (`data_off`): a hint about alignment.
    pub data_offset: u16,
    /// The encoded structure.
    pub front: Vec<u8>,
    /// More of it; used by few kinds.
    pub middle: Vec<u8>,
    /// Bytes of objects. A received message has at most one chunk here, a [`Chunk::Payload`].
    pub data: Vec<Chunk<P>>,
}

/// The usual priority (`CEPH_MSG_PRIO_DEFAULT`).
pub const PRIORITY_DEFAULT: u16 = 127;

impl<P: Payload> Message<P> {
    /// A message of the usual priority without data.
    #[must_use]
    pub fn new(kind: u16, version: u16, compat: u16, front: Vec<u8>) -> Self {
        Self {
            kind,
            version,
            compat,
            tid: 0,
            priority: PRIORITY_DEFAULT,
            sequence: 0,
            data_offset: 0,
            front,
            middle: Vec::new(),
            data: Vec::new(),
        }
    }

    /// The data of a received message, taken out of it.
    pub fn take_payload(&mut self) -> Option<P> {
        self.data.drain(..).find_map(|chunk| match chunk {
            Chunk::Payload(payload) => Some(payload),
            Chunk::Bytes(_) => None,
        })
    }

    /// Bytes of data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.data.iter().map(Chunk::len).sum()
    }

    /// The same message once more; its data are shared, not copied.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            front: self.front.clone(),
            middle: self.middle.clone(),
            data: self.data.iter().map(Chunk::share).collect(),
            ..*self
        }
    }
}

/// A piece of what is written. Pieces are written in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk<P> {
    /// Bytes made here.
    Bytes(Vec<u8>),
    /// Bytes that live elsewhere, all of them.
    Payload(P),
}

impl<P: Payload> Chunk<P> {
    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Payload(payload) => payload.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same piece once more.
    #[must_use]
    pub fn share(&self) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::Payload(payload) => Self::Payload(payload.share()),
        }
    }

    /// The raw CRC-32C register after these bytes.
    #[must_use]
    pub fn crc32c(&self, register: u32) -> u32 {
        match self {
            Self::Bytes(bytes) => crate::payload::crc32c(register, bytes),
            Self::Payload(payload) => payload.crc32c(register),
        }
    }
}

/// What a connection wants read next. The driver reads exactly so much and hands it over as the [`Arrived`] of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// So many bytes, to look at; at least 1, at most [`WANT_BYTES_MAX`].
    Bytes(u32),
    /// So many bytes, which stay outside.
    Payload(u32),
}

/// Most that one [`Want::Bytes`] asks for: what comes in larger pieces (maps of big clusters) is asked for bit by bit, so that memory
/// is taken as bytes arrive and not because a peer announced them.
pub const WANT_BYTES_MAX: u32 = 256 * 1024;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrived<P> {
    /// For [`Want::Bytes`].
    Bytes(Vec<u8>),
    /// For [`Want::Payload`].
    Payload(P),
}

/// The first segment of a message's frame (`ceph_msg_header2` of `include/msgr.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageHeader {
    /// [`Message::sequence`].
    pub sequence: u64,
    /// [`Message::tid`].
    pub tid: u64,
    /// [`Message::kind`].
    pub kind: u16,
    /// [`Message::priority`].
    pub priority: u16,
    /// [`Message::version`].
    pub version: u16,
    /// Bytes of padding before the data; nobody sends any.
    pub data_padding: u32,
    /// [`Message::data_offset`].
    pub data_offset: u16,
    /// The last message that the sender received on this session.
    pub acknowledged: u64,
    /// `CEPH_MSG_FOOTER_*`.
    pub flags: u8,
    /// [`Message::compat`].
    pub compat: u16,
}

impl MessageHeader {
    /// Bytes on the wire.
    pub const LENGTH: usize = 41;

    /// `CEPH_MSG_FOOTER_COMPLETE`: the message was not aborted.
    const COMPLETE: u8 = 1;

    /// The header of a message that is sent now.
    pub(crate) fn of<P>(message: &Message<P>, acknowledged: u64) -> Self {
        Self {
            sequence: message.sequence,
            tid: message.tid,
            kind: message.kind,
            priority: message.priority,
            version: message.version,
            data_padding: 0,
            data_offset: message.data_offset,
            acknowledged,
            flags: Self::COMPLETE,
            compat: message.compat,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// There are not exactly [`Self::LENGTH`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() != Self::LENGTH {
            return Err(DecodeError::new(
                "ceph_msg_header2",
                format_args!("{} bytes, {} expected", bytes.len(), Self::LENGTH),
            ));
        }
        let mut decoder = Decoder::new("ceph_msg_header2", bytes);
        Ok(Self {
            sequence: decoder.u64()?,
            tid: decoder.u64()?,
            kind: decoder.u16()?,
            priority: decoder.u16()?,
            version: decoder.u16()?,
            data_padding: decoder.u32()?,
            data_offset: decoder.u16()?,
            acknowledged: decoder.u64()?,
            flags: decoder.u8()?,
            compat: decoder.u16()?,
        })
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .u64(self.sequence)
            .u64(self.tid)
            .u16(self.kind)
            .u16(self.priority)
            .u16(self.version)
            .u32(self.data_padding)
            .u16(self.data_offset)
            .u64(self.acknowledged)
            .u8(self.flags)
            .u16(self.compat)
            .u16(0);
        encoder.finish()
    }
}
