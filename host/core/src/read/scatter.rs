//! Scattered reads of one file: how much to fetch for each. Arithmetic only.
//!
//! The first reads get exactly what they ask for: who looks into a file here and there must not pay for all of it. A file
//! that keeps being hit is worth more: blocks grow with each hit, and in the end the whole file is fetched in the background,
//! as far as it can be kept and never more than a multiple of what was asked for.

use super::blocks::{BLOCK, PAGE};
use super::config::ReadConfig;

/// First block that is larger than what was asked for.
const FIRST: u64 = 64 * 1024;
/// Hits after which a block is twice as large as before.
const DOUBLE: u64 = 4;
/// Most blocks that a hit takes with it once the whole file is wanted: the store pays for each request, whatever its length, and
/// who waits for the hit should not wait for much more.
const STRETCH: u64 = 4;
/// Places of hits that are remembered for the background to begin with.
const REMEMBERED: usize = 64;

/// What is known about the scattered reads of a file.
#[derive(Debug, Default)]
pub(super) struct Scatter {
    hits: u64,
    asked: u64,
    fetched: u64,
    recent: Vec<u64>,
    /// Where the background goes on when there are no recent hits.
    cursor: u64,
    /// One bit per block: it was fetched as a whole.
    whole: Vec<u64>,
}

impl Scatter {
    /// Takes note of a scattered read of so many bytes.
    pub(super) fn hit(&mut self, bytes: u64) {
        self.hits += 1;
        self.asked = self.asked.saturating_add(bytes);
    }

    /// What to fetch for `from..to`, which is not there, in a file of `size` bytes, of which `room` can be kept. `present` says
    /// whether the block at an offset is there anyway.
    pub(super) fn range(
        &mut self,
        (from, to): (u64, u64),
        size: u64,
        room: u64,
        config: &ReadConfig,
        present: impl Fn(u64) -> bool,
    ) -> (u64, u64) {
        if self.recent.len() >= REMEMBERED {
            self.recent.remove(0);
        }
        self.recent.push(from);
        self.set_whole(from / BLOCK, false);
        if self.wants_fill(size, room, config) {
            // Many may be on their way at once.
            let most = (config.memory / 32 / BLOCK).clamp(1, STRETCH);
            let (start, end) = self.stretch(from / BLOCK, most, size, present);
            if self.take(start, end.max(to), size, config) {
                return (start, end.max(to));
            }
        }
        let grown = self.hits.saturating_sub(config.exact_reads);
        let mut block = if grown == 0 { PAGE } else { FIRST << ((grown - 1) / DOUBLE).min(10) };
        block = block.min(config.part_max).min(BLOCK);
        if size > room {
            // It cannot be kept: what is around a hit may be hit as well, the rest will not be there when it is.
            block = block.min(FIRST);
        }
        loop {
            let start = from / block * block;
            let end = to.div_ceil(block).saturating_mul(block).min(size);
            if block <= PAGE {
                self.fetched = self.fetched.saturating_add(end - start);
                return (start, end);
            }
            if self.take(start, end, size, config) {
                return (start, end);
            }
            block = (block / 2).max(PAGE);
        }
    }

    /// Whether the rest of the file is worth fetching.
    pub(super) fn wants_fill(&self, size: u64, room: u64, config: &ReadConfig) -> bool {
        self.hits >= config.fill_after && size <= room
    }

    /// The next stretch of at most `most` bytes for the background: around the latest hits first. `present` says whether
    /// the block at an offset is there anyway.
    pub(super) fn next_fill(
        &mut self,
        size: u64,
        most: u64,
        config: &ReadConfig,
        present: impl Fn(u64) -> bool,
    ) -> Option<(u64, u64)> {
        let (blocks, most) = (size.div_ceil(BLOCK), (most / BLOCK).max(1));
        let first = loop {
            match self.recent.pop() {
                Some(hit) if self.is_missing(hit / BLOCK, &present) => break hit / BLOCK,
                Some(_) => {}
                None => {
                    while self.cursor < blocks && !self.is_missing(self.cursor, &present) {
                        self.cursor += 1;
                    }
                    break self.cursor;
                }
            }
        };
        if first >= blocks {
            return None;
        }
        let (start, end) = self.stretch(first, most, size, present);
        self.take(start, end, size, config).then_some((start, end))
    }

    /// Block `first` and those after it that are missing, at most so many.
    fn stretch(&self, first: u64, most: u64, size: u64, present: impl Fn(u64) -> bool) -> (u64, u64) {
        let (mut last, blocks) = (first + 1, size.div_ceil(BLOCK));
        while last < blocks && last - first < most && self.is_missing(last, &present) {
            last += 1;
        }
        (first * BLOCK, (last * BLOCK).min(size))
    }

    /// Takes note that `start..end` is fetched, if that keeps to the bound: nobody else needs to fetch a block that is whole in it.
    fn take(&mut self, start: u64, end: u64, size: u64, config: &ReadConfig) -> bool {
        if self.fetched.saturating_add(end - start) > self.asked.saturating_mul(config.amplification) {
            return false;
        }
        self.fetched += end - start;
        let after = if end == size { size.div_ceil(BLOCK) } else { end / BLOCK };
        for block in start.div_ceil(BLOCK)..after {
            self.set_whole(block, true);
        }
        true
    }

    /// A stretch that the background took has failed.
    pub(super) fn not_filled(&mut self, start: u64, end: u64) {
        for block in start / BLOCK..end.div_ceil(BLOCK) {
            self.set_whole(block, false);
        }
        self.cursor = self.cursor.min(start / BLOCK);
    }

    /// There was no memory for a stretch that the background was to fetch: nothing of it was asked for.
    pub(super) fn not_begun(&mut self, start: u64, end: u64) {
        self.fetched = self.fetched.saturating_sub(end - start);
        self.not_filled(start, end);
    }

    fn is_missing(&self, block: u64, present: impl Fn(u64) -> bool) -> bool {
        !self.is_whole(block) && !present(block * BLOCK)
    }

    fn is_whole(&self, block: u64) -> bool {
        self.whole.get((block / 64) as usize).is_some_and(|bits| bits >> (block % 64) & 1 == 1)
    }

    fn set_whole(&mut self, block: u64, whole: bool) {
        let word = (block / 64) as usize;
        if word >= self.whole.len() {
            if !whole {
                return;
            }
            self.whole.resize(word + 1, 0);
        }
        if let Some(bits) = self.whole.get_mut(word) {
            *bits = *bits & !(1 << (block % 64)) | u64::from(whole) << (block % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;

    #[test]
    fn blocks_grow_within_the_bound() {
        let config = ReadConfig::default();
        let mut scatter = Scatter::default();
        let mut lengths = Vec::new();
        for hit in 0..40_u64 {
            scatter.hit(4096);
            let from = hit * 20 * BLOCK;
            let (start, end) = scatter.range((from, from + 4096), SIZE, SIZE, &config, |_| false);
            assert!(start <= from && from + 4096 <= end);
            lengths.push(end - start);
            assert!(lengths.iter().sum::<u64>() <= (hit + 1) * 4096 * config.amplification);
        }
        assert_eq!(lengths[..8], [4096; 8]);
        assert_eq!(lengths[8..16], [[65_536; 4], [131_072; 4]].concat());
        assert_eq!(lengths.last(), Some(&BLOCK));
    }

    #[test]
    fn a_file_that_cannot_be_kept_is_not_fetched() {
        let config = ReadConfig::default();
        let mut scatter = Scatter::default();
        for _ in 0..1000 {
            scatter.hit(4096);
        }
        assert_eq!(
            scatter.range((BLOCK, BLOCK + 4096), SIZE, SIZE - 1, &config, |_| false),
            (BLOCK, BLOCK + FIRST)
        );
        assert!(!scatter.wants_fill(SIZE, SIZE - 1, &config));
        assert!(scatter.wants_fill(SIZE, SIZE, &config));
    }

    #[test]
    fn the_background_begins_at_the_hits_and_takes_every_block_once() {
        let config = ReadConfig::default();
        let mut scatter = Scatter { hits: 1, asked: SIZE, ..Scatter::default() };
        let size = 100 * BLOCK + 5;
        scatter.range((50 * BLOCK + 7, 50 * BLOCK + 8), size, size, &config, |_| false);
        let present = |at: u64| at == 53 * BLOCK;
        let mut taken = Vec::new();
        while let Some(stretch) = scatter.next_fill(size, 8 * BLOCK, &config, present) {
            taken.push(stretch);
        }
        assert_eq!(taken[0], (50 * BLOCK, 53 * BLOCK));
        assert_eq!(taken.iter().map(|(start, end)| end - start).sum::<u64>(), size - BLOCK);
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        scatter.not_filled(0, 8 * BLOCK);
        assert_eq!(scatter.next_fill(size, 8 * BLOCK, &config, present), Some((0, 8 * BLOCK)));
        assert_eq!(scatter.next_fill(size, 8 * BLOCK, &config, present), None);
    }

    #[test]
    fn once_the_whole_file_is_wanted_a_hit_takes_what_is_missing_behind_it() {
        let config = ReadConfig::default();
        let mut scatter = Scatter { hits: config.fill_after, asked: SIZE, ..Scatter::default() };
        let (size, present) = (20 * BLOCK + 5, |at: u64| at == 12 * BLOCK);
        let mut range = |from: u64, to: u64| scatter.range((from, to), size, size, &config, present);
        assert_eq!(range(3 * BLOCK + 7, 3 * BLOCK + 8), (3 * BLOCK, 7 * BLOCK));
        assert_eq!(
            range(2 * BLOCK, 2 * BLOCK + 1),
            (2 * BLOCK, 3 * BLOCK),
            "what is on its way is not asked for again"
        );
        assert_eq!(range(10 * BLOCK, 10 * BLOCK + 1), (10 * BLOCK, 12 * BLOCK), "nor what the disk has");
        assert_eq!(range(20 * BLOCK - 1, 20 * BLOCK + 1), (19 * BLOCK, size));
        assert_eq!(
            range(5 * BLOCK, 5 * BLOCK + 1),
            (5 * BLOCK, 6 * BLOCK),
            "it was there, and is not any more"
        );
        assert_eq!(
            range(15 * BLOCK - 9, 15 * BLOCK + 9),
            (14 * BLOCK, 18 * BLOCK),
            "a read across two blocks"
        );
        // What is left for the background, the block before the one of the disk among it.
        let mut left = Vec::new();
        while let Some(stretch) = scatter.next_fill(size, 64 * BLOCK, &config, present) {
            left.push((stretch.0 / BLOCK, stretch.1 / BLOCK));
        }
        assert_eq!(left, [(0, 2), (7, 10), (13, 14), (18, 19)]);
    }

    #[test]
    fn what_was_not_fetched_does_not_count() {
        let config = ReadConfig::default();
        let mut scatter = Scatter { hits: 1000, asked: 10 * 4096, ..Scatter::default() };
        for _ in 0..1000 {
            let (start, end) = scatter.next_fill(SIZE, 4 * BLOCK, &config, |_| false).unwrap();
            scatter.not_begun(start, end);
        }
    }

    #[test]
    fn the_background_keeps_to_the_bound() {
        let config = ReadConfig::default();
        let mut scatter = Scatter { hits: 1000, asked: 10 * 4096, ..Scatter::default() };
        let mut fetched = 0;
        while let Some((start, end)) = scatter.next_fill(SIZE, 4 * BLOCK, &config, |_| false) {
            fetched += end - start;
        }
        let bound = 10 * 4096 * config.amplification;
        assert!(fetched <= bound && fetched > 0, "{fetched} of {bound}");
    }
}
