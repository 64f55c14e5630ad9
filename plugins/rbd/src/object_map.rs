//! The list of an image's objects that exist: two bits each (`common/bit_vector.hpp`, `include/rbd/object_map_types.h`).

use wasmount_ceph::encoding::{DecodeError, Decoder};
use wasmount_ceph::payload::crc32c;

/// Flag of an image or snapshot (`get_flags`): its map does not tell the truth.
pub const INVALID: u64 = 1;
/// Bits of an object's state.
const BITS: u64 = 2;
/// States to a byte, the first one in the highest bits.
const TO_A_BYTE: u64 = 8 / BITS;
/// The state of an object that does not exist. All others mean that it may.
const NONEXISTENT: u8 = 0;
/// Bytes of states under one checksum.
const CHECKED: usize = 4096;

/// Which objects of an image may exist.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectMap {
    objects: u64,
    states: Vec<u8>,
}

impl std::fmt::Debug for ObjectMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectMap of {} objects", self.objects)
    }
}

impl ObjectMap {
    /// Reads the output of `object_map_load`.
    ///
    /// # Errors
    /// It is cut off, or a checksum does not fit.
    pub fn decode(output: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("object map", output);
        let header = decoder.blob()?;
        let objects = Decoder::new("object map header", header).section("object map size", 1)?.body.u64()?;
        let length = usize::try_from(objects.div_ceil(TO_A_BYTE))
            .map_err(|_| decoder.error(format_args!("{objects} objects")))?;
        let states = decoder.bytes(length)?;
        let mut footer = Decoder::new("object map checksums", decoder.blob()?);
        if !footer.is_empty() {
            let mut fits = footer.u32()? == crc32c(0, header);
            let sums = footer.list(Decoder::u32)?;
            fits &= sums.iter().copied().eq(states.chunks(CHECKED).map(|chunk| crc32c(0, chunk)));
            if !fits {
                return Err(footer.error("a checksum that does not fit"));
            }
        }
        Ok(Self { objects, states: states.to_vec() })
    }

    /// Whether an object may exist. What the map does not reach may.
    #[must_use]
    pub fn may_exist(&self, object: u64) -> bool {
        if object >= self.objects {
            return true;
        }
        let byte = usize::try_from(object / TO_A_BYTE).ok().and_then(|at| self.states.get(at));
        let shift = (TO_A_BYTE - 1 - object % TO_A_BYTE) * BITS;
        byte.is_none_or(|byte| byte >> shift & 0b11 != NONEXISTENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_ceph::encoding::Encoder;

    fn encoded(objects: u64, states: &[u8], checked: bool) -> Vec<u8> {
        let mut header = Encoder::new();
        header.section(1, 1, |body| {
            body.u64(objects);
        });
        let header = header.finish();
        let mut footer = Encoder::new();
        if checked {
            let sums = states.chunks(CHECKED);
            footer.u32(crc32c(0, &header)).list(sums, |footer, chunk| {
                footer.u32(crc32c(0, chunk));
            });
        }
        let mut encoder = Encoder::new();
        encoder.blob(&header).raw(states).blob(footer.finish());
        encoder.finish()
    }

    #[test]
    fn the_first_object_is_in_the_highest_bits() {
        for checked in [false, true] {
            // Exists, not, pending, exists and clean; then not, exists.
            let map = ObjectMap::decode(&encoded(6, &[0b01_00_10_11, 0b00_01_00_00], checked)).unwrap();
            let seen: Vec<bool> = (0..8).map(|object| map.may_exist(object)).collect();
            assert_eq!(seen, [true, false, true, true, false, true, true, true]);
        }
    }

    #[test]
    fn what_a_cluster_answered_for_one_new_object() {
        let recorded = [14, 0, 0, 0, 1, 1, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let map = ObjectMap::decode(&recorded).unwrap();
        assert_eq!((map.objects, map.may_exist(0), map.may_exist(1)), (1, false, true));
    }

    #[test]
    fn damage_is_found() {
        let states = vec![0x55; CHECKED + 10];
        let good = encoded(4 * states.len() as u64, &states, true);
        ObjectMap::decode(&good).unwrap();
        for at in [20, CHECKED + 20, good.len() - 1, 12] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(ObjectMap::decode(&bad).is_err(), "{at}");
        }
        assert!(ObjectMap::decode(&good[..good.len() - 1]).is_err());
        assert!(ObjectMap::decode(&encoded(u64::MAX, &[], false)).is_err(), "more objects than bytes");
    }
}
