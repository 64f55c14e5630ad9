//! Snapshot realms: parts of the tree whose files have the same snapshots.

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::UTime;

use super::kind;

/// A realm as a client sees it (`SnapRealmInfo`, `SnapRealmInfoNew`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapRealm {
    /// The directory at its top.
    pub ino: u64,
    /// The snapshot since which it is a realm.
    pub created: u64,
    /// The realm it lies in; 0: none.
    pub parent: u64,
    /// The snapshot since which it lies there.
    pub parent_since: u64,
    /// Its version.
    pub seq: u64,
    /// Its own snapshots, newest first.
    pub snaps: Vec<u64>,
    /// Snapshots of realms it lay in before, newest first.
    pub prior_parent_snaps: Vec<u64>,
    /// When a snapshot was last made or removed; from Ceph 18 on.
    pub last_modified: Option<UTime>,
    /// Counts such changes; 0 before Ceph 18.
    pub change_attr: u64,
}

/// A realm, the one it lies in, and so on up to the root's (`snap trace`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapTrace {
    /// From the inside out.
    pub realms: Vec<SnapRealm>,
}

/// Bytes of a realm without snapshots.
const SMALLEST: usize = 48;

impl SnapRealm {
    fn decode_old(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut realm = Self {
            ino: d.u64()?,
            created: d.u64()?,
            parent: d.u64()?,
            parent_since: d.u64()?,
            seq: d.u64()?,
            ..Self::default()
        };
        let (own, prior) = (d.u32()? as usize, d.u32()? as usize);
        if own.checked_add(prior).is_none_or(|count| count > d.remaining() / 8) {
            return Err(d.error(format_args!("{own} and {prior} snapshots, {} bytes left", d.remaining())));
        }
        realm.snaps = (0..own).map(|_| d.u64()).collect::<Result<_, _>>()?;
        realm.prior_parent_snaps = (0..prior).map(|_| d.u64()).collect::<Result<_, _>>()?;
        Ok(realm)
    }

    fn decode_new(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut d = decoder.section("SnapRealmInfoNew", 1)?.body;
        let realm = Self::decode_old(&mut d)?;
        Ok(Self { last_modified: Some(UTime::decode(&mut d)?), change_attr: d.u64()?, ..realm })
    }

    fn encode_old(&self, e: &mut Encoder) {
        e.u64(self.ino).u64(self.created).u64(self.parent).u64(self.parent_since).u64(self.seq);
        e.length(self.snaps.len()).length(self.prior_parent_snaps.len());
        for snap in self.snaps.iter().chain(&self.prior_parent_snaps) {
            e.u64(*snap);
        }
    }
}

impl SnapTrace {
    /// Reads one. `new`: in the form of MDSs that have [`NEW_SNAPREALM_INFO`](super::feature::NEW_SNAPREALM_INFO).
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(bytes: &[u8], new: bool) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("snap trace", bytes);
        let mut realms = Vec::with_capacity(bytes.len() / SMALLEST);
        while !d.is_empty() {
            realms.push(if new { SnapRealm::decode_new(&mut d)? } else { SnapRealm::decode_old(&mut d)? });
        }
        Ok(Self { realms })
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self, new: bool) -> Vec<u8> {
        let mut e = Encoder::new();
        for realm in &self.realms {
            if new {
                e.section(1, 1, |e| {
                    realm.encode_old(e);
                    realm.last_modified.unwrap_or_default().encode(e);
                    e.u64(realm.change_attr);
                });
            } else {
                realm.encode_old(&mut e);
            }
        }
        e.finish()
    }
}

/// What a [`SnapMessage`] says (`CEPH_SNAP_OP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapOp {
    /// A realm has changed.
    Update,
    /// A snapshot was made.
    Create,
    /// A snapshot was removed.
    Destroy,
    /// A directory became a realm.
    Split,
    /// Something newer.
    Other(u32),
}

/// `MClientSnap`: snapshots came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapMessage {
    /// What has happened.
    pub op: SnapOp,
    /// Of a split: the directory that became a realm.
    pub split: u64,
    /// Of a split: inodes that are in it now.
    pub split_inos: Vec<u64>,
    /// Of a split: realms that are in it now.
    pub split_realms: Vec<u64>,
    /// The realms it is about.
    pub trace: SnapTrace,
}

impl SnapMessage {
    /// Reads the front of a message; `new` as for [`SnapTrace::decode`].
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8], new: bool) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientSnap", front);
        let op = match d.u32()? {
            0 => SnapOp::Update,
            1 => SnapOp::Create,
            2 => SnapOp::Destroy,
            3 => SnapOp::Split,
            other => SnapOp::Other(other),
        };
        let split = d.u64()?;
        let (inos, realms, trace) = (d.u32()? as usize, d.u32()? as usize, d.u32()? as usize);
        if inos.checked_add(realms).is_none_or(|count| count > d.remaining() / 8) {
            return Err(
                d.error(format_args!("{inos} inodes and {realms} realms, {} bytes left", d.remaining()))
            );
        }
        let split_inos = (0..inos).map(|_| d.u64()).collect::<Result<_, _>>()?;
        let split_realms = (0..realms).map(|_| d.u64()).collect::<Result<_, _>>()?;
        let trace = SnapTrace::decode(d.bytes(trace)?, new)?;
        Ok(Self { op, split, split_inos, split_realms, trace })
    }

    /// The message.
    #[must_use]
    pub fn into_message<P: Payload>(self, new: bool) -> Message<P> {
        let mut e = Encoder::new();
        e.u32(match self.op {
            SnapOp::Update => 0,
            SnapOp::Create => 1,
            SnapOp::Destroy => 2,
            SnapOp::Split => 3,
            SnapOp::Other(other) => other,
        });
        let trace = self.trace.encode(new);
        e.u64(self.split).length(self.split_inos.len()).length(self.split_realms.len()).length(trace.len());
        for ino in self.split_inos.iter().chain(&self.split_realms) {
            e.u64(*ino);
        }
        e.raw(&trace);
        Message::new(kind::CLIENT_SNAP, 1, 1, e.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn they_survive_the_wire_in_both_forms() {
        let realm = |ino: u64, new: bool| SnapRealm {
            ino,
            created: 1,
            parent: 1,
            parent_since: 2,
            seq: 9,
            snaps: vec![9, 4],
            prior_parent_snaps: vec![3],
            last_modified: new.then_some(UTime { seconds: 5, nanoseconds: 6 }),
            change_attr: if new { 3 } else { 0 },
        };
        for new in [false, true] {
            let message = SnapMessage {
                op: SnapOp::Split,
                split: 77,
                split_inos: vec![1, 2],
                split_realms: vec![3],
                trace: SnapTrace { realms: vec![realm(77, new), realm(1, new)] },
            };
            let front = message.clone().into_message::<Bytes>(new).front;
            assert_eq!(SnapMessage::decode(&front, new).unwrap(), message);
            for length in 0..front.len() {
                assert!(SnapMessage::decode(&front[..length], new).is_err(), "{length}");
            }
        }
    }
}
