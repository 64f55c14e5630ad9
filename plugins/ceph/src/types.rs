//! Words shared by every part: who speaks, where, and when.

use crate::encoding::{DecodeError, Decoder, Encoder};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Number of a version of a cluster map; each change makes the next one.
pub type Epoch = u32;

/// Id of a cluster.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Fsid(pub [u8; 16]);

impl Fsid {
    /// Reads the usual form with hyphens; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hyphens = [8, 13, 18, 23];
        if text.len() != 36 || hyphens.iter().any(|&at| text.as_bytes()[at] != b'-') {
            return None;
        }
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        let mut id = [0; 16];
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in id.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for Fsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A moment: seconds and nanoseconds since 1970 (`utime_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UTime {
    /// Whole seconds.
    pub seconds: u32,
    /// The rest.
    pub nanoseconds: u32,
}

impl UTime {
    /// Reads one.
    ///
    /// # Errors
    /// There are fewer than 8 bytes.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { seconds: decoder.u32()?, nanoseconds: decoder.u32()? })
    }

    /// Writes it.
    pub fn encode(self, encoder: &mut Encoder) {
        encoder.u32(self.seconds).u32(self.nanoseconds);
    }
}

/// Kinds of entities (`CEPH_ENTITY_TYPE_*` of `include/msgr.h`).
pub mod entity {
    /// A monitor.
    pub const MON: u8 = 0x01;
    /// A metadata server.
    pub const MDS: u8 = 0x02;
    /// An object storage daemon.
    pub const OSD: u8 = 0x04;
    /// A client.
    pub const CLIENT: u8 = 0x08;
    /// A manager.
    pub const MGR: u8 = 0x10;
    /// The authentication service; for tickets only.
    pub const AUTH: u8 = 0x20;
}

/// Who sent a message: kind and number (`entity_name_t`: `client.4123`, `osd.3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntityName {
    /// One of [`entity`].
    pub kind: u8,
    /// Its number; a client's is its global id.
    pub number: i64,
}

impl EntityName {
    /// Reads one.
    ///
    /// # Errors
    /// There are fewer than 9 bytes.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { kind: decoder.u8()?, number: decoder.i64()? })
    }

    /// Writes it.
    pub fn encode(self, encoder: &mut Encoder) {
        encoder.u8(self.kind).i64(self.number);
    }
}

/// Which protocol is spoken at an address (`entity_addr_t::type_t` of `msg/msg_types.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddrKind {
    /// No address.
    #[default]
    None,
    /// The old protocol, which this crate does not speak.
    Legacy,
    /// msgr2.
    Msgr2,
    /// Either.
    Any,
}

/// An address: protocol, nonce of the process behind it, and socket address (`entity_addr_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntityAddr {
    /// What is spoken there.
    pub kind: AddrKind,
    /// Tells processes apart that use the same address one after the other.
    pub nonce: u32,
    /// Where; `None`: unknown.
    pub socket: Option<SocketAddr>,
}

/// `AF_INET` as Linux has it, which is what Ceph sends.
const AF_INET: u16 = 2;
/// `AF_INET6` as Linux has it.
const AF_INET6: u16 = 10;

impl EntityAddr {
    /// An address where msgr2 is spoken.
    #[must_use]
    pub fn msgr2(socket: SocketAddr, nonce: u32) -> Self {
        Self { kind: AddrKind::Msgr2, nonce, socket: Some(socket) }
    }

    /// Reads one, in the form for peers with the feature `MSG_ADDR2` (marker byte 1) or the old one (marker byte 0).
    ///
    /// # Errors
    /// It is neither, or it is cut off.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.u8()? {
            0 => Self::decode_legacy_tail(decoder),
            1 => Self::decode_tail(decoder),
            marker => Err(decoder.error(format_args!("an address with marker {marker}"))),
        }
    }

    /// The rest of the form with marker 1.
    fn decode_tail(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut body = decoder.section("entity_addr_t", 1)?.body;
        let kind = match body.u32()? {
            1 => AddrKind::Legacy,
            2 => AddrKind::Msgr2,
            3 => AddrKind::Any,
            _ => AddrKind::None,
        };
        let nonce = body.u32()?;
        let length = body.u32()? as usize;
        let mut address = body.sub("sockaddr", length)?;
        let socket = if length == 0 { None } else { decode_socket(&mut address)? };
        Ok(Self { kind, nonce, socket })
    }

    /// The rest of the old form, which begins with a byte 0: three more bytes of a type that is always 0, nonce, and a `sockaddr_storage`
    /// with its family in network order.
    fn decode_legacy_tail(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.skip(3)?;
        let nonce = decoder.u32()?;
        let mut storage = decoder.array::<128>()?;
        storage[..2].reverse();
        let mut address = Decoder::new("sockaddr_storage", &storage);
        Ok(Self { kind: AddrKind::Legacy, nonce, socket: decode_socket(&mut address)? })
    }

    /// Writes it in the form with marker 1.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.u8(1).section(1, 1, |body| {
            body.u32(match self.kind {
                AddrKind::None => 0,
                AddrKind::Legacy => 1,
                AddrKind::Msgr2 => 2,
                AddrKind::Any => 3,
            });
            body.u32(self.nonce);
            match self.socket {
                None => body.u32(0),
                Some(SocketAddr::V4(v4)) => {
                    body.u32(16).u16(AF_INET).raw(&v4.port().to_be_bytes()).raw(&v4.ip().octets()).zeros(8)
                }
                Some(SocketAddr::V6(v6)) => body
                    .u32(28)
                    .u16(AF_INET6)
                    .raw(&v6.port().to_be_bytes())
                    .u32(v6.flowinfo())
                    .raw(&v6.ip().octets())
                    .u32(v6.scope_id()),
            };
        });
    }
}

/// A `sockaddr` with its family in the order of a little-endian machine.
fn decode_socket(decoder: &mut Decoder<'_>) -> Result<Option<SocketAddr>, DecodeError> {
    match decoder.u16()? {
        AF_INET => {
            let port = u16::from_be_bytes(decoder.array()?);
            Ok(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(decoder.array::<4>()?)), port)))
        }
        AF_INET6 => {
            let port = u16::from_be_bytes(decoder.array()?);
            decoder.skip(4)?;
            Ok(Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(decoder.array::<16>()?)), port)))
        }
        0 => Ok(None),
        family => Err(decoder.error(format_args!("an address of family {family}"))),
    }
}

/// All addresses of one process (`entity_addrvec_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddrVec(pub Vec<EntityAddr>);

impl AddrVec {
    /// Reads a list (marker byte 2), or a single address in one of its two forms.
    ///
    /// # Errors
    /// It is none of these, or it is cut off.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.u8()? {
            0 => Ok(Self(vec![EntityAddr::decode_legacy_tail(decoder)?])),
            1 => Ok(Self(vec![EntityAddr::decode_tail(decoder)?])),
            2 => Ok(Self(decoder.list(EntityAddr::decode)?)),
            marker => Err(decoder.error(format_args!("a list of addresses with marker {marker}"))),
        }
    }

    /// Writes the list.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.u8(2).list(self.0.iter(), |encoder, address| address.encode(encoder));
    }

    /// The address where msgr2 is spoken, if there is one.
    #[must_use]
    pub fn msgr2(&self) -> Option<EntityAddr> {
        self.0
            .iter()
            .copied()
            .find(|a| matches!(a.kind, AddrKind::Msgr2 | AddrKind::Any) && a.socket.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in ["127.0.0.1:3300", "[2001:db8::1]:6800"] {
            let address = EntityAddr::msgr2(text.parse().unwrap(), 77);
            let mut encoder = Encoder::new();
            AddrVec(vec![address]).encode(&mut encoder);
            let bytes = encoder.finish();
            assert_eq!(AddrVec::decode(&mut Decoder::new("test", &bytes)).unwrap().msgr2(), Some(address));
        }
    }

    #[test]
    fn cluster_ids_are_read_and_shown() {
        let text = "806762f5-9823-4f93-9afa-bd627436e0c8";
        assert_eq!(Fsid::parse(text).unwrap().to_string(), text);
        for wrong in
            ["", "806762f5", "806762f5-9823-4f93-9afa-bd627436e0cg", "806762f5x9823-4f93-9afa-bd627436e0c8"]
        {
            assert_eq!(Fsid::parse(wrong), None, "{wrong}");
        }
    }
}
