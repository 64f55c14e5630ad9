//! Pauses between attempts to connect.

/// Pause before the second attempt, in milliseconds; the first has none, and each further one doubles it.
const FIRST_MS: u64 = 100;
/// Longest pause.
const MAX_MS: u64 = 5_000;

/// Pauses that are spread, so that many clients of a daemon that comes back do not all come at once.
pub(super) struct Jitter {
    state: u64,
}

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed | 1 }
    }

    /// The pause after so many failures: none, then 75 to 125 % of a doubling number.
    pub(super) fn pause(&mut self, failures: u32) -> u64 {
        let Some(doublings) = failures.checked_sub(2) else { return 0 };
        let pause = FIRST_MS.checked_shl(doublings.min(32)).unwrap_or(u64::MAX).min(MAX_MS);
        // xorshift64: good enough to spread, and needs nobody's randomness.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        pause * 3 / 4 + self.state % (pause / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut jitter = Jitter::new(7);
        assert_eq!((jitter.pause(0), jitter.pause(1)), (0, 0));
        for (failures, around) in [(2, 100), (3, 200), (6, 1_600), (8, 5_000), (u32::MAX, 5_000)] {
            let pause = jitter.pause(failures);
            assert!((around * 3 / 4..=around * 5 / 4).contains(&pause), "{pause} after {failures}");
        }
    }
}
