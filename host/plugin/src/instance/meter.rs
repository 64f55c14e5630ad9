//! What the instances of a mount do and use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Figures of one mount, over all instances it has had, or of several mounts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginStats {
    /// Calls of the core that were made, `open` included. A call that is repeated in another instance counts again.
    pub calls: u64,
    /// Those of them that had no answer (trap, deadline) or an error for one.
    pub calls_failed: u64,
    /// Processor time of the instances: guest code, and what the host does for it up to the next wait, which includes sending requests
    /// and reading heads, not receiving bodies.
    pub cpu: Duration,
    /// Instances that ended by a trap, or were stopped for not ending a call.
    pub traps: u64,
    /// Instances that were started in the place of another one.
    pub replacements: u64,
    /// Calls now waiting to be taken by their instance.
    pub queue_depth: u64,
    /// Calls now inside their instance.
    pub in_flight: u64,
    /// Bytes of linear memory now.
    pub linear_memory: u64,
    /// Bytes of buffers and bodies that guests have handles to now.
    pub buffers: u64,
}

impl PluginStats {
    /// The figures of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            calls_failed: self.calls_failed + other.calls_failed,
            cpu: self.cpu + other.cpu,
            traps: self.traps + other.traps,
            replacements: self.replacements + other.replacements,
            queue_depth: self.queue_depth + other.queue_depth,
            in_flight: self.in_flight + other.in_flight,
            linear_memory: self.linear_memory + other.linear_memory,
            buffers: self.buffers + other.buffers,
        }
    }
}

/// The same while they are being counted. Each is on its own: they need not fit each other at every moment.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    calls: AtomicU64,
    calls_failed: AtomicU64,
    cpu_nanoseconds: AtomicU64,
    traps: AtomicU64,
    replacements: AtomicU64,
    /// Calls that wait.
    pub(crate) queued: Gauge,
    /// Calls inside.
    pub(crate) in_flight: Gauge,
    /// Bytes of linear memories.
    pub(crate) memory: Gauge,
    /// Bytes of buffers.
    pub(crate) buffers: Gauge,
}

/// Something there is now.
#[derive(Debug, Default, Clone)]
pub(crate) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: usize) {
        self.0.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// One more until the guard is dropped.
    pub(crate) fn one(&self) -> OneMore {
        self.add(1);
        OneMore(self.clone())
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See [`Gauge::one`].
pub(crate) struct OneMore(Gauge);

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

impl Meter {
    /// A call begins.
    pub(crate) fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// It had no answer, or an error for one.
    pub(crate) fn failed(&self) {
        self.calls_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance has held a thread for so long.
    pub(crate) fn ran(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanoseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// An instance ended before its time.
    pub(crate) fn trapped(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    /// Another one is there in its place.
    pub(crate) fn replaced(&self) {
        self.replacements.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> PluginStats {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PluginStats {
            calls: now(&self.calls),
            calls_failed: now(&self.calls_failed),
            cpu: Duration::from_nanos(now(&self.cpu_nanoseconds)),
            traps: now(&self.traps),
            replacements: now(&self.replacements),
            queue_depth: self.queued.now(),
            in_flight: self.in_flight.now(),
            linear_memory: self.memory.now(),
            buffers: self.buffers.now(),
        }
    }
}
