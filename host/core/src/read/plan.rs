//! Which bytes to fetch for which read: arithmetic only.

use super::blocks::{BLOCK, PAGE};
use std::num::NonZeroU64;

/// What to fetch for `from..to` and nothing else: widened to pages, inside `low..high`.
pub(super) fn exact(from: u64, to: u64, low: u64, high: u64) -> (u64, u64) {
    let start = (from / PAGE * PAGE).max(low.min(from));
    let end = to.div_ceil(PAGE).saturating_mul(PAGE).min(high.max(to));
    (start, end)
}

/// End of the next part of a sequential stream: `size` bytes or so from `start`, whole blocks that begin where reads do, which is `phase`
/// bytes after a multiple of a block. Where `start` is elsewhere, the part ends at the next such place. What would be left for less than half a part
/// more is taken with it: a request of its own costs the store more. Where bytes are best asked for in pieces, it ends with the piece.
pub(super) fn part_end(start: u64, size: u64, file: u64, phase: u64, piece: Option<NonZeroU64>) -> u64 {
    let size = size.max(1);
    let size =
        if file.saturating_sub(start) <= size + size / 2 { file.saturating_sub(start).max(1) } else { size };
    let end = start.saturating_add(size).min(file);
    let off = start.wrapping_sub(phase) % BLOCK;
    let aligned = match off {
        0 if end == file => end,
        0 => start + (end - start) / BLOCK * BLOCK,
        off => start + (BLOCK - off),
    };
    let end = if aligned > start && aligned < end { aligned } else { end };
    piece.map_or(end, |piece| end.min(start.saturating_add(piece.get() - start % piece)))
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
        assert_eq!(part_end(0, BLOCK, 10 * BLOCK, 0, None), BLOCK);
        assert_eq!(
            part_end(7 * BLOCK, 8 * BLOCK, 16 * BLOCK, 0, None),
            16 * BLOCK,
            "no request for what little is left"
        );
        assert_eq!(part_end(7 * BLOCK, 8 * BLOCK, 20 * BLOCK, 0, None), 15 * BLOCK);
        assert_eq!(part_end(4096, BLOCK, 10 * BLOCK, 0, None), BLOCK);
        assert_eq!(part_end(BLOCK - 1, 10, 10 * BLOCK, 0, None), BLOCK);
        assert_eq!(part_end(0, 10, 10 * BLOCK, 0, None), 10);
        assert_eq!(part_end(9 * BLOCK, 8 * BLOCK, 10 * BLOCK + 5, 0, None), 10 * BLOCK + 5);
        assert_eq!(part_end(BLOCK, 4 * BLOCK + 7, 10 * BLOCK, 0, None), 5 * BLOCK);
    }

    #[test]
    fn parts_go_over_to_where_reads_begin() {
        const PHASE: u64 = 3 * BLOCK / 4;
        assert_eq!(part_end(4 * BLOCK, 8 * BLOCK, 100 * BLOCK, PHASE, None), 4 * BLOCK + PHASE);
        assert_eq!(part_end(4 * BLOCK + PHASE, 8 * BLOCK, 100 * BLOCK, PHASE, None), 12 * BLOCK + PHASE);
        assert_eq!(part_end(98 * BLOCK + PHASE, 8 * BLOCK, 100 * BLOCK, PHASE, None), 100 * BLOCK);
        assert_eq!(part_end(0, BLOCK, 100 * BLOCK, PHASE, None), PHASE);
    }

    #[test]
    fn parts_end_with_the_piece() {
        const PIECE: Option<NonZeroU64> = NonZeroU64::new(4 * BLOCK);
        assert_eq!(part_end(0, 4 * BLOCK, 100 * BLOCK, 0, PIECE), 4 * BLOCK);
        assert_eq!(part_end(7 * BLOCK, 4 * BLOCK, 100 * BLOCK, 0, PIECE), 8 * BLOCK);
        assert_eq!(
            part_end(8 * BLOCK, 4 * BLOCK, 13 * BLOCK, 0, PIECE),
            12 * BLOCK,
            "not what is left with it"
        );
        assert_eq!(part_end(8 * BLOCK, BLOCK, 100 * BLOCK, 0, PIECE), 9 * BLOCK);
    }

    #[test]
    fn gaps_between_parts() {
        assert_eq!(gaps(0, 10, [].into_iter()), [(0, 10)]);
        assert_eq!(gaps(0, 10, [(0, 10)].into_iter()), []);
        assert_eq!(gaps(5, 30, [(0, 8), (10, 20), (40, 50)].into_iter()), [(8, 10), (20, 30)]);
    }
}
