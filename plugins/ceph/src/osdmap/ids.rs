//! Placement groups: the shares of a pool's objects that have a common place.

use crate::encoding::{DecodeError, Decoder, Encoder};
use std::fmt;

/// A placement group (`pg_t`), shown as Ceph does: pool, dot, seed in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgId {
    /// Id of its pool.
    pub pool: i64,
    /// Number below the pool's `pg_num`.
    pub seed: u32,
}

/// A pool and the whole hash of an object's name: what the object's placement group is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawPg {
    /// Id of its pool.
    pub pool: i64,
    /// All 32 bits.
    pub hash: u32,
}

/// Says that a placement group is whole on each of its OSDs.
pub const NO_SHARD: i8 = -1;

/// A placement group as an OSD has it: in an erasure coded pool each has another shard (`spg_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpgId {
    /// The placement group.
    pub pg: PgId,
    /// Which shard, or [`NO_SHARD`].
    pub shard: i8,
}

impl PgId {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or of a version other than the only one there is.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let version = decoder.u8()?;
        if version != 1 {
            return Err(decoder.error(format_args!("a placement group of version {version}")));
        }
        let id = Self { pool: decoder.i64()?, seed: decoder.u32()? };
        decoder.skip(4)?; // an OSD that was once preferred
        Ok(id)
    }

    /// Writes it.
    pub fn encode(self, encoder: &mut Encoder) {
        encoder.u8(1).i64(self.pool).u32(self.seed).i32(-1);
    }
}

impl SpgId {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut body = decoder.section("spg_t", 1)?.body;
        Ok(Self { pg: PgId::decode(&mut body)?, shard: body.i8()? })
    }

    /// Writes it.
    pub fn encode(self, encoder: &mut Encoder) {
        encoder.section(1, 1, |body| {
            self.pg.encode(body);
            body.i8(self.shard);
        });
    }
}

impl fmt::Display for PgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.pool, self.seed)
    }
}

impl fmt::Display for SpgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pg, f)?;
        if self.shard == NO_SHARD { Ok(()) } else { write!(f, "s{}", self.shard) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_survive_a_round_trip_and_are_shown_as_by_ceph() {
        for (shard, shown) in [(NO_SHARD, "7.1f"), (2, "7.1fs2")] {
            let id = SpgId { pg: PgId { pool: 7, seed: 0x1f }, shard };
            let mut encoder = Encoder::new();
            id.encode(&mut encoder);
            let bytes = encoder.finish();
            assert_eq!(bytes.len(), 6 + 17 + 1);
            assert_eq!(SpgId::decode(&mut Decoder::new("test", &bytes)), Ok(id));
            assert_eq!(id.to_string(), shown);
        }
    }
}
