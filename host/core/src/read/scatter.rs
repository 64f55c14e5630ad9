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

    /// What to fetch for `from..to`, which is not there, in a file of `size` bytes, of which `room` can be kept.
    pub(super) fn range(
        &mut self,
        from: u64,
        to: u64,
        size: u64,
        room: u64,
        config: &ReadConfig,
    ) -> (u64, u64) {
        if self.recent.len() >= REMEMBERED {
            self.recent.remove(0);
        }
        self.recent.push(from);
        self.set_whole(from / BLOCK, false);
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
            if block <= PAGE || self.may_fetch(end - start, config) {
                self.fetched = self.fetched.saturating_add(end - start);
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
        let missing = |scatter: &Self, block: u64| !scatter.is_whole(block) && !present(block * BLOCK);
        let (blocks, most) = (size.div_ceil(BLOCK), (most / BLOCK).max(1));
        let first = loop {
            match self.recent.pop() {
                Some(hit) if missing(self, hit / BLOCK) => break hit / BLOCK,
                Some(_) => {}
                None => {
                    while self.cursor < blocks && !missing(self, self.cursor) {
                        self.cursor += 1;
                    }
                    break self.cursor;
                }
            }
        };
        if first >= blocks {
            return None;
        }
        let mut last = first + 1;
        while last < blocks && last - first < most && missing(self, last) {
            last += 1;
        }
        let (start, end) = (first * BLOCK, (last * BLOCK).min(size));
        if !self.may_fetch(end - start, config) {
            return None;
        }
        self.fetched += end - start;
        for block in first..last {
            self.set_whole(block, true);
        }
        Some((start, end))
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

    fn may_fetch(&self, bytes: u64, config: &ReadConfig) -> bool {
        self.fetched.saturating_add(bytes) <= self.asked.saturating_mul(config.amplification)
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
            let (start, end) = scatter.range(from, from + 4096, SIZE, SIZE, &config);
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
        assert_eq!(scatter.range(BLOCK, BLOCK + 4096, SIZE, SIZE - 1, &config), (BLOCK, BLOCK + FIRST));
        assert!(!scatter.wants_fill(SIZE, SIZE - 1, &config));
        assert!(scatter.wants_fill(SIZE, SIZE, &config));
    }

    #[test]
    fn the_background_begins_at_the_hits_and_takes_every_block_once() {
        let config = ReadConfig::default();
        let mut scatter = Scatter { hits: 1, asked: SIZE, ..Scatter::default() };
        let size = 100 * BLOCK + 5;
        scatter.range(50 * BLOCK + 7, 50 * BLOCK + 8, size, size, &config);
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
