//! `MClientReply`: the answer to a request, and `MClientRequestForward`: to ask another rank.

use super::op::{GETVXATTR, LSSNAP, READDIR};
use super::{DirStat, InodeStat, LeaseStat, Rank, ReaddirReply, SnapTrace, kind};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::Epoch;

/// The name that a request went by, and the directory it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceDentry {
    /// The directory.
    pub dir: InodeStat,
    /// The fragment of it that has the name.
    pub frag: DirStat,
    /// The name.
    pub name: Vec<u8>,
    /// How long it means what it means. Without a target: that it does not exist.
    pub lease: LeaseStat,
}

/// What some requests are answered beside inodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReplyExtra {
    /// Nothing.
    #[default]
    None,
    /// Entries of a directory, or snapshots.
    Readdir(ReaddirReply),
    /// The value of a virtual extended attribute.
    Vxattr(Vec<u8>),
    /// Something else, encoded.
    Raw(Vec<u8>),
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Number of what was asked.
    pub op: u32,
    /// 0 or more, or a negative errno.
    pub result: i32,
    /// Epoch of the MDS's map.
    pub mdsmap_epoch: Epoch,
    /// Whether a change is written. If not, another answer follows, and the request may have to be played again.
    pub safe: bool,
    /// The name that was asked for. With an error too, for a name that does not exist.
    pub dentry: Option<TraceDentry>,
    /// The inode that was asked for.
    pub target: Option<InodeStat>,
    /// More.
    pub extra: ReplyExtra,
    /// The snapshot realms of all that.
    pub snap_trace: SnapTrace,
}

impl Reply {
    /// Reads the front of a message; `new` as for [`SnapTrace::decode`].
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8], new: bool) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientReply", front);
        let (op, result, mdsmap_epoch) = (d.u32()?, d.i32()?, d.u32()?);
        let (safe, has_dentry, has_target) = (d.bool()?, d.bool()?, d.bool()?);
        let length = d.u32()? as usize;
        let mut trace = d.sub("trace of MClientReply", length)?;
        let has_trace = !trace.is_empty();
        let dentry = if has_trace && has_dentry { Some(TraceDentry::decode(&mut trace)?) } else { None };
        let target = if has_trace && has_target { Some(InodeStat::decode(&mut trace)?) } else { None };
        let extra = ReplyExtra::decode(op, d.blob()?)?;
        let snap_trace = SnapTrace::decode(d.blob()?, new)?;
        Ok(Self { op, result, mdsmap_epoch, safe, dentry, target, extra, snap_trace })
    }

    /// The message; `tid` is the number of the request.
    #[must_use]
    pub fn to_message<P: Payload>(&self, tid: u64, new: bool) -> Message<P> {
        let mut e = Encoder::new();
        e.u32(self.op).i32(self.result).u32(self.mdsmap_epoch);
        e.bool(self.safe).bool(self.dentry.is_some()).bool(self.target.is_some());
        e.framed(|e| {
            if let Some(dentry) = &self.dentry {
                dentry.dir.encode(e);
                dentry.frag.encode(e);
                e.blob(&dentry.name);
                dentry.lease.encode(e);
            }
            if let Some(target) = &self.target {
                target.encode(e);
            }
        });
        e.framed(|e| match &self.extra {
            ReplyExtra::None => {}
            ReplyExtra::Readdir(entries) => drop(e.raw(&entries.encode())),
            ReplyExtra::Vxattr(value) => {
                e.section(1, 1, |e| {
                    e.blob(value);
                });
            }
            ReplyExtra::Raw(bytes) => drop(e.raw(bytes)),
        });
        e.blob(self.snap_trace.encode(new));
        Message { tid, ..Message::new(kind::CLIENT_REPLY, 1, 1, e.finish()) }
    }
}

impl TraceDentry {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (dir, frag) = (InodeStat::decode(d)?, DirStat::decode(d)?);
        Ok(Self { dir, frag, name: d.blob()?.to_vec(), lease: LeaseStat::decode(d)? })
    }
}

impl ReplyExtra {
    fn decode(op: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::None);
        }
        Ok(match op {
            READDIR | LSSNAP => Self::Readdir(ReaddirReply::decode(bytes)?),
            GETVXATTR => {
                let mut d = Decoder::new("virtual extended attribute", bytes);
                Self::Vxattr(d.section("virtual extended attribute", 1)?.body.blob()?.to_vec())
            }
            _ => Self::Raw(bytes.to_vec()),
        })
    }
}

/// `MClientRequestForward`: another rank is responsible, and the client has to ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestForward {
    /// That rank.
    pub rank: Rank,
    /// How often the request has been forwarded.
    pub forwards: u32,
}

impl RequestForward {
    /// Reads the front of a message.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientRequestForward", front);
        let forward = Self { rank: Rank(d.i32()?), forwards: d.u32()? };
        d.skip(1)?; // whether the client has to send it again: it always has to
        Ok(forward)
    }

    /// The message; `tid` is the number of the request.
    #[must_use]
    pub fn into_message<P: Payload>(self, tid: u64) -> Message<P> {
        let mut e = Encoder::new();
        e.i32(self.rank.0).u32(self.forwards).bool(true);
        Message { tid, ..Message::new(kind::CLIENT_REQUEST_FORWARD, 1, 1, e.finish()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mds::{SnapRealm, ino};
    use bytes::Bytes;

    fn reply(op: u32, extra: ReplyExtra) -> Reply {
        let dentry = TraceDentry {
            dir: InodeStat::new(1, ino::NO_SNAP),
            frag: DirStat::default(),
            name: b"\xffn".to_vec(),
            lease: LeaseStat { mask: 1, duration_ms: 30_000, seq: 2, alternate_name: Vec::new() },
        };
        Reply {
            op,
            result: -2,
            mdsmap_epoch: 9,
            safe: true,
            dentry: Some(dentry),
            target: Some(InodeStat::new(2, ino::NO_SNAP)),
            extra,
            snap_trace: SnapTrace { realms: vec![SnapRealm { ino: 1, seq: 1, ..SnapRealm::default() }] },
        }
    }

    #[test]
    fn it_survives_the_wire() {
        let entries = ReaddirReply { dir: DirStat::default(), flags: 1, entries: Vec::new() };
        for sent in [
            reply(0x100, ReplyExtra::None),
            reply(READDIR, ReplyExtra::Readdir(entries)),
            reply(GETVXATTR, ReplyExtra::Vxattr(b"value".to_vec())),
            reply(0x1301, ReplyExtra::Raw(vec![1, 2, 3])),
        ] {
            let message = sent.to_message::<Bytes>(77, false);
            assert_eq!(Reply::decode(&message.front, false).unwrap(), sent);
            for length in 0..message.front.len() {
                assert!(Reply::decode(&message.front[..length], false).is_err(), "{length}");
            }
        }
        let error = Reply { dentry: None, target: None, ..reply(0x100, ReplyExtra::None) };
        let message = error.to_message::<Bytes>(77, false);
        assert_eq!(Reply::decode(&message.front, false).unwrap(), error);
    }

    #[test]
    fn a_forward_names_a_rank() {
        let sent = RequestForward { rank: Rank(2), forwards: 3 };
        let message = sent.into_message::<Bytes>(77);
        assert_eq!((message.tid, RequestForward::decode(&message.front).unwrap()), (77, sent));
    }
}
