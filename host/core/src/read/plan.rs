//! Which bytes to fetch for which read: arithmetic only.

use super::blocks::{BLOCK, PAGE};

/// What to fetch for `from..to` and nothing else: widened to pages, inside `low..high`.
pub(super) fn exact(from: u64, to: u64, low: u64, high: u64) -> (u64, u64) {
    let start = (from / PAGE * PAGE).max(low.min(from));
    let end = to.div_ceil(PAGE).saturating_mul(PAGE).min(high.max(to));
    (start, end)
}

/// End of the next part of a sequential stream: `size` bytes or so from `start`, cut at a block's boundary.
pub(super) fn part_end(start: u64, size: u64, file: u64) -> u64 {
    let end = start.saturating_add(size.max(1)).min(file);
    let aligned = end / BLOCK * BLOCK;
    if end < file && aligned > start { aligned } else { end }
}

/// How far a stream that has been read for `consumed` bytes may fetch ahead.
pub(super) fn ahead(consumed: u64, part_min: u64, limit: u64) -> u64 {
    consumed.saturating_mul(4).clamp(part_min.saturating_mul(2).min(limit), limit)
}

/// The stretches of `from..to` that `parts` (sorted, not overlapping) do not cover.
pub(super) fn gaps(from: u64, to: u64, parts: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut at = from;
    for (start, end) in parts {
        if start >= to {
            break;
        }
        if start > at {
            gaps.push((at, start));
        }
        at = at.max(end);
    }
    if at < to {
        gaps.push((at, to));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_ranges() {
        assert_eq!(exact(5000, 5001, 0, 1 << 30), (4096, 8192));
        assert_eq!(exact(0, 4096, 0, 1 << 30), (0, 4096));
        assert_eq!(exact(5000, 5001, 4500, 6000), (4500, 6000));
    }

    #[test]
    fn parts_end_at_blocks_or_at_the_end() {
        assert_eq!(part_end(0, BLOCK, 10 * BLOCK), BLOCK);
        assert_eq!(part_end(4096, BLOCK, 10 * BLOCK), BLOCK);
        assert_eq!(part_end(BLOCK - 1, 10, 10 * BLOCK), BLOCK);
        assert_eq!(part_end(0, 10, 10 * BLOCK), 10);
        assert_eq!(part_end(9 * BLOCK, 8 * BLOCK, 10 * BLOCK + 5), 10 * BLOCK + 5);
    }

    #[test]
    fn gaps_between_parts() {
        assert_eq!(gaps(0, 10, [].into_iter()), [(0, 10)]);
        assert_eq!(gaps(0, 10, [(0, 10)].into_iter()), []);
        assert_eq!(gaps(5, 30, [(0, 8), (10, 20), (40, 50)].into_iter()), [(8, 10), (20, 30)]);
    }
}
