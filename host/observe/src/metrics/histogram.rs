//! Latencies, counted in buckets.

use std::time::Duration;

/// Upper bounds of the buckets in nanoseconds: 50 µs to 60 s, about two and a half apart, so that an interpolated percentile is
/// off by less than that factor. What takes longer is counted in one more bucket.
pub(crate) const BOUNDS: [u64; 19] = [
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// One for each bound, and one for what is beyond all of them.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a latency. A bound belongs to the bucket below it, as Prometheus has it.
pub(crate) fn bucket(nanos: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < nanos)
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket (not cumulative).
    pub(crate) buckets: [u64; BUCKETS],
    /// Sum of all, in nanoseconds.
    pub(crate) nanos: u64,
}

impl Histogram {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The latency that a share `q` (0 to 1) of them did not exceed, interpolated inside its bucket; at most the highest bound,
    /// 60 s, since nothing is known beyond it. `None` if there were none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * count as f64;
        let mut below = 0_u64;
        let mut low = 0_u64;
        for (inside, high) in self.buckets.iter().zip(BOUNDS) {
            if *inside > 0 && (below + inside) as f64 >= rank {
                let part = ((rank - below as f64) / *inside as f64).clamp(0.0, 1.0);
                let nanos = low as f64 + part * (high - low) as f64;
                return Some(Duration::from_nanos(nanos as u64));
            }
            below += inside;
            low = high;
        }
        Some(Duration::from_nanos(low))
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (to, from) in self.buckets.iter_mut().zip(other.buckets) {
            *to += from;
        }
        self.nanos += other.nanos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(latencies: impl IntoIterator<Item = Duration>) -> Histogram {
        let mut histogram = Histogram::default();
        for latency in latencies {
            let nanos = latency.as_nanos() as u64;
            histogram.buckets[bucket(nanos)] += 1;
            histogram.nanos += nanos;
        }
        histogram
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        assert_eq!(bucket(0), 0);
        for (index, bound) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket(*bound), index);
            assert_eq!(bucket(bound + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!(BOUNDS.is_sorted_by(|a, b| a < b && b / a <= 3));
    }

    #[test]
    fn quantiles_are_interpolated() {
        // Evenly spread over 1 to 2 ms, which is one bucket.
        let even = of((1..=1000).map(|n| Duration::from_micros(1000 + n)));
        for (q, want) in [(0.5, 1500), (0.95, 1950), (0.99, 1990), (1.0, 2000)] {
            let got = even.quantile(q).unwrap();
            assert!(got.abs_diff(Duration::from_micros(want)) < Duration::from_micros(2), "{q}: {got:?}");
        }
        assert!(even.sum() > Duration::from_millis(1500));
    }

    #[test]
    fn quantiles_of_a_wide_distribution_stay_in_the_right_bucket() {
        // Exponential: the exact quantile is known.
        let n = 100_000;
        let mean = 0.003_f64;
        let exact = |q: f64| -mean * (1.0 - q).ln();
        let sample = of((0..n).map(|i| Duration::from_secs_f64(exact((f64::from(i) + 0.5) / f64::from(n)))));
        for q in [0.1, 0.5, 0.9, 0.99, 0.999] {
            let got = sample.quantile(q).unwrap();
            let nanos = |time: Duration| bucket(time.as_nanos() as u64);
            assert_eq!(nanos(got), nanos(Duration::from_secs_f64(exact(q))), "{q}: {got:?}");
            // A tail is steeper than a straight line, and not by more than this.
            let ratio = got.as_secs_f64() / exact(q);
            assert!((0.75..1.35).contains(&ratio), "{q}: {got:?} for {}", exact(q));
        }
    }

    #[test]
    fn edges() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        let beyond = of([Duration::from_secs(3600)]);
        assert_eq!(beyond.quantile(0.5), Some(Duration::from_secs(60)));
        let one = of([Duration::from_micros(300)]);
        let got = one.quantile(0.0).unwrap();
        assert!(got >= Duration::from_micros(200) && got <= Duration::from_micros(500), "{got:?}");
        let mut two = one.clone();
        two.merge(&beyond);
        assert_eq!((two.count(), two.sum()), (2, one.sum() + beyond.sum()));
    }
}
