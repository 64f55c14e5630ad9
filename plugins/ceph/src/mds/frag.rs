//! Fragments of directories: shares of a space of hashes. A name belongs to the fragment that has its hash.

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::osdmap::name_hash as object_name_hash;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Bits of a hash that count.
const WIDTH: u32 = 24;
/// All of them.
const ALL: u32 = (1 << WIDTH) - 1;

/// A fragment: the hashes whose first so many bits are these (`frag_t`). Ordered by their hashes, a larger one before its parts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Frag {
    bits: u8,
    value: u32,
}

/// The hash of a name, of which a fragment sees the low 24 bits; `kind` is that of the directory's layout.
///
/// 1 is the hash of Linux' directory cache (and 0 stands for it), 2 is Jenkins', which all directories have since Ceph 0.39.
#[must_use]
pub fn name_hash(kind: u8, name: &[u8]) -> u32 {
    object_name_hash::name_hash(kind.max(1), name)
}

impl Frag {
    /// All hashes.
    pub const WHOLE: Self = Self { bits: 0, value: 0 };

    /// The fragment that begins at this hash and has so many fixed bits; both are cut to what is possible.
    #[must_use]
    pub fn new(value: u32, bits: u8) -> Self {
        let bits = bits.min(WIDTH as u8);
        let frag = Self { bits, value: 0 };
        Self { bits, value: value & frag.mask() }
    }

    /// As it is on the wire: 8 bits for how many are fixed, 24 for these. What cannot be is cut to what can.
    #[must_use]
    pub fn from_raw(raw: u32) -> Self {
        Self::new(raw & ALL, (raw >> WIDTH) as u8)
    }

    /// As it is on the wire.
    #[must_use]
    pub fn raw(self) -> u32 {
        (u32::from(self.bits) << WIDTH) | self.value
    }

    /// How many bits are fixed: 0 for the whole.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// The first hash in it.
    #[must_use]
    pub fn value(self) -> u32 {
        self.value
    }

    fn mask(self) -> u32 {
        (ALL << (WIDTH - u32::from(self.bits))) & ALL
    }

    /// Whether a hash belongs to it.
    #[must_use]
    pub fn contains(self, hash: u32) -> bool {
        hash & self.mask() == self.value
    }

    /// Whether all of another fragment lies in it.
    #[must_use]
    pub fn contains_frag(self, other: Self) -> bool {
        other.bits >= self.bits && self.contains(other.value)
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_rightmost(self) -> bool {
        self.value == self.mask()
    }

    /// The fragment of the same size after it; `None`: it is the last one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let step = 1 << (WIDTH - u32::from(self.bits));
        (!self.is_rightmost()).then(|| Self { bits: self.bits, value: self.value + step })
    }

    /// The part with this number if it is split into `2^by`; `None`: it cannot be split so far.
    fn child(self, by: u8, number: u32) -> Option<Self> {
        let bits = self.bits.checked_add(by).filter(|bits| u32::from(*bits) <= WIDTH)?;
        Some(Self { bits, value: self.value | (number << (WIDTH - u32::from(bits))) })
    }
}

impl Ord for Frag {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.value, self.bits).cmp(&(other.value, other.bits))
    }
}

impl PartialOrd for Frag {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Frag {
    /// As Ceph shows it: the fixed bits, and a star.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bit in 0..u32::from(self.bits) {
            let one = self.value & (1 << (WIDTH - 1 - bit)) != 0;
            f.write_str(if one { "1" } else { "0" })?;
        }
        f.write_str("*")
    }
}

impl fmt::Debug for Frag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a directory is split (`fragtree_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FragTree {
    /// Into `2^n` parts, by the fragment that is split.
    splits: BTreeMap<Frag, u8>,
}

impl FragTree {
    /// A tree of these splits: a fragment, and the `n` of the `2^n` parts it is split into.
    pub fn new(splits: impl IntoIterator<Item = (Frag, u8)>) -> Self {
        let splits = splits.into_iter().filter(|(frag, by)| *by > 0 && frag.child(*by, 0).is_some());
        Self { splits: splits.collect() }
    }

    /// Whether the directory is not split.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.splits.is_empty()
    }

    /// The fragment that has this hash.
    #[must_use]
    pub fn leaf(&self, hash: u32) -> Frag {
        let mut frag = Frag::WHOLE;
        // Each split fixes at least one more bit: it ends.
        while let Some(&by) = self.splits.get(&frag) {
            let below = WIDTH - u32::from(frag.bits) - u32::from(by);
            let number = ((hash & ALL) >> below) & ((1 << by) - 1);
            match frag.child(by, number) {
                Some(child) => frag = child,
                None => break,
            }
        }
        frag
    }

    /// All fragments, in order. There may be very many: it is the MDS that says how often a directory is split.
    pub fn leaves(&self) -> impl Iterator<Item = Frag> {
        std::iter::successors(Some(self.leaf(0)), |frag| frag.next().map(|next| self.leaf(next.value)))
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or a split cannot be.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut splits = BTreeMap::new();
        for _ in 0..decoder.count(8)? {
            let (raw, by) = (decoder.u32()?, decoder.i32()?);
            let frag = Frag::from_raw(raw);
            let split = u8::try_from(by).ok().filter(|by| *by > 0 && frag.child(*by, 0).is_some());
            match split {
                Some(by) if frag.raw() == raw => splits.insert(frag, by),
                _ => return Err(decoder.error(format_args!("fragment {raw:#x} split by {by} bits"))),
            };
        }
        Ok(Self { splits })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.list(self.splits.iter(), |encoder, (frag, by)| {
            encoder.u32(frag.raw()).i32(i32::from(*by));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frag(text: &str) -> Frag {
        let bits = text.trim_end_matches('*');
        let value = bits.bytes().fold(0, |value, bit| (value << 1) | u32::from(bit - b'0'));
        Frag::new(value << (WIDTH as usize - bits.len()), bits.len() as u8)
    }

    #[test]
    fn they_are_shown_compared_and_split() {
        assert_eq!(Frag::WHOLE.to_string(), "*");
        assert_eq!(frag("011*").to_string(), "011*");
        assert_eq!(Frag::from_raw(frag("011*").raw()), frag("011*"));
        assert_eq!(Frag::from_raw(u32::MAX).bits(), 24);
        assert!(frag("0*").contains_frag(frag("01*")) && !frag("01*").contains_frag(frag("0*")));
        assert!(frag("01*") < frag("1*") && frag("0*") < frag("00*"));
        assert_eq!(frag("01*").next(), Some(frag("10*")));
        assert!(frag("11*").is_rightmost() && frag("11*").next().is_none());
        assert!(Frag::WHOLE.contains(u32::MAX) && Frag::WHOLE.is_rightmost());
        // Bits above the 24 that count are ignored.
        assert!(frag("1*").contains(0xff80_0000) && !frag("1*").contains(0xff7f_ffff));
    }

    #[test]
    fn a_hash_is_in_one_leaf() {
        let tree = FragTree::new([(Frag::WHOLE, 1), (frag("1*"), 2)]);
        let leaves = ["0*", "100*", "101*", "110*", "111*"].map(frag);
        assert!(tree.leaves().eq(leaves));
        for hash in (0..=u32::MAX).step_by(0x12_3457) {
            let leaf = tree.leaf(hash);
            assert!(leaf.contains(hash));
            assert_eq!(leaves.iter().filter(|leaf| leaf.contains(hash)).count(), 1);
        }
        let mut encoder = Encoder::new();
        tree.encode(&mut encoder);
        let bytes = encoder.finish();
        assert_eq!(FragTree::decode(&mut Decoder::new("test", &bytes)).unwrap(), tree);
        assert!(FragTree::default().leaves().eq([Frag::WHOLE]));
    }

    #[test]
    fn impossible_splits_are_refused() {
        for (raw, by) in [(0_u32, 0), (0, 25), (0, -1), (0x0180_0001, 1), (0x1900_0000, 1)] {
            let mut encoder = Encoder::new();
            encoder.u32(1).u32(raw).i32(by);
            let bytes = encoder.finish();
            assert!(FragTree::decode(&mut Decoder::new("test", &bytes)).is_err(), "{raw:#x} {by}");
        }
        assert!(FragTree::new([(frag("1*"), 24)]).is_whole());
    }

    #[test]
    fn the_hash_of_a_name_is_that_of_objects() {
        assert_eq!(name_hash(2, b"10000000000.00000000"), 0xf0b5_6f30);
        assert_eq!(name_hash(0, b"a"), name_hash(1, b"a"));
    }
}
