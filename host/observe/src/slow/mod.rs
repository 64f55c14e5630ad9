//! The paths on which most time was spent, and the slowest operations, over the last minutes.
//!
//! Operations that took a [`SLOW`] or longer are all taken into account. Of faster ones one in so many is, and stands for the others:
//! the chance is proportional to the time it took, so that totals are right on average and most operations cost a few
//! instructions and no lock.

mod slice;
mod top;

use crate::human;
use crate::words::{Blamed, RESULTS, result_index};
use slice::Slice;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmount_core::ports::Operation;
use wasmount_types::Ino;

/// What takes this long is slow by itself.
pub(crate) const SLOW: Duration = Duration::from_millis(1);

/// Length of a slice of time.
const SLICE: Duration = Duration::from_secs(60);

/// Slices that are kept, with the one that has just begun.
const SLICES: usize = 5;

/// Rows of each list.
const ROWS: usize = 20;

/// The slowest operation on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worst {
    latency: Duration,
    op: &'static str,
    result: &'static str,
    blame: &'static str,
    at: Instant,
}

/// Time spent on one node.
#[derive(Clone, Debug)]
struct Total {
    path: Arc<str>,
    /// At most so much.
    time: Duration,
    /// At least so much less: what the node may have inherited from another that it displaced.
    inherited: Duration,
    /// Operations that were slow by themselves.
    slow: u64,
}

/// The last minutes together, the most first.
struct Merged {
    totals: Vec<Total>,
    worst: Vec<(Arc<str>, Worst)>,
}

/// Where time went.
pub(crate) struct SlowPaths {
    begin: Instant,
    slices: Mutex<VecDeque<(u64, Slice)>>,
}

impl SlowPaths {
    /// Nothing yet; `begin` is now.
    pub(crate) fn new(begin: Instant) -> Self {
        Self { begin, slices: Mutex::default() }
    }

    /// Whether an operation that took `latency` is to be [added](Self::add), and how much time it stands for.
    pub(crate) fn weigh(latency: Duration) -> Option<Duration> {
        if latency >= SLOW {
            return Some(latency);
        }
        (random() % nanos(SLOW) < nanos(latency)).then_some(SLOW)
    }

    /// Adds an operation that ended at `now` and stands for `time`. `path` is asked at most once, outside any lock, if the node is new.
    pub(crate) fn add(
        &self,
        operation: &Operation<'_>,
        blamed: Blamed,
        time: Duration,
        now: Instant,
        path: impl FnOnce() -> Arc<str>,
    ) {
        let worst = (operation.latency >= SLOW).then(|| Worst {
            latency: operation.latency,
            op: operation.op,
            result: RESULTS[result_index(operation.error.map(|(kind, _)| kind))],
            blame: blamed.name(),
            at: now,
        });
        let ino = operation.ino;
        let number = self.number(now);
        let known =
            self.current(&mut self.lock(), number).is_none_or(|slice| slice.knows(ino, worst.as_ref()));
        let path = (!known).then(path);
        if let Some(slice) = self.current(&mut self.lock(), number) {
            slice.add(ino, time, worst, path.as_ref());
        }
    }

    /// Both lists as text.
    pub(crate) fn render(&self, now: Instant) -> String {
        let Merged { totals, worst } = self.merge(now);
        let minutes = SLICE.as_secs() * SLICES as u64 / 60;
        let mut out = String::new();
        // A `String` takes everything that is written to it.
        let _ = writeln!(out, "# Where most time was spent in the last {minutes} minutes");
        let _ =
            writeln!(out, "# operations under 1 ms are estimated; ~: over half of it may be another path's");
        let _ = writeln!(out, "# {:>10} {:>12}  path", "time", "over 1 ms");
        for total in totals.iter().take(ROWS) {
            let mark = if total.inherited * 2 > total.time { "~" } else { "" };
            let time = format!("{mark}{}", human::time(total.time));
            let _ = writeln!(out, "  {time:>10} {:>12}  {}", total.slow, total.path);
        }
        let _ = writeln!(out, "\n# The slowest operations in the last {minutes} minutes, one for each path");
        let _ = writeln!(
            out,
            "# {:>10} {:>12}  {:<12} {:<14} {:<7} path",
            "time", "ago", "operation", "result", "blame"
        );
        for (path, worst) in worst.iter().take(ROWS) {
            let ago = human::time(now.saturating_duration_since(worst.at));
            let latency = human::time(worst.latency);
            let _ = writeln!(
                out,
                "  {latency:>10} {ago:>12}  {:<12} {:<14} {:<7} {path}",
                worst.op, worst.result, worst.blame
            );
        }
        out
    }

    fn merge(&self, now: Instant) -> Merged {
        let oldest = (self.number(now) + 1).saturating_sub(SLICES as u64);
        let slices = self.lock();
        let mut totals: HashMap<Ino, Total> = HashMap::new();
        let mut worst: HashMap<Ino, (Arc<str>, Worst)> = HashMap::new();
        for (_, slice) in slices.iter().filter(|(number, _)| *number >= oldest) {
            for (ino, more) in slice.totals() {
                match totals.get_mut(&ino) {
                    Some(total) => {
                        total.time += more.time;
                        total.inherited += more.inherited;
                        total.slow += more.slow;
                    }
                    None => drop(totals.insert(ino, more)),
                }
            }
            for (ino, more) in slice.worst() {
                if worst.get(&ino).is_none_or(|(_, known)| known.latency < more.1.latency) {
                    worst.insert(ino, more.clone());
                }
            }
        }
        let mut merged =
            Merged { totals: totals.into_values().collect(), worst: worst.into_values().collect() };
        merged.totals.sort_by_key(|total| Reverse(total.time));
        merged.worst.sort_by_key(|(_, worst)| Reverse(worst.latency));
        merged
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begin).as_secs() / SLICE.as_secs()
    }

    /// The slice with this number, begun if need be; `None` if it has ended already, which happens to a thread that was held up.
    fn current<'a>(&self, slices: &'a mut VecDeque<(u64, Slice)>, number: u64) -> Option<&'a mut Slice> {
        match slices.back() {
            Some((last, _)) if *last > number => return None,
            Some((last, _)) if *last == number => {}
            _ => {
                slices.push_back((number, Slice::default()));
                while slices.len() > SLICES {
                    slices.pop_front();
                }
            }
        }
        slices.back_mut().map(|(_, slice)| slice)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Slice)>> {
        self.slices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A random number, good enough to choose samples: a counter of the thread, mixed (splitmix64).
fn random() -> u64 {
    thread_local! {
        static COUNTER: Cell<u64> = const { Cell::new(0) };
    }
    let step = |counter: &Cell<u64>| {
        let next = counter.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        counter.set(next);
        next
    };
    // A thread that is ending chooses like its first operation did.
    let mut z = COUNTER.try_with(step).unwrap_or(0);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
