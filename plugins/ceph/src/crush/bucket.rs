//! Buckets, and how each kind draws one of its items.

use super::hash::{hash3, hash4};
use super::ln::log2_fixed;

/// An inner node of the hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Negative.
    pub(crate) id: i32,
    /// Type: host, rack, …; a number that the map gives a name.
    pub(crate) kind: u16,
    /// Which hash is drawn with; 0 is the only one there is.
    pub(crate) hash: u8,
    /// Buckets (negative) and devices.
    pub(crate) items: Vec<i32>,
    pub(crate) algorithm: Algorithm,
}

/// What a draw is made with. Decoding makes the lists as long as the bucket's, but for the tree's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// All items weigh the same: a random permutation.
    Uniform,
    /// From the newest item to the oldest: each against all before it.
    List {
        /// Of each item.
        weights: Vec<u32>,
        /// Of each item and all before it.
        sums: Vec<u32>,
    },
    /// A binary tree; leaves are the odd nodes.
    Tree {
        /// Weights of the subtrees, by node.
        nodes: Vec<u32>,
    },
    /// The longest straw wins; its length depends on all weights, so that a change of one moves more than it should.
    Straw {
        /// Scale of each item's straw.
        straws: Vec<u32>,
    },
    /// The longest straw wins; its length depends on the item's own weight only.
    Straw2 {
        /// 16.16 fixed point.
        weights: Vec<u32>,
    },
}

/// Replaces what a straw2 bucket draws with (`crush_choose_arg`). The balancer makes these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeightSet {
    /// Weights by position in the result; the last one applies to all that follow. Empty: the bucket's own.
    pub(crate) positions: Vec<Vec<u32>>,
    /// What is hashed in place of the items' ids. Empty: these themselves.
    pub(crate) ids: Vec<i32>,
}

impl WeightSet {
    /// Weights for a place in the result.
    fn weights(&self, position: usize) -> Option<&[u32]> {
        self.positions.get(position).or(self.positions.last()).map(Vec::as_slice)
    }
}

impl Bucket {
    /// How many items.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Draws an item for the input `x` and the attempt `r`, except from a uniform bucket, for which the caller keeps a
    /// [`Permutation`]. `None` if the bucket is empty or contradicts itself.
    pub(crate) fn draw(&self, x: u32, r: u32, set: Option<(&WeightSet, usize)>) -> Option<i32> {
        match &self.algorithm {
            Algorithm::Uniform => None,
            Algorithm::List { weights, sums } => self.draw_list(x, r, weights, sums),
            Algorithm::Tree { nodes } => self.draw_tree(x, r, nodes),
            Algorithm::Straw { straws } => self.draw_straw(x, r, straws),
            Algorithm::Straw2 { weights } => {
                let ids = set.map(|(set, _)| set.ids.as_slice()).filter(|ids| !ids.is_empty());
                let other = set.and_then(|(set, position)| set.weights(position));
                self.draw_straw2(x, r, other.unwrap_or(weights), ids.unwrap_or(&self.items))
            }
        }
    }

    /// A hash of three words; Ceph computes 0 for a hash it does not know.
    fn hash3(&self, a: u32, b: u32, c: u32) -> u32 {
        if self.hash == 0 { hash3(a, b, c) } else { 0 }
    }

    /// A hash of four words.
    fn hash4(&self, a: u32, b: u32, c: u32, d: u32) -> u32 {
        if self.hash == 0 { hash4(a, b, c, d) } else { 0 }
    }

    fn draw_list(&self, x: u32, r: u32, weights: &[u32], sums: &[u32]) -> Option<i32> {
        self.items
            .iter()
            .zip(weights.iter().zip(sums))
            .rev()
            .find(|&(&item, (&weight, &sum))| {
                let point =
                    u64::from(self.hash4(x, item as u32, r, self.id as u32) & 0xffff) * u64::from(sum);
                point >> 16 < u64::from(weight)
            })
            .map(|(&item, _)| item)
            .or_else(|| self.items.first().copied())
    }

    fn draw_tree(&self, x: u32, r: u32, nodes: &[u32]) -> Option<i32> {
        // Node numbers: leaves are odd, the parent of two nodes is between them, and its number of trailing zeros is
        // its height.
        let mut node = nodes.len() >> 1;
        while node & 1 == 0 {
            let half = 1_usize.checked_shl(node.trailing_zeros().checked_sub(1)?)?;
            let weight = u64::from(*nodes.get(node)?);
            let point = (u64::from(self.hash4(x, node as u32, r, self.id as u32)) * weight) >> 32;
            let left = node.checked_sub(half)?;
            node = if point < u64::from(*nodes.get(left)?) { left } else { node + half };
        }
        self.items.get(node >> 1).copied()
    }

    fn draw_straw(&self, x: u32, r: u32, straws: &[u32]) -> Option<i32> {
        self.longest(
            self.items
                .iter()
                .zip(straws)
                .map(|(&item, &straw)| u64::from(self.hash3(x, item as u32, r) & 0xffff) * u64::from(straw)),
        )
    }

    fn draw_straw2(&self, x: u32, r: u32, weights: &[u32], ids: &[i32]) -> Option<i32> {
        // Old monitors let weight sets get out of step with their bucket; what is missing is 0
        // (`CrushWrapper::update_choose_args`).
        let weights = weights.iter().copied().chain(std::iter::repeat(0));
        self.longest(ids.iter().zip(weights).map(|(&id, weight)| {
            if weight == 0 {
                return i64::MIN;
            }
            // The time to wait for an event that is the more likely the larger the weight: an exponential distribution,
            // negative, so that the soonest is the largest. Ceph's weight is signed here.
            let uniform = (self.hash3(x, id as u32, r) & 0xffff) as u16;
            (log2_fixed(uniform) - (1 << 48)) / i64::from(weight as i32)
        }))
    }

    /// The item with the largest draw; the first of equals.
    fn longest<T: PartialOrd>(&self, draws: impl Iterator<Item = T>) -> Option<i32> {
        let mut best: Option<(T, i32)> = None;
        for (draw, &item) in draws.zip(&self.items) {
            if best.as_ref().is_none_or(|(high, _)| draw > *high) {
                best = Some((draw, item));
            }
        }
        best.map(|(_, item)| item)
    }
}

/// A bucket's items in an order that depends on the input, worked out as far as it was asked for
/// (`bucket_perm_choose`).
#[derive(Debug)]
pub(crate) struct Permutation {
    /// Indices into the items; final up to `settled`.
    order: Vec<u32>,
    settled: usize,
}

impl Permutation {
    /// Nothing settled yet.
    pub(crate) fn new(bucket: &Bucket) -> Self {
        Self { order: (0..).take(bucket.len()).collect(), settled: 0 }
    }

    /// The item at place `r`, modulo the bucket's size.
    pub(crate) fn at(&mut self, bucket: &Bucket, x: u32, r: u32) -> Option<i32> {
        let size = self.order.len();
        let wanted = r as usize % size.max(1);
        while self.settled <= wanted && self.settled < size {
            let left = size - self.settled;
            let other = bucket.hash3(x, bucket.id as u32, self.settled as u32) as usize % left;
            self.order.swap(self.settled, self.settled + other);
            self.settled += 1;
        }
        let index = *self.order.get(wanted)?;
        bucket.items.get(index as usize).copied()
    }
}
