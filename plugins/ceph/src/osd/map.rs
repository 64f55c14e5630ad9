//! `MOSDMap`: maps and changes of maps, from monitors and OSDs.

use crate::encoding::{DecodeError, Decoder};
use crate::types::{Epoch, Fsid};

/// Maps as they were sent, not decoded yet: changes apply one after the other, and most full maps are never needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapMessage<'a> {
    /// The cluster.
    pub fsid: Fsid,
    /// Changes: the one with epoch n makes map n of map n - 1. Ascending.
    pub incrementals: Vec<(Epoch, &'a [u8])>,
    /// Full maps. Ascending.
    pub full: Vec<(Epoch, &'a [u8])>,
    /// Oldest map that the sender can send.
    pub oldest: Epoch,
    /// Newest map that the sender has.
    pub newest: Epoch,
}

impl<'a> MapMessage<'a> {
    /// Reads the front of a message of this version.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(version: u16, front: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MOSDMap", front);
        let fsid = Fsid(decoder.array()?);
        let mut maps = || {
            let mut maps = decoder.pairs(Decoder::u32, Decoder::blob)?;
            maps.sort_unstable_by_key(|&(epoch, _)| epoch);
            Ok(maps)
        };
        let (incrementals, full) = (maps()?, maps()?);
        let (oldest, newest) = if version >= 2 { (decoder.u32()?, decoder.u32()?) } else { (0, 0) };
        Ok(Self { fsid, incrementals, full, oldest, newest })
    }

    /// The newest map in it; 0: there is none.
    #[must_use]
    pub fn last(&self) -> Epoch {
        self.incrementals.iter().chain(&self.full).map(|&(epoch, _)| epoch).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoder;

    #[test]
    fn maps_and_changes_are_told_apart() {
        let mut encoder = Encoder::new();
        encoder.raw(&[7; 16]);
        encoder.list([(6, "six"), (5, "five")].into_iter(), |e, (epoch, map)| {
            e.u32(epoch).blob(map);
        });
        encoder.list([(4, "four")].into_iter(), |e, (epoch, map)| {
            e.u32(epoch).blob(map);
        });
        encoder.u32(1).u32(6);
        let bytes = encoder.finish();
        let message = MapMessage::decode(4, &bytes).unwrap();
        assert_eq!(message.incrementals, [(5, b"five".as_slice()), (6, b"six")]);
        assert_eq!(message.full, [(4, b"four".as_slice())]);
        assert_eq!((message.oldest, message.newest, message.last()), (1, 6, 6));
        assert!(MapMessage::decode(4, &bytes[..bytes.len() - 1]).is_err());
    }
}
