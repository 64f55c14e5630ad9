//! The beginning of a frame.

use super::{CRC_LEN, FrameError};
use crate::encoding::{Decoder, Encoder};
use crate::msgr::message::MessageHeader;
use crate::payload::crc32c;
use std::fmt;

/// Bytes of a preamble.
pub const PREAMBLE_LEN: usize = 32;
/// Most segments of a frame.
pub(super) const SEGMENTS_MAX: usize = 4;
/// The flag bit of frames whose segments are compressed.
const FLAG_COMPRESSED: u8 = 1;

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Tag {
            $($(#[$doc])* $name = $number,)*
        }

        impl Tag {
            /// The tag of this number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in Ceph's documentation.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl fmt::Display for Tag {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

tags! {
    /// Who speaks, and how it sees the other's address.
    Hello = 1, "HELLO";
    /// Begins an authentication.
    AuthRequest = 2, "AUTH_REQUEST";
    /// Refuses it.
    AuthBadMethod = 3, "AUTH_BAD_METHOD";
    /// The server's part of a longer one.
    AuthReplyMore = 4, "AUTH_REPLY_MORE";
    /// The client's part of it.
    AuthRequestMore = 5, "AUTH_REQUEST_MORE";
    /// Ends it.
    AuthDone = 6, "AUTH_DONE";
    /// Proves that nobody changed what came before.
    AuthSignature = 7, "AUTH_SIGNATURE";
    /// The client begins a session.
    ClientIdent = 8, "CLIENT_IDENT";
    /// The server accepts it.
    ServerIdent = 9, "SERVER_IDENT";
    /// The server needs features that the client lacks.
    IdentMissingFeatures = 10, "IDENT_MISSING_FEATURES";
    /// The client continues a session.
    SessionReconnect = 11, "SESSION_RECONNECT";
    /// The server has forgotten it.
    SessionReset = 12, "SESSION_RESET";
    /// The client's count of connections is too low.
    SessionRetry = 13, "SESSION_RETRY";
    /// The client's global count of connections is too low.
    SessionRetryGlobal = 14, "SESSION_RETRY_GLOBAL";
    /// The server continues the session.
    SessionReconnectOk = 15, "SESSION_RECONNECT_OK";
    /// The server is connecting to the client at this moment.
    Wait = 16, "WAIT";
    /// A message.
    Message = 17, "MESSAGE";
    /// Is anybody there?
    Keepalive2 = 18, "KEEPALIVE2";
    /// Yes.
    Keepalive2Ack = 19, "KEEPALIVE2_ACK";
    /// Messages have arrived.
    Ack = 20, "ACK";
    /// Offers compression; not used here.
    CompressionRequest = 21, "COMPRESSION_REQUEST";
    /// Accepts it.
    CompressionDone = 22, "COMPRESSION_DONE";
}

/// The segments of a message, in order. Other frames have only the first, their payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The header; the payload of other frames.
    Head = 0,
    /// The front.
    Front = 1,
    /// The middle.
    Middle = 2,
    /// The data.
    Data = 3,
}

impl Segment {
    /// All of them.
    pub(super) const ALL: [Self; SEGMENTS_MAX] = [Self::Head, Self::Front, Self::Middle, Self::Data];

    /// Where its data had best begin in memory, which a sender announces.
    pub(super) fn alignment(self) -> u16 {
        match self {
            Self::Head | Self::Front | Self::Middle => 8,
            Self::Data => 4096,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "first",
            Self::Front => "front",
            Self::Middle => "middle",
            Self::Data => "data",
        })
    }
}

/// What a preamble says of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSpec {
    /// Bytes, without padding.
    pub length: u32,
    /// Where it had best begin in memory. A hint.
    pub alignment: u16,
}

/// Longest segments that are accepted. What is longer is an error before a byte of it is read. Together they must stay below 2 GiB,
/// since a component counts with 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload of frames that are not messages.
    pub control: u32,
    /// Front of messages: maps of large clusters are the longest.
    pub front: u32,
    /// Middle of messages.
    pub middle: u32,
    /// Data of messages.
    pub data: u32,
}

impl Default for Limits {
    /// What Linux accepts for messages (`CEPH_MSG_MAX_*_LEN` of `linux/ceph/libceph.h`). For the rest, more than any ticket takes.
    fn default() -> Self {
        Self { control: 64 << 10, front: 16 << 20, middle: 16 << 20, data: 64 << 20 }
    }
}

/// A preamble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// What the frame is.
    pub tag: Tag,
    /// How many of `segments` there are.
    pub count: u8,
    /// Its segments.
    pub segments: [SegmentSpec; SEGMENTS_MAX],
}

impl Preamble {
    /// The preamble of a frame whose segments have these lengths. Empty ones at the end are left out, but never the first.
    #[must_use]
    pub fn of(tag: Tag, lengths: [u32; SEGMENTS_MAX]) -> Self {
        let count = lengths.iter().rposition(|&length| length > 0).map_or(1, |last| last + 1);
        let mut segments = [SegmentSpec::default(); SEGMENTS_MAX];
        for ((spec, length), segment) in segments.iter_mut().zip(lengths).zip(Segment::ALL).take(count) {
            *spec = SegmentSpec { length, alignment: segment.alignment() };
        }
        // At most four.
        Self { tag, count: count as u8, segments }
    }

    /// Bytes of a segment; 0 if the frame does not have it.
    #[must_use]
    pub fn length(&self, segment: Segment) -> usize {
        self.segments[segment as usize].length as usize
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(self.tag as u8).u8(self.count);
        for spec in self.segments {
            encoder.u32(spec.length).u16(spec.alignment);
        }
        encoder.u8(0).u8(0);
        let mut bytes = encoder.finish();
        // Starts from 0, unlike the CRCs of segments.
        let crc = crc32c(0, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is damaged, or describes no frame that this protocol has.
    pub fn decode(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, FrameError> {
        let (body, crc) = bytes.split_at(PREAMBLE_LEN - CRC_LEN);
        let announced = super::read_crc(crc);
        let computed = crc32c(0, body);
        if announced != computed {
            return Err(FrameError::PreambleCrc { announced, computed });
        }
        let [number, count, ..] = *bytes;
        let tag = Tag::from_number(number).ok_or(FrameError::Tag(number))?;
        let most = if tag == Tag::Message { SEGMENTS_MAX } else { 1 };
        if count < 1 || usize::from(count) > most {
            return Err(FrameError::SegmentCount { tag, count });
        }
        let mut segments = [SegmentSpec::default(); SEGMENTS_MAX];
        let mut decoder = Decoder::new("preamble", &body[2..]);
        for spec in segments.iter_mut().take(count.into()) {
            // The lengths of segments that are not there are not looked at.
            let (Ok(length), Ok(alignment)) = (decoder.u32(), decoder.u16()) else {
                return Err(FrameError::SegmentCount { tag, count });
            };
            *spec = SegmentSpec { length, alignment };
        }
        if count > 1 && segments[usize::from(count) - 1].length == 0 {
            return Err(FrameError::LastSegmentEmpty(tag));
        }
        if body[26] & FLAG_COMPRESSED != 0 {
            return Err(FrameError::Compressed(tag));
        }
        Ok(Self { tag, count, segments })
    }

    /// Checks lengths.
    ///
    /// # Errors
    /// A segment is longer than its limit.
    pub fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        let head = if self.tag == Tag::Message { MessageHeader::LENGTH as u32 } else { limits.control };
        let limits = [head, limits.front, limits.middle, limits.data];
        for ((spec, limit), segment) in self.segments.iter().zip(limits).zip(Segment::ALL) {
            if spec.length > limit {
                let length = spec.length.into();
                return Err(FrameError::TooLarge { tag: self.tag, segment, length, limit });
            }
        }
        Ok(())
    }
}
