//! Counting what is allocated.

use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that `work` allocates. The count is that of the whole process, so one such piece of work is done at a time.
pub(crate) fn allocated_by(work: impl FnOnce()) -> usize {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let region = Region::new(ALLOCATOR);
    work();
    // What grows in its place is counted in there, too.
    region.change().bytes_allocated
}

#[cfg(test)]
mod tests {
    use super::allocated_by;

    #[test]
    fn what_was_freed_again_counts() {
        let used = allocated_by(|| drop(std::hint::black_box(vec![0_u8; 3 << 20])));
        assert!((3 << 20..4 << 20).contains(&used), "{used}");
    }

    #[test]
    fn what_grows_counts_once() {
        let used = allocated_by(|| {
            let mut bytes = std::hint::black_box(vec![0_u8; 1 << 20]);
            bytes.reserve_exact(2 << 20);
            drop(std::hint::black_box(bytes));
        });
        assert!((3 << 20..4 << 20).contains(&used), "{used}");
    }
}
