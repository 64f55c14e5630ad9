//! `MClientLease`: about the lease of a name.

use super::kind;
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;

/// What a [`LeaseMessage`] says (`CEPH_MDS_LEASE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// MDS: it ends now; say when you have stopped to rely on it.
    Revoke,
    /// Client: I give it back.
    Release,
    /// Client: I want it for longer. MDS: have it.
    Renew,
    /// Client: I have stopped.
    RevokeAck,
    /// Something newer.
    Other(u8),
}

/// One such message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseMessage {
    /// What it says.
    pub action: LeaseAction,
    /// As in [`lease_mask`](super::lease_mask).
    pub mask: u16,
    /// The directory.
    pub ino: u64,
    /// First snapshot that it is about.
    pub first: u64,
    /// Last one.
    pub last: u64,
    /// Number of the lease, which an answer repeats.
    pub seq: u32,
    /// For how much longer.
    pub duration_ms: u32,
    /// The name.
    pub name: Vec<u8>,
}

impl LeaseMessage {
    /// Reads the front of a message.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientLease", front);
        let action = match d.u8()? {
            1 => LeaseAction::Revoke,
            2 => LeaseAction::Release,
            3 => LeaseAction::Renew,
            4 => LeaseAction::RevokeAck,
            other => LeaseAction::Other(other),
        };
        let (mask, ino, first, last) = (d.u16()?, d.u64()?, d.u64()?, d.u64()?);
        let (seq, duration_ms) = (d.u32()?, d.u32()?);
        Ok(Self { action, mask, ino, first, last, seq, duration_ms, name: d.blob()?.to_vec() })
    }

    /// The message.
    #[must_use]
    pub fn into_message<P: Payload>(self) -> Message<P> {
        let mut e = Encoder::new();
        e.u8(match self.action {
            LeaseAction::Revoke => 1,
            LeaseAction::Release => 2,
            LeaseAction::Renew => 3,
            LeaseAction::RevokeAck => 4,
            LeaseAction::Other(other) => other,
        });
        e.u16(self.mask).u64(self.ino).u64(self.first).u64(self.last);
        e.u32(self.seq).u32(self.duration_ms).blob(&self.name);
        Message::new(kind::CLIENT_LEASE, 1, 1, e.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_survives_the_wire() {
        use LeaseAction::{Other, Release, Renew, Revoke, RevokeAck};
        for action in [Revoke, Release, Renew, RevokeAck, Other(9)] {
            let (ino, name) = (1, b"\xffname".to_vec());
            let sent = LeaseMessage { action, mask: 1, ino, first: 2, last: 3, seq: 4, duration_ms: 5, name };
            let front = sent.clone().into_message::<Bytes>().front;
            assert_eq!(LeaseMessage::decode(&front).unwrap(), sent);
            for length in 0..front.len() {
                assert!(LeaseMessage::decode(&front[..length]).is_err(), "{length}");
            }
        }
    }
}
