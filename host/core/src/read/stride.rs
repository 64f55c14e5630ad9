//! Recognises reads at a constant distance, forwards or backwards.

/// Equal distances after which the next ones are expected.
const SURE: u32 = 2;
/// Reads expected ahead.
const AHEAD: u64 = 4;

/// The distance between the reads of a handle.
#[derive(Debug, Default)]
pub(super) struct Stride {
    last: Option<(u64, u64)>,
    distance: i64,
    times: u32,
}

impl Stride {
    /// Takes note of a read. A read that runs on from the last one is part of it: the kernel cuts large reads in pieces.
    pub(super) fn note(&mut self, from: u64, to: u64) {
        let Some((begin, end)) = self.last else {
            self.last = Some((from, to));
            return;
        };
        if from == end && self.distance >= 0 && self.times < SURE {
            self.last = Some((begin, to));
            return;
        }
        let distance = i64::try_from(i128::from(from) - i128::from(begin)).unwrap_or(0);
        if distance != 0 && distance == self.distance {
            self.times = self.times.saturating_add(1);
        } else {
            (self.distance, self.times) = (distance, 0);
        }
        self.last = Some((from, to));
    }

    /// The distance, once it is sure.
    pub(super) fn distance(&self) -> Option<i64> {
        (self.times >= SURE).then_some(self.distance)
    }

    /// The reads expected next in a file of `size` bytes.
    pub(super) fn expected(&self, size: u64) -> Vec<(u64, u64)> {
        let (Some(distance), Some((from, to))) = (self.distance(), self.last) else { return Vec::new() };
        let steps = (1..=AHEAD).map_while(|step| {
            let at = i128::from(from) + i128::from(distance) * i128::from(step);
            u64::try_from(at).ok().filter(|at| *at < size)
        });
        steps.map(|at| (at, at.saturating_add(to - from).min(size))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_distance_is_seen_at_the_fourth_read() {
        let mut stride = Stride::default();
        for at in [100, 1100, 2100] {
            stride.note(at, at + 10);
            assert_eq!(stride.expected(10_000), []);
        }
        stride.note(3100, 3110);
        assert_eq!(stride.expected(6_000), [(4100, 4110), (5100, 5110)]);
        stride.note(3500, 3510);
        assert_eq!(stride.expected(10_000), []);
    }

    #[test]
    fn backwards_too() {
        let mut stride = Stride::default();
        for at in [900, 800, 700, 600] {
            stride.note(at, at + 100);
        }
        assert_eq!(stride.expected(1000), [(500, 600), (400, 500), (300, 400), (200, 300)]);
    }
}
