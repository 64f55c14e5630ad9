//! Memory and processor time of an instance. Exceeding either traps.

use super::memory::Share;
use crate::engine::TICK;
use crate::limits::Limits;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// A limit that a guest ran into; the cause of its trap.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    /// Of linear memory.
    #[error("it wanted more than {0} MiB of memory")]
    Memory(usize),
    /// Of what all instances have together.
    #[error("all plugins together wanted more than the {0} MiB of memory they may have; raise --memory")]
    AllMemory(u64),
    /// Of a table.
    #[error("it wanted a table of more than {0} elements")]
    Table(usize),
    /// Of time.
    #[error("it ran for {} ms without finishing or waiting for anything", .0.as_millis())]
    Spin(Duration),
}

/// Bounds the sum of all linear memories, where wasmtime's own limiter bounds each.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    share: Share,
    max_memory: usize,
    max_table: usize,
    max_items: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, share: Share) -> Self {
        Self {
            memory: 0,
            share,
            max_memory: limits.linear_memory,
            max_table: limits.table_elements,
            max_items: limits.core_items,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_sub(current).saturating_add(desired);
        if total > self.max_memory {
            return Err(Violation::Memory(self.max_memory >> 20).into());
        }
        match total.checked_sub(self.memory) {
            Some(more) if self.share.take(more) => {}
            Some(_) => return Err(Violation::AllMemory(self.share.all() >> 20).into()),
            // A memory never shrinks; then there is nothing to take.
            None => return Ok(true),
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.max_table {
            return Err(Violation::Table(self.max_table).into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.max_items
    }

    fn tables(&self) -> usize {
        self.max_items
    }

    fn memories(&self) -> usize {
        self.max_items
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.share.give(self.memory);
    }
}

/// Counts the ticks in which guest code ran since a call last ended or waited for the host.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicU32);

impl Budget {
    /// Something got done.
    pub(crate) fn progress(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The guest has kept a processor busy inside a function of the host for so long, where no tick finds it.
    pub(crate) fn spend(&self, took: Duration) {
        let ticks = u32::try_from(took.as_micros() / TICK.as_micros()).unwrap_or(u32::MAX);
        let _ =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| Some(all.saturating_add(ticks)));
    }

    /// Guest code was found running at a tick.
    pub(crate) fn tick(&self, limit: Duration) -> wasmtime::Result<()> {
        let ticks = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if TICK.saturating_mul(ticks) > limit {
            return Err(Violation::Spin(limit).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::GuestMemory;
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let limits = Limits { linear_memory: 10 << 20, ..Limits::default() };
        // Half of it is for what lasts.
        let all = GuestMemory::new(24 << 20, &limits);
        let mut limiter = Limiter::new(&limits, all.lasting(Default::default()));
        assert!(limiter.memory_growing(0, 6 << 20, None).unwrap());
        assert!(limiter.memory_growing(0, 3 << 20, None).unwrap());
        assert!(limiter.memory_growing(3 << 20, 4 << 20, None).unwrap());
        let error = limiter.memory_growing(6 << 20, 7 << 20, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Violation::Memory(10))));
        // 10 MiB are left of what all have.
        let mut other = Limiter::new(&limits, all.lasting(Default::default()));
        assert!(other.memory_growing(0, 2 << 20, None).unwrap());
        let error = other.memory_growing(2 << 20, 3 << 20, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Violation::AllMemory(12))));
        drop(limiter);
        assert!(other.memory_growing(2 << 20, 10 << 20, None).unwrap());
    }

    #[test]
    fn progress_refills_the_budget() {
        let budget = Budget::default();
        let limit = Duration::from_millis(30);
        for _ in 0..3 {
            budget.tick(limit).unwrap();
        }
        budget.progress();
        for _ in 0..3 {
            budget.tick(limit).unwrap();
        }
        budget.tick(limit).unwrap_err();
    }

    #[test]
    fn time_inside_the_host_counts() {
        let budget = Budget::default();
        let limit = Duration::from_secs(1);
        for _ in 0..6 {
            budget.tick(limit).unwrap();
            budget.spend(Duration::from_millis(159));
        }
        budget.tick(limit).unwrap();
        budget.spend(Duration::from_millis(159));
        budget.tick(limit).unwrap_err();
    }
}
