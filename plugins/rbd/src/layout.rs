//! Where the bytes of an image are: objects of equal size, filled one after the other or in stripes (`osdc/Striper.cc`).

/// Smallest stripe unit: what a sector is to this plugin.
const SMALLEST_UNIT: u64 = 512;
/// Orders of object sizes (powers of two) that `rbd` allows, with some room: 4 KiB to 32 MiB.
const ORDERS: std::ops::RangeInclusive<u8> = 9..=30;
/// Most objects to a stripe; `rbd` allows any, nobody uses more than a few.
const MOST_OBJECTS_TO_A_STRIPE: u64 = 1 << 20;

/// How an image is cut into objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of an object.
    object_size: u64,
    /// Bytes that go to one object before the next one's turn.
    unit: u64,
    /// Objects that take turns.
    count: u64,
}

/// A stretch of an image that lies in one object without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the image.
    pub image_offset: u64,
    /// Number of the object.
    pub object: u64,
    /// Where it begins in the object.
    pub offset: u64,
    /// How long it is; never 0.
    pub length: u64,
}

impl Layout {
    /// Objects of `1 << order` bytes. `stripes` is unit and count, if the image has the feature.
    ///
    /// # Errors
    /// What is impossible about it.
    pub fn new(order: u8, stripes: Option<(u64, u64)>) -> Result<Self, String> {
        if !ORDERS.contains(&order) {
            return Err(format!("objects of 2^{order} bytes"));
        }
        let object_size = 1_u64 << order;
        let (unit, count) = match stripes {
            None | Some((0, _) | (_, 0)) => (object_size, 1),
            Some(stripes) => stripes,
        };
        if unit < SMALLEST_UNIT.min(object_size)
            || !object_size.is_multiple_of(unit)
            || count > MOST_OBJECTS_TO_A_STRIPE
        {
            return Err(format!("stripes of {count} times {unit} bytes over objects of {object_size} bytes"));
        }
        Ok(Self { object_size, unit, count })
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

    /// How many objects an image of this size has at most.
    #[must_use]
    pub fn objects(&self, size: u64) -> u64 {
        let set = self.optimal();
        let whole = size / set * self.count;
        let rest = size % set;
        whole + rest.div_ceil(self.unit).min(self.count)
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
        Piece { image_offset: offset, object, offset: in_object, length: rest.min(length) }
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
        let layout = Layout::new(22, None).unwrap();
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
        let layout = Layout::new(13, Some((4096, 3))).unwrap();
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
        assert!(Layout::new(5, None).is_err());
        assert!(Layout::new(63, None).is_err());
        assert!(Layout::new(22, Some((4095, 2))).is_err());
        assert!(Layout::new(22, Some((8 << 20, 2))).is_err());
        assert!(Layout::new(22, Some((1, 2))).is_err());
        assert!(Layout::new(22, Some((4096, u64::MAX))).is_err());
        assert_eq!(Layout::new(22, Some((0, 0))), Layout::new(22, None));
    }

    proptest! {
        /// Every byte has one place, and no two bytes have the same: a whole set of stripes fills its objects exactly.
        #[test]
        fn a_set_fills_its_objects(order in 12_u8..16, shift in 0_u8..4, count in 1_u64..6, set in 0_u64..1000) {
            let layout = Layout::new(order, Some((1 << (order - shift), count))).unwrap();
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
