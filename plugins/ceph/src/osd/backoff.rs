//! `MOSDBackoff`: an OSD that cannot serve a range of objects now asks its clients to hold back, instead of queueing their requests.

use super::HObject;
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::osdmap::SpgId;
use crate::types::Epoch;

/// What a [`Backoff`] asks for (`CEPH_OSD_BACKOFF_OP_*` of `include/rados.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffKind {
    /// OSD to client: hold back. What was sent already is dropped there.
    Block,
    /// Client to OSD: will do.
    AckBlock,
    /// OSD to client: go on, and send again.
    Unblock,
}

/// One such message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Placement group.
    pub pg: SpgId,
    /// Epoch of the sender's map.
    pub epoch: Epoch,
    /// What is asked.
    pub kind: BackoffKind,
    /// Number of the backoff, unique in the connection.
    pub id: u64,
    /// First object of the range.
    pub begin: HObject,
    /// First object after it; equal to `begin`: just that object.
    pub end: HObject,
}

impl Backoff {
    /// Version of the message that is written.
    pub const VERSION: u16 = 1;

    /// Reads the front of a message.
    ///
    /// # Errors
    /// It is cut off, or asks for something unknown.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MOSDBackoff", front);
        let pg = SpgId::decode(&mut decoder)?;
        let epoch = decoder.u32()?;
        let kind = match decoder.u8()? {
            1 => BackoffKind::Block,
            2 => BackoffKind::AckBlock,
            3 => BackoffKind::Unblock,
            other => return Err(decoder.error(format_args!("a backoff of kind {other}"))),
        };
        let id = decoder.u64()?;
        let (begin, end) = (HObject::decode(&mut decoder)?, HObject::decode(&mut decoder)?);
        Ok(Self { pg, epoch, kind, id, begin, end })
    }

    /// Writes the front of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        self.pg.encode(&mut encoder);
        encoder.u32(self.epoch);
        encoder.u8(match self.kind {
            BackoffKind::Block => 1,
            BackoffKind::AckBlock => 2,
            BackoffKind::Unblock => 3,
        });
        encoder.u64(self.id);
        self.begin.encode(&mut encoder);
        self.end.encode(&mut encoder);
        encoder.finish()
    }

    /// Whether this object is to be held back.
    #[must_use]
    pub fn covers(&self, object: &HObject) -> bool {
        if self.begin == self.end {
            *object == self.begin
        } else {
            self.begin <= *object && *object < self.end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osdmap::PgId;

    fn object(hash: u32) -> HObject {
        HObject { pool: 1, hash, name: b"o".to_vec(), ..HObject::min() }
    }

    fn backoff(begin: HObject, end: HObject) -> Backoff {
        let pg = SpgId { pg: PgId { pool: 1, seed: 4 }, shard: 2 };
        Backoff { pg, epoch: 9, kind: BackoffKind::Block, id: 5, begin, end }
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let range = backoff(object(0), object(1));
        assert!(range.covers(&object(0)) && range.covers(&object(0x8000_0000)));
        assert!(!range.covers(&object(1)));
        let one = backoff(object(3), object(3));
        assert!(one.covers(&object(3)) && !one.covers(&object(0)));
        assert!(backoff(HObject::min(), HObject::max()).covers(&object(9)));
    }

    #[test]
    fn it_survives_the_wire() {
        let sent = backoff(HObject::min(), HObject::max());
        assert_eq!(Backoff::decode(&sent.encode()).unwrap(), sent);
        let mut bytes = sent.encode();
        // Behind the placement group (24 bytes) and the epoch.
        bytes[28] = 9;
        assert!(Backoff::decode(&bytes).unwrap_err().to_string().contains("kind 9"));
    }
}
