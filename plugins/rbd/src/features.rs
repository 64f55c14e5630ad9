//! What an image's feature bits mean to a reader (`include/rbd/features.h`).

use std::fmt;

/// The feature bits of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// It may be a clone of a snapshot.
    pub const LAYERING: Self = Self(1);
    /// Its bytes are spread over several objects at a time.
    pub const STRIPING: Self = Self(1 << 1);
    /// There is a list of the objects that exist.
    pub const OBJECT_MAP: Self = Self(1 << 3);
    /// Its data objects are in another pool.
    pub const DATA_POOL: Self = Self(1 << 7);
    /// It is being moved to or from another image.
    pub const MIGRATING: Self = Self(1 << 9);
    /// Part of its bytes are in a cache file of the machine that last wrote.
    pub const DIRTY_CACHE: Self = Self(1 << 11);

    /// Whether all of these bits are set.
    #[must_use]
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Those with which an image cannot be read correctly: unknown ones, and those that say that bytes are elsewhere. A journal is no
    /// obstacle, nor is a mirror: a reader sees what was written so far, as with `rbd export`.
    #[must_use]
    pub fn unreadable(self) -> Self {
        Self(self.0 & (!KNOWN | Self::MIGRATING.0 | Self::DIRTY_CACHE.0))
    }

    /// Whether no bit is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Names as `rbd info` shows them, from bit 0 on.
const NAMES: [&str; 12] = [
    "layering",
    "striping",
    "exclusive-lock",
    "object-map",
    "fast-diff",
    "deep-flatten",
    "journaling",
    "data-pool",
    "operations",
    "migrating",
    "non-primary",
    "dirty-cache",
];
/// All bits with a name.
const KNOWN: u64 = (1 << NAMES.len()) - 1;

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for bit in (0..u64::BITS).filter(|bit| self.0 >> bit & 1 == 1) {
            f.write_str(separator)?;
            match NAMES.get(bit as usize) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "unknown feature (bit {bit})")?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_images_are_readable() {
        // layering, exclusive-lock, object-map, fast-diff, deep-flatten; then striping, journaling, data-pool and a mirror.
        for bits in [0, 1, 0x3d, 0x3f, 0x7d, 0xfd, 0x1fd, 0x47d] {
            assert!(Features(bits).unreadable().is_empty(), "{bits:#x}");
        }
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        assert_eq!(Features(0x23d).unreadable().to_string(), "migrating");
        let unreadable = Features(0x8000_0000_0000_083d).unreadable();
        assert_eq!(unreadable.to_string(), "dirty-cache, unknown feature (bit 63)");
        assert_eq!(
            Features(0x3d).to_string(),
            "layering, exclusive-lock, object-map, fast-diff, deep-flatten"
        );
    }
}
