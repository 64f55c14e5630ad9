//! Where the bytes of a file or an image are: objects of equal size, filled one after the other or in stripes (`osdc/Striper.cc`).

/// Smallest stripe unit: a sector of an image. Files have at least 64 KiB (`CEPH_MIN_STRIPE_UNIT`).
const SMALLEST_UNIT: u64 = 512;
/// Largest object; CephFS has 32 bits for it.
const LARGEST_OBJECT: u64 = 1 << 32;
/// Most objects to a stripe; Ceph allows any, nobody uses more than a few.
const MOST_OBJECTS_TO_A_STRIPE: u64 = 1 << 20;

/// How a file is cut into objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of an object.
    object_size: u64,
    /// Bytes that go to one object before the next one's turn.
    unit: u64,
    /// Objects that take turns.
    count: u64,
}

/// A stretch of a file that lies in one object without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the file.
    pub file_offset: u64,
    /// Number of the object.
    pub object: u64,
    /// Where it begins in the object.
    pub offset: u64,
    /// How long it is; never 0.
    pub length: u64,
}

impl Layout {
    /// Objects of `object_size` bytes, of which `count` take turns after each `unit` bytes. `(size, size, 1)`: one after the other.
    ///
    /// # Errors
    /// What is impossible about it.
    pub fn new(object_size: u64, unit: u64, count: u64) -> Result<Self, String> {
        let possible = unit >= SMALLEST_UNIT.min(object_size)
            && unit > 0
            && object_size <= LARGEST_OBJECT
            && object_size.is_multiple_of(unit)
            && (1..=MOST_OBJECTS_TO_A_STRIPE).contains(&count);
        if possible {
            Ok(Self { object_size, unit, count })
        } else {
            Err(format!("stripes of {count} times {unit} bytes over objects of {object_size} bytes"))
        }
    }

    /// Size of an object.
    #[must_use]
    pub fn object_size(&self) -> u64 {
        self.object_size
    }

    /// Bytes of a round over all objects that take turns: reads of such a size use each object once.
    #[must_use]
    pub fn optimal(&self) -> u64 {
        self.object_size.saturating_mul(self.count)
    }

    /// How many objects a file of this size has at most.
    #[must_use]
    pub fn objects(&self, size: u64) -> u64 {
        let set = self.optimal();
        let whole = size / set * self.count;
        let rest = size % set;
        whole + rest.div_ceil(self.unit).min(self.count)
    }

    /// How many bytes of an object belong to the first `size` bytes of the file.
    #[must_use]
    pub fn object_length(&self, object: u64, size: u64) -> u64 {
        let (set, turn) = (object / self.count, object % self.count);
        let begin = set.saturating_mul(self.optimal());
        let stripe = self.unit * self.count;
        let here = size.saturating_sub(begin).min(self.optimal());
        here / stripe * self.unit + (here % stripe).saturating_sub(turn * self.unit).min(self.unit)
    }

    /// The piece at `offset`, as far as it goes inside `length` bytes, which are not 0.
    #[must_use]
    pub fn piece(&self, offset: u64, length: u64) -> Piece {
        let (block, inside) = (offset / self.unit, offset % self.unit);
        let (stripe, turn) = (block / self.count, block % self.count);
        let stripes = self.object_size / self.unit;
        let object = (stripe / stripes).saturating_mul(self.count) + turn;
        let in_object = stripe % stripes * self.unit + inside;
        // Without striping, the rest of the object belongs together.
        let rest = if self.count == 1 { self.object_size - in_object } else { self.unit - inside };
        Piece { file_offset: offset, object, offset: in_object, length: rest.min(length) }
    }

    /// All pieces of a stretch, in its order.
    pub fn pieces(&self, offset: u64, length: u64) -> impl Iterator<Item = Piece> + use<> {
        let (layout, end) = (*self, offset.saturating_add(length));
        let mut at = offset;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let piece = layout.piece(at, end - at);
                at += piece.length;
                piece
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(layout: &Layout, offset: u64, length: u64) -> Vec<(u64, u64, u64)> {
        layout.pieces(offset, length).map(|p| (p.object, p.offset, p.length)).collect()
    }

    #[test]
    fn objects_follow_each_other() {
        let layout = Layout::new(4 << 20, 4 << 20, 1).unwrap();
        assert_eq!(pieces(&layout, 0, 4096), [(0, 0, 4096)]);
        assert_eq!(pieces(&layout, (4 << 20) - 512, 1024), [(0, (4 << 20) - 512, 512), (1, 0, 512)]);
        assert_eq!(
            pieces(&layout, 9 << 20, 8 << 20),
            [(2, 1 << 20, 3 << 20), (3, 0, 4 << 20), (4, 0, 1 << 20)]
        );
        assert_eq!(pieces(&layout, 5, 0), []);
        let bounds = [0, 1, 4 << 20, (4 << 20) + 1].map(|size| layout.objects(size));
        assert_eq!(bounds, [0, 1, 1, 2]);
    }

    #[test]
    fn stripes_go_round() {
        // Two units to an object, three objects in turn: 0 1 2 0 1 2, then 3 4 5 3 4 5.
        let layout = Layout::new(8192, 4096, 3).unwrap();
        let k = 4096;
        assert_eq!(
            pieces(&layout, 0, 8 * k),
            [(0, 0, k), (1, 0, k), (2, 0, k), (0, k, k), (1, k, k), (2, k, k), (3, 0, k), (4, 0, k)]
        );
        assert_eq!(pieces(&layout, 4 * k + 512, k), [(1, k + 512, k - 512), (2, k, 512)]);
        let bounds = [1, k, k + 1, 6 * k, 7 * k, 9 * k].map(|size| layout.objects(size));
        assert_eq!(bounds, [1, 1, 2, 3, 4, 6]);
        assert_eq!(layout.optimal(), 6 * k);
    }

    #[test]
    fn impossible_layouts_are_refused() {
        for (object_size, unit, count) in [
            (0, 0, 1),
            (4 << 20, 0, 1),
            (4 << 20, 4095, 2),
            (4 << 20, 8 << 20, 2),
            (4 << 20, 1, 2),
            (4 << 20, 4096, 0),
            (4 << 20, 4096, u64::MAX),
            (1 << 63, 1 << 63, 1),
        ] {
            assert!(Layout::new(object_size, unit, count).is_err(), "{object_size} {unit} {count}");
        }
    }

    proptest! {
        /// What belongs to the beginning of a file is what its pieces say.
        #[test]
        fn a_cut_goes_through_the_objects(shift in 0_u8..4, count in 1_u64..6, size in 0_u64..200_000) {
            let layout = Layout::new(4096, 4096 >> shift, count).unwrap();
            let mut lengths = std::collections::BTreeMap::<u64, u64>::new();
            for piece in layout.pieces(0, size) {
                let length = lengths.entry(piece.object).or_default();
                *length = (*length).max(piece.offset + piece.length);
            }
            for object in 0..layout.objects(size) + count {
                prop_assert_eq!(layout.object_length(object, size), lengths.get(&object).copied().unwrap_or(0));
            }
            prop_assert_eq!(layout.object_length(u64::MAX, size), 0);
        }

        /// Every byte has one place, and no two bytes have the same: a whole set of stripes fills its objects exactly.
        #[test]
        fn a_set_fills_its_objects(order in 12_u8..16, shift in 0_u8..4, count in 1_u64..6, set in 0_u64..1000) {
            let layout = Layout::new(1 << order, 1 << (order - shift), count).unwrap();
            let begin = set * layout.optimal();
            let mut found: Vec<_> = layout.pieces(begin, layout.optimal()).collect();
            prop_assert_eq!(found.iter().map(|p| p.length).sum::<u64>(), layout.optimal());
            found.sort_by_key(|p| (p.object, p.offset));
            let mut expected = (set * count, 0);
            for piece in found {
                prop_assert_eq!((piece.object, piece.offset), expected);
                expected.1 += piece.length;
                if expected.1 == layout.object_size() {
                    expected = (expected.0 + 1, 0);
                }
            }
            prop_assert_eq!(expected, ((set + 1) * count, 0));
            prop_assert_eq!(layout.objects(begin + layout.optimal()), (set + 1) * count);
        }
    }
}
