//! `MClientSession`: about a session itself.

use super::{FeatureSet, kind};
use crate::encoding::{DecodeError, Decoder, Encoder, Section};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::UTime;
use std::collections::BTreeMap;

/// What a [`SessionMessage`] says (`CEPH_SESSION_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionOp {
    /// Client: open a session.
    RequestOpen,
    /// MDS: it is open.
    Open,
    /// Client: close it.
    RequestClose,
    /// MDS: it is closed, and everything that the client had is void.
    Close,
    /// Client: I am still here.
    RequestRenewCaps,
    /// MDS: so you are.
    RenewCaps,
    /// MDS: you were away too long; what you had is void until it is given again.
    Stale,
    /// MDS: hold less.
    RecallState,
    /// MDS: say when you have had all that I sent before.
    FlushMsg,
    /// Client: I have.
    FlushMsgAck,
    /// MDS: I cannot write any more.
    ForceReadOnly,
    /// MDS: you get no session.
    Reject,
    /// Client: write your journal now, somebody waits for it.
    RequestFlushMdLog,
    /// Something newer.
    Other(u32),
}

/// In the order of their numbers.
const OPS: [SessionOp; 13] = [
    SessionOp::RequestOpen,
    SessionOp::Open,
    SessionOp::RequestClose,
    SessionOp::Close,
    SessionOp::RequestRenewCaps,
    SessionOp::RenewCaps,
    SessionOp::Stale,
    SessionOp::RecallState,
    SessionOp::FlushMsg,
    SessionOp::FlushMsgAck,
    SessionOp::ForceReadOnly,
    SessionOp::Reject,
    SessionOp::RequestFlushMdLog,
];

impl SessionOp {
    fn from_raw(raw: u32) -> Self {
        OPS.get(raw as usize).copied().unwrap_or(Self::Other(raw))
    }

    fn raw(self) -> u32 {
        match self {
            Self::Other(raw) => raw,
            known => OPS.iter().position(|op| *op == known).unwrap_or(OPS.len()) as u32,
        }
    }
}

/// One entry of a user's MDS capabilities (`MDSCapAuth`): what an MDS tells a client to keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCapAuth {
    /// Only for this user; -1: for all.
    pub uid: i64,
    /// And these groups.
    pub gids: Vec<u32>,
    /// Only below this path, which has no slash in front.
    pub path: Vec<u8>,
    /// Only in this file system, if not empty.
    pub fs_name: String,
    /// Not for the superuser's writes.
    pub root_squash: bool,
    /// Reading is allowed.
    pub readable: bool,
    /// Writing is allowed.
    pub writeable: bool,
}

/// One such message. What a version does not carry is not written, and read as nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMessage {
    /// What it says.
    pub op: SessionOp,
    /// Which renewal or flush it is about; how many messages were pushed on the session, for a request to close it.
    pub seq: u64,
    /// When it was said; most leave it out.
    pub stamp: UTime,
    /// How many capabilities the client may hold, of [`SessionOp::RecallState`].
    pub max_caps: u32,
    /// How many leases it may hold.
    pub max_leases: u32,
    /// Of a client: who it is, for administrators. Of an MDS: `error_string` of a rejection.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What the sender can do.
    pub features: FeatureSet,
    /// Which metrics the client tells; none if empty.
    pub metrics: FeatureSet,
    /// See [`Self::BLOCKLISTED`].
    pub flags: u32,
    /// What the user may do.
    pub cap_auths: Vec<SessionCapAuth>,
    /// The oldest request that the client still waits for: the MDS may forget those before. `u64::MAX`: it does not say.
    pub oldest_client_tid: u64,
}

impl SessionMessage {
    /// Newest version of the message that is known.
    pub const VERSION: u16 = 7;
    /// The version without anything behind the head: what most messages need.
    pub const HEAD_ONLY: u16 = 1;
    /// In [`flags`](Self::flags): the client is in the blocklist of the OSD map.
    pub const BLOCKLISTED: u32 = 1;

    /// A message that says just this.
    #[must_use]
    pub fn new(op: SessionOp, seq: u64) -> Self {
        Self {
            op,
            seq,
            stamp: UTime::default(),
            max_caps: 0,
            max_leases: 0,
            metadata: BTreeMap::new(),
            features: FeatureSet::default(),
            metrics: FeatureSet::default(),
            flags: 0,
            cap_auths: Vec::new(),
            oldest_client_tid: u64::MAX,
        }
    }

    /// Reads the front of a message of this version.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(version: u16, front: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientSession", front);
        let mut message = Self::new(SessionOp::from_raw(d.u32()?), d.u64()?);
        message.stamp = UTime::decode(&mut d)?;
        (message.max_caps, message.max_leases) = (d.u32()?, d.u32()?);
        if version >= 2 {
            let metadata = d.pairs(Decoder::string, |d| d.blob().map(<[u8]>::to_vec))?;
            message.metadata = metadata.into_iter().collect();
        }
        if version >= 3 {
            message.features = FeatureSet::decode(&mut d)?;
        }
        if version >= 4 {
            message.metrics = FeatureSet::decode(&mut d.section("metric_spec_t", 1)?.body)?;
        }
        if version >= 5 {
            message.flags = d.u32()?;
        }
        if version >= 6 {
            message.cap_auths = d.list(SessionCapAuth::decode)?;
        }
        if version >= 7 {
            message.oldest_client_tid = d.u64()?;
        }
        Ok(message)
    }

    /// Writes the front of a message of this version.
    #[must_use]
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut e = Encoder::new();
        e.u32(self.op.raw()).u64(self.seq);
        self.stamp.encode(&mut e);
        e.u32(self.max_caps).u32(self.max_leases);
        if version >= 2 {
            e.list(self.metadata.iter(), |e, (key, value)| {
                e.blob(key).blob(value);
            });
        }
        if version >= 3 {
            self.features.encode(&mut e);
        }
        if version >= 4 {
            e.section(1, 1, |e| self.metrics.encode(e));
        }
        if version >= 5 {
            e.u32(self.flags);
        }
        if version >= 6 {
            e.list(self.cap_auths.iter(), |e, auth| auth.encode(e));
        }
        if version >= 7 {
            e.u64(self.oldest_client_tid);
        }
        e.finish()
    }

    /// The message, in a version that carries all it says.
    #[must_use]
    pub fn into_message<P: Payload>(self) -> Message<P> {
        let bare = Self {
            stamp: self.stamp,
            max_caps: self.max_caps,
            max_leases: self.max_leases,
            ..Self::new(self.op, self.seq)
        };
        let version = if self == bare { Self::HEAD_ONLY } else { Self::VERSION };
        Message::new(kind::CLIENT_SESSION, version, 1, self.encode(version))
    }
}

impl SessionCapAuth {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut outer = decoder.section("MDSCapAuth", 1)?.body;
        let Section { body: mut d, .. } = outer.section("MDSCapMatch", 1)?;
        let (uid, gids) = (d.i64()?, d.list(Decoder::u32)?);
        let (path, fs_name, root_squash) = (d.blob()?.to_vec(), d.string()?, d.bool()?);
        let (readable, writeable) = (outer.bool()?, outer.bool()?);
        Ok(Self { uid, gids, path, fs_name, root_squash, readable, writeable })
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.section(1, 1, |e| {
            e.section(1, 1, |e| {
                e.i64(self.uid).list(self.gids.iter(), |e, gid| {
                    e.u32(*gid);
                });
                e.blob(&self.path).blob(&self.fs_name).bool(self.root_squash);
            });
            e.bool(self.readable).bool(self.writeable);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_survives_the_wire() {
        let mut message = SessionMessage::new(SessionOp::Reject, 7);
        message.metadata.insert("error_string".to_owned(), b"non-allowable root '/'".to_vec());
        message.features = FeatureSet::supported();
        message.flags = SessionMessage::BLOCKLISTED;
        message.oldest_client_tid = 12;
        message.cap_auths.push(SessionCapAuth {
            uid: -1,
            gids: vec![4],
            path: b"tst1".to_vec(),
            fs_name: "cephfs".to_owned(),
            root_squash: true,
            readable: true,
            writeable: false,
        });
        let sent = message.clone().into_message::<Bytes>();
        assert_eq!((sent.version, sent.compat), (7, 1));
        assert_eq!(SessionMessage::decode(7, &sent.front).unwrap(), message);
        for length in 0..sent.front.len() {
            assert!(SessionMessage::decode(7, &sent.front[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_says_little_is_short() {
        let sent = SessionMessage::new(SessionOp::FlushMsgAck, 3).into_message::<Bytes>();
        assert_eq!((sent.version, sent.front.len()), (1, 28));
        assert_eq!(sent.front[..4], [9, 0, 0, 0]);
        for raw in 0..20 {
            assert_eq!(SessionOp::from_raw(raw).raw(), raw);
        }
    }
}
