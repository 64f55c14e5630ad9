//! Who goes through the files of a directory one after the other, and how far ahead of him it is worth to be.
//!
//! Never further than he has come in order, and never more than twice as many files as were opened in the end. Several may go through one directory at a time, each
//! through a part of it, or together.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Directories whose readers are remembered.
const DIRECTORIES: usize = 256;

/// Those who go through one directory at a time.
const RUNS: usize = 16;
/// Files that may be left out, or opened in another order, within a run: several readers share the work.
const SLACK: usize = 16;
/// The same as long as it may be chance.
const UNSURE_SLACK: usize = 3;

/// How far ahead to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Files opened in order before the next ones are expected.
    pub(crate) sure: usize,
    /// Files beyond the furthest one that was opened, at most.
    pub(crate) most: usize,
}

/// All who go through the entries of directories.
#[derive(Debug)]
pub(crate) struct Walks<K> {
    runs: Mutex<HashMap<K, Runs>>,
}

impl<K> Default for Walks<K> {
    fn default() -> Self {
        Self { runs: Mutex::default() }
    }
}

impl<K: Eq + Hash> Walks<K> {
    /// Takes note that the entry at this place of a directory was opened, and says which places to expect next, if any.
    pub(crate) fn opened(&self, directory: K, place: usize, reach: Reach) -> Range<usize> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= DIRECTORIES {
            // Whoever is still going through one of them is sure again after a few entries.
            runs.clear();
        }
        runs.entry(directory).or_default().opened(place, reach)
    }
}

/// All who go through the files of a directory, by their places in its listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The one that was at it last comes last.
    runs: Vec<Run>,
}

/// Files of one directory that were opened in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    /// Place of the furthest one.
    stands: usize,
    length: usize,
    /// Place after the last one that was expected.
    ahead: usize,
    fetched: usize,
    used: usize,
}

impl Runs {
    /// Takes note of an open and says which places to expect next, if any.
    pub(crate) fn opened(&mut self, place: usize, reach: Reach) -> Range<usize> {
        let distance = |run: &Run| place.abs_diff(run.stands);
        let fits = |run: &Run| distance(run) <= if run.length < reach.sure { UNSURE_SLACK } else { SLACK };
        let nearest =
            self.runs.iter().enumerate().filter(|(_, run)| fits(run)).min_by_key(|(_, run)| distance(run));
        let mut run = match nearest.map(|(index, _)| index) {
            Some(index) => self.runs.remove(index),
            None => {
                if self.runs.len() >= RUNS {
                    self.runs.remove(0);
                }
                Run { stands: place, ..Run::default() }
            }
        };
        let expected = run.opened(place, reach);
        self.runs.push(run);
        expected
    }
}

impl Run {
    fn opened(&mut self, place: usize, reach: Reach) -> Range<usize> {
        if place < self.ahead {
            self.used += 1;
        }
        if place > self.stands || self.length == 0 {
            self.stands = place;
            self.length += 1;
        }
        let most = reach.most.min(self.length.max(reach.sure));
        let (from, to) = (self.ahead.max(self.stands + 1), self.stands + 1 + most);
        // Several at a time: what is asked for together is sent together.
        let few = to.saturating_sub(from) < most.div_ceil(2);
        if self.length < reach.sure || few || self.fetched > 2 * self.used + most {
            return 0..0;
        }
        self.fetched += to - from;
        self.ahead = to;
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach { sure: 4, most: 8 };

    #[test]
    fn a_run_is_expected_to_go_on_as_far_as_it_has_come_and_never_far() {
        let mut runs = Runs::default();
        let mut expected = Vec::new();
        for place in 10..30 {
            let places = runs.opened(place, REACH);
            let come = place - 9;
            assert!(places.is_empty() || (places.start > place && places.end <= place + 1 + come.min(8)));
            expected.extend(places);
        }
        assert_eq!(expected, (14..expected.last().unwrap() + 1).collect::<Vec<_>>());
        assert!(expected.len() > 20, "{expected:?}");
    }

    #[test]
    fn several_go_through_their_parts_or_through_it_together() {
        let mut runs = Runs::default();
        let mut expected: Vec<usize> = Vec::new();
        for step in 0..20 {
            for part in 0..8 {
                expected.extend(runs.opened(part * 100 + step, REACH));
            }
        }
        expected.sort_unstable();
        let each = |part: usize| (part * 100 + 4..part * 100 + 20).collect::<Vec<_>>();
        assert!((0..8).flat_map(each).all(|place| expected.binary_search(&place).is_ok()), "{expected:?}");
        expected.dedup();
        assert!(expected.len() <= 8 * 28, "{}", expected.len());

        let mut runs = Runs::default();
        let together = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8].map(|place| runs.opened(place, REACH).len());
        assert!(together.iter().sum::<usize>() >= 6, "{together:?}");
    }

    #[test]
    fn other_orders_are_not_expected_to_go_on_and_unused_ones_end_it() {
        let mut runs = Runs::default();
        assert!([50, 7, 90, 3, 200, 100].iter().all(|place| runs.opened(*place, REACH).is_empty()));
        let mut runs = Runs::default();
        // Every third file only.
        let expected = (0..100).map(|step| runs.opened(step * 3, REACH).len()).sum::<usize>();
        assert!(expected <= 2 * 100 + 8, "{expected}");
        // By chance.
        let (mut runs, mut place, mut expected) = (Runs::default(), 1_usize, 0);
        for _ in 0..2000 {
            place = (place * 1664525 + 1013904223) % 10_007;
            expected += runs.opened(place, REACH).len();
        }
        assert!(expected <= 40, "{expected}");
    }
}
