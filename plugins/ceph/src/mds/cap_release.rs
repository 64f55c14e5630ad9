//! `MClientCapRelease`: capabilities that a client gives back.

use super::kind;
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::Epoch;

/// One of them (`ceph_mds_cap_item`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapItem {
    /// Its inode.
    pub ino: u64,
    /// Its number.
    pub cap_id: u64,
    /// How often it has moved to another rank.
    pub migrate_seq: u32,
    /// The number with which it was last issued: if the MDS has issued more since, it stays.
    pub seq: u32,
}

/// A list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapRelease {
    /// What is given back.
    pub items: Vec<CapItem>,
    /// The MDS waits for this map of OSDs before it gives them to others; 0: it need not.
    pub osd_epoch_barrier: Epoch,
}

/// Bytes of an item.
const ITEM_LEN: usize = 24;

impl CapRelease {
    /// Version of the message that is written.
    pub const VERSION: u16 = 2;
    /// As many as Linux puts into one message (`CEPH_CAPS_PER_RELEASE`, with pages of 4 KiB).
    pub const ITEMS_MAX: usize = 168;

    /// The message.
    #[must_use]
    pub fn into_message<P: Payload>(self) -> Message<P> {
        let mut e = Encoder::new();
        e.list(self.items.iter(), |e, item| {
            e.u64(item.ino).u64(item.cap_id).u32(item.migrate_seq).u32(item.seq);
        });
        e.u32(self.osd_epoch_barrier);
        Message::new(kind::CLIENT_CAPRELEASE, Self::VERSION, 1, e.finish())
    }

    /// Reads the front of a message of this version.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(version: u16, front: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientCapRelease", front);
        let mut items = Vec::new();
        for _ in 0..d.count(ITEM_LEN)? {
            let (ino, cap_id, migrate_seq, seq) = (d.u64()?, d.u64()?, d.u32()?, d.u32()?);
            items.push(CapItem { ino, cap_id, migrate_seq, seq });
        }
        let osd_epoch_barrier = if version >= 2 { d.u32()? } else { 0 };
        Ok(Self { items, osd_epoch_barrier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_survives_the_wire() {
        let item = CapItem { ino: 1, cap_id: 2, migrate_seq: 3, seq: 4 };
        let sent = CapRelease { items: vec![item, CapItem::default()], osd_epoch_barrier: 9 };
        let front = sent.clone().into_message::<Bytes>().front;
        assert_eq!(CapRelease::decode(2, &front).unwrap(), sent);
        for length in 0..front.len() {
            assert!(CapRelease::decode(2, &front[..length]).is_err(), "{length}");
        }
    }
}
