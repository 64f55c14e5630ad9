//! Messages between clients and monitors (`messages/MMon*.h`, `messages/MAuth*.h` of Ceph).

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::{Epoch, Fsid};

/// Kinds of messages (`CEPH_MSG_*` of `include/ceph_fs.h`, `MSG_*` of `msg/Message.h`).
pub mod kind {
    /// The map of monitors.
    pub const MON_MAP: u16 = 4;
    /// A question for the room in the cluster.
    pub const STATFS: u16 = 13;
    /// The answer.
    pub const STATFS_REPLY: u16 = 14;
    /// A wish for maps.
    pub const MON_SUBSCRIBE: u16 = 15;
    /// An answer to it that only old monitors give.
    pub const MON_SUBSCRIBE_ACK: u16 = 16;
    /// A wish for tickets.
    pub const AUTH: u16 = 17;
    /// Tickets.
    pub const AUTH_REPLY: u16 = 18;
    /// A question for the newest version of a map.
    pub const MON_GET_VERSION: u16 = 19;
    /// The answer.
    pub const MON_GET_VERSION_REPLY: u16 = 20;
    /// A command.
    pub const MON_COMMAND: u16 = 50;
    /// Its result.
    pub const MON_COMMAND_ACK: u16 = 51;
    /// Options that the cluster has for its clients.
    pub const CONFIG: u16 = 62;
}

/// What messages that pass through the monitors' log begin with: version, and who forwarded it. Clients have nothing to say there.
fn paxos(encoder: &mut Encoder) -> &mut Encoder {
    encoder.u64(0).i16(-1).u64(0)
}

/// Bytes of [`paxos`].
const PAXOS: usize = 18;

/// `MMonSubscribe`: names of maps, the first version wanted of each, and whether one answer is enough.
#[must_use]
pub fn subscribe<'a, P: Payload>(
    what: impl ExactSizeIterator<Item = (&'a str, u64, bool)>,
    hostname: &str,
) -> Message<P> {
    let mut encoder = Encoder::new();
    encoder.list(what, |encoder, (name, start, once)| {
        encoder.blob(name).u64(start).bool(once);
    });
    encoder.blob(hostname);
    Message::new(kind::MON_SUBSCRIBE, 3, 1, encoder.finish())
}

/// How long a subscription lasts, from `MMonSubscribeAck`: seconds.
///
/// # Errors
/// It is cut off.
pub fn decode_subscribe_ack(front: &[u8]) -> Result<u32, DecodeError> {
    Decoder::new("MMonSubscribeAck", front).u32()
}

/// `MAuth`: a payload of the authentication method.
#[must_use]
pub fn auth<P: Payload>(method: u32, payload: &[u8], monmap: Epoch) -> Message<P> {
    let mut encoder = Encoder::new();
    paxos(&mut encoder).u32(method).blob(payload).u32(monmap);
    Message::new(kind::AUTH, 1, 1, encoder.finish())
}

/// `MAuthReply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthReply<'a> {
    /// Negative errno, or 0.
    pub result: i32,
    /// A payload of the authentication method.
    pub payload: &'a [u8],
}

impl<'a> AuthReply<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MAuthReply", front);
        decoder.skip(4)?;
        let result = decoder.i32()?;
        decoder.skip(8)?;
        Ok(Self { result, payload: decoder.blob()? })
    }
}

/// `MMonGetVersion`: what is the newest version of this map (`osdmap`)?
#[must_use]
pub fn get_version<P: Payload>(handle: u64, what: &str) -> Message<P> {
    let mut encoder = Encoder::new();
    encoder.u64(handle).blob(what);
    Message::new(kind::MON_GET_VERSION, 1, 1, encoder.finish())
}

/// `MMonGetVersionReply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionReply {
    /// That of the question.
    pub handle: u64,
    /// The newest version.
    pub newest: u64,
    /// The oldest that monitors still have.
    pub oldest: u64,
}

impl VersionReply {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(version: u16, front: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MMonGetVersionReply", front);
        let (handle, newest) = (decoder.u64()?, decoder.u64()?);
        Ok(Self { handle, newest, oldest: if version >= 2 { decoder.u64()? } else { 0 } })
    }
}

/// `MMonCommand`: a command as JSON, `{"prefix": "osd pool ls"}`.
#[must_use]
pub fn command<P: Payload>(tid: u64, fsid: Fsid, json: &str) -> Message<P> {
    let mut encoder = Encoder::new();
    paxos(&mut encoder).raw(&fsid.0).list([json].into_iter(), |encoder, part| {
        encoder.blob(part);
    });
    Message { tid, ..Message::new(kind::MON_COMMAND, 1, 1, encoder.finish()) }
}

/// Result and status line of a command, from `MMonCommandAck`. Its output is the message's data.
///
/// # Errors
/// It is cut off.
pub fn decode_command_ack(front: &[u8]) -> Result<(i32, String), DecodeError> {
    let mut decoder = Decoder::new("MMonCommandAck", front);
    decoder.skip(PAXOS)?;
    let result = decoder.i32()?;
    Ok((result, String::from_utf8_lossy(decoder.blob()?).into_owned()))
}

/// The encoded map in `MMonMap`.
///
/// # Errors
/// It is cut off.
pub fn decode_mon_map(front: &[u8]) -> Result<&[u8], DecodeError> {
    Decoder::new("MMonMap", front).blob()
}

/// `MStatfs`: how much room is in the cluster, or for a pool of data?
#[must_use]
pub fn statfs<P: Payload>(tid: u64, fsid: Fsid, pool: Option<i64>) -> Message<P> {
    let mut encoder = Encoder::new();
    paxos(&mut encoder).raw(&fsid.0).bool(pool.is_some());
    if let Some(pool) = pool {
        encoder.i64(pool);
    }
    Message { tid, ..Message::new(kind::STATFS, 2, 1, encoder.finish()) }
}

/// Room in the cluster, or for one pool of it (`ceph_statfs` of `include/types.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All of it, in KiB.
    pub total_kib: u64,
    /// What is used of it.
    pub used_kib: u64,
    /// What may still be written, which copies and reserves make less than the rest.
    pub available_kib: u64,
    /// Objects.
    pub objects: u64,
}

impl Usage {
    /// Reads it from an `MStatfsReply`.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MStatfsReply", front);
        // Id of the cluster, and version of the statistics.
        decoder.skip(16 + 8)?;
        Ok(Self {
            total_kib: decoder.u64()?,
            used_kib: decoder.u64()?,
            available_kib: decoder.u64()?,
            objects: decoder.u64()?,
        })
    }
}
