//! An object's place in the order in which an OSD stores objects (`hobject_t` of `common/hobject.h`).

use crate::encoding::{DecodeError, Decoder, Encoder};
use std::cmp::Ordering;

/// An object, or one of the two ends of the order. Ranges of a [`Backoff`](super::Backoff) are made of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HObject {
    /// Pool; `i64::MIN` in the smallest of all.
    pub pool: i64,
    /// Namespace in the pool.
    pub namespace: Vec<u8>,
    /// Locator key, which is hashed instead of the name; empty: none.
    pub key: Vec<u8>,
    /// Name.
    pub name: Vec<u8>,
    /// Snapshot.
    pub snap: u64,
    /// Hash of key or name, all 32 bits.
    pub hash: u32,
    /// Larger than every object.
    pub max: bool,
}

impl HObject {
    /// Smaller than every object.
    #[must_use]
    pub fn min() -> Self {
        Self {
            pool: i64::MIN,
            namespace: Vec::new(),
            key: Vec::new(),
            name: Vec::new(),
            snap: 0,
            hash: 0,
            max: false,
        }
    }

    /// Larger than every object.
    #[must_use]
    pub fn max() -> Self {
        Self { max: true, ..Self::min() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or of a version that must not be read.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut section = decoder.section("hobject_t", 4)?;
        let body = &mut section.body;
        let mut object = Self::min();
        object.key = body.blob()?.to_vec();
        object.name = body.blob()?.to_vec();
        object.snap = body.u64()?;
        object.hash = body.u32()?;
        object.max = body.bool()?;
        if section.version >= 4 {
            object.namespace = body.blob()?.to_vec();
            object.pool = body.i64()?;
            // Hammer wrote the smallest one with pool -1.
            if object.pool == -1
                && object.snap == 0
                && object.hash == 0
                && !object.max
                && object.name.is_empty()
            {
                object.pool = i64::MIN;
            }
        }
        // Early versions wrote the largest one with other fields filled.
        Ok(if object.max { Self::max() } else { object })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.section(4, 3, |body| {
            body.blob(&self.key).blob(&self.name).u64(self.snap).u32(self.hash).bool(self.max);
            body.blob(&self.namespace).i64(self.pool);
        });
    }

    /// What is ordered by first of all within a pool: the hash with its bits reversed, so that splitting a placement group cuts
    /// its objects into ranges.
    fn bitwise_key(&self) -> u32 {
        self.hash.reverse_bits()
    }

    /// The locator key, or the name where there is none.
    fn effective_key(&self) -> &[u8] {
        if self.key.is_empty() { &self.name } else { &self.key }
    }
}

impl Ord for HObject {
    fn cmp(&self, other: &Self) -> Ordering {
        self.max
            .cmp(&other.max)
            .then_with(|| self.pool.cmp(&other.pool))
            .then_with(|| self.bitwise_key().cmp(&other.bitwise_key()))
            .then_with(|| self.namespace.cmp(&other.namespace))
            .then_with(|| self.effective_key().cmp(other.effective_key()))
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.snap.cmp(&other.snap))
            // Not in Ceph's comparison: a key equal to the name orders like none. It keeps `Ord` and `Eq` in agreement.
            .then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for HObject {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(hash: u32, name: &str) -> HObject {
        HObject { pool: 3, hash, name: name.into(), snap: super::super::snap::HEAD, ..HObject::min() }
    }

    #[test]
    fn objects_are_ordered_by_the_reversed_hash() {
        let (low, high) = (object(0x8000_0000, "z"), object(0x0000_0001, "a"));
        assert!(low < high, "the lowest bit counts most");
        assert!(HObject::min() < low && high < HObject::max());
        let other_pool = HObject { pool: 2, ..high.clone() };
        assert!(other_pool < low, "the pool comes before the hash");
    }

    #[test]
    fn a_key_stands_for_the_name() {
        let named = object(5, "m");
        let keyed = HObject { key: b"a".to_vec(), ..object(5, "z") };
        assert!(keyed < named);
        let later = HObject { namespace: b"ns".to_vec(), ..keyed.clone() };
        assert!(named < later, "the namespace comes before key and name");
    }

    #[test]
    fn the_ends_survive_the_wire() {
        for object in [HObject::min(), HObject::max(), object(77, "name")] {
            let mut encoder = Encoder::new();
            object.encode(&mut encoder);
            let bytes = encoder.finish();
            assert_eq!(HObject::decode(&mut Decoder::new("test", &bytes)).unwrap(), object);
        }
    }

    #[test]
    fn hammers_smallest_is_the_smallest() {
        let mut encoder = Encoder::new();
        HObject { pool: -1, ..HObject::min() }.encode(&mut encoder);
        let bytes = encoder.finish();
        assert_eq!(HObject::decode(&mut Decoder::new("test", &bytes)).unwrap(), HObject::min());
    }
}
