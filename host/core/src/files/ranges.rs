//! Ranges of pages.

use crate::ports::CACHE_PAGE;
use std::ops::Range;

/// Ranges that are told apart; beyond so many they become one.
const MOST: usize = 64;

/// The pages of a range of bytes. What lies in the last page and beyond the end of the file belongs to it.
pub(super) fn pages(range: &Range<u64>) -> Range<u64> {
    let end = range.end.checked_next_multiple_of(CACHE_PAGE).unwrap_or(u64::MAX);
    range.start / CACHE_PAGE * CACHE_PAGE..end
}

/// Whether both have a byte in common.
pub(super) fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Ranges that do not touch, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a range.
    pub(super) fn add(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.0.retain(|other| {
            let touches = other.start <= range.end && range.start <= other.end;
            if touches {
                range = range.start.min(other.start)..range.end.max(other.end);
            }
            !touches
        });
        let at = self.0.partition_point(|other| other.start < range.start);
        self.0.insert(at, range);
        if self.0.len() > MOST
            && let (Some(first), Some(last)) = (self.0.first(), self.0.last())
        {
            let all = first.start..last.end;
            self.0.clear();
            self.0.push(all);
        }
    }

    /// What is left without others.
    pub(super) fn without<'a>(&self, others: impl Iterator<Item = &'a Range<u64>>) -> Self {
        let mut left = self.0.clone();
        for other in others {
            let parts = left.into_iter().flat_map(|range| {
                let (before, after) =
                    (range.start..range.end.min(other.start), range.start.max(other.end)..range.end);
                [before, after]
            });
            left = parts.filter(|range| !range.is_empty()).collect();
        }
        Self(left)
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_pages() {
        let mut ranges = Ranges::default();
        for range in [10..20, 40..50, 20..30, 60..60, 5..12] {
            ranges.add(range);
        }
        assert_eq!(ranges, Ranges(vec![5..30, 40..50]));
        assert_eq!(ranges.without([0..6, 10..12, 45..100].iter()), Ranges(vec![6..10, 12..30, 40..45]));
        assert!(ranges.without(std::iter::once(&(0..100))).is_empty());
        assert_eq!(pages(&(4095..4097)), 0..8192);
        assert_eq!(pages(&(u64::MAX - 1..u64::MAX)).end, u64::MAX);
        assert!(overlap(&(0..10), &(9..12)) && !overlap(&(0..10), &(10..12)));
        for at in 0..1000 {
            ranges.add(at * 10_000..at * 10_000 + 1);
        }
        assert!(ranges.iter().count() <= MOST);
        assert!(ranges.iter().any(|range| range.contains(&5_000_000)));
    }
}
