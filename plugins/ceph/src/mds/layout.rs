//! How the bytes of a file lie in objects, and the entries of a directory in fragments.

use crate::encoding::{DecodeError, Decoder, Encoder};

/// How a file is cut into objects, and where these are (`file_layout_t`).
///
/// Bytes go round-robin in units of [`stripe_unit`](Self::stripe_unit) over [`stripe_count`](Self::stripe_count) objects, until each has
/// [`object_size`](Self::object_size) bytes, and then on over the next so many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLayout {
    /// Bytes in a row in one object.
    pub stripe_unit: u32,
    /// Objects side by side.
    pub stripe_count: u32,
    /// Bytes of an object.
    pub object_size: u32,
    /// Id of the pool; -1: none is known.
    pub pool: i64,
    /// Namespace in the pool.
    pub namespace: Vec<u8>,
}

/// Stands for no pool in the form with 32 bits, where that can be said.
const NO_POOL: u32 = u32::MAX;

impl FileLayout {
    /// Whether bytes can be found by it: the unit divides the object, and nothing is zero.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.stripe_unit > 0
            && self.stripe_count > 0
            && self.object_size >= self.stripe_unit
            && self.object_size.is_multiple_of(self.stripe_unit)
            && self.pool >= 0
    }

    /// Reads the old form, which all messages have (`ceph_file_layout`); the namespace comes elsewhere.
    ///
    /// # Errors
    /// There are fewer than 28 bytes.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (stripe_unit, stripe_count, object_size) = (decoder.u32()?, decoder.u32()?, decoder.u32()?);
        decoder.skip(12)?; // fl_cas_hash, fl_object_stripe_unit, fl_unused
        let pool = decoder.u32()?;
        // Zero was once written for none, when nothing else was set either (`file_layout_t::from_legacy`).
        let unset = pool == 0 && stripe_unit == 0 && stripe_count == 0 && object_size == 0;
        let pool = if pool == NO_POOL || unset { -1 } else { i64::from(pool) };
        Ok(Self { stripe_unit, stripe_count, object_size, pool, namespace: Vec::new() })
    }

    /// Writes the old form.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.u32(self.stripe_unit).u32(self.stripe_count).u32(self.object_size).zeros(12);
        // No pool is written as Ceph writes it: as zero, which means none where nothing else is set.
        encoder.u32(u32::try_from(self.pool).unwrap_or(0));
    }
}

/// How the entries of a directory are spread over its fragments (`ceph_dir_layout`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirLayout {
    /// Which hash of a name decides, see [`name_hash`](super::name_hash).
    pub hash: u8,
}

impl DirLayout {
    /// Reads one.
    ///
    /// # Errors
    /// There are fewer than 8 bytes.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let hash = decoder.u8()?;
        decoder.skip(7)?;
        Ok(Self { hash })
    }

    /// Writes it.
    pub fn encode(self, encoder: &mut Encoder) {
        encoder.u8(self.hash).zeros(7);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_none_is_not_pool_zero() {
        let layout = FileLayout {
            stripe_unit: 65_536,
            stripe_count: 3,
            object_size: 1 << 20,
            pool: 0,
            namespace: Vec::new(),
        };
        for layout in [
            layout.clone(),
            FileLayout { pool: 7, ..layout.clone() },
            FileLayout { pool: -1, ..FileLayout::default() },
        ] {
            let mut encoder = Encoder::new();
            layout.encode(&mut encoder);
            let bytes = encoder.finish();
            assert_eq!(bytes.len(), 28);
            assert_eq!(FileLayout::decode(&mut Decoder::new("test", &bytes)).unwrap(), layout);
            assert_eq!(layout.is_valid(), layout.pool >= 0);
        }
        assert_eq!(FileLayout::decode(&mut Decoder::new("test", &[0xff; 28])).unwrap().pool, -1);
        assert!(!FileLayout { stripe_unit: 65_537, ..layout.clone() }.is_valid());
        assert!(!FileLayout { object_size: 4096, ..layout }.is_valid());
    }
}
