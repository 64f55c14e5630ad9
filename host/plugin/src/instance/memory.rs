//! Memory of guests, over all instances of the process.

use super::meter::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What all instances together may use: linear memories, and bytes that they keep in buffers.
///
/// Each instance has limits of its own; this one keeps many of them from using many times as much.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    used: AtomicU64,
    limit: u64,
    freed: Notify,
}

impl GuestMemory {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), limit, freed: Notify::new() })
    }

    /// The limit in MiB, for messages.
    pub(crate) fn mib(&self) -> u64 {
        self.limit >> 20
    }

    /// Nothing yet, counted in `gauge` too.
    pub(crate) fn share(self: &Arc<Self>, gauge: Gauge) -> Share {
        Share { all: self.clone(), gauge }
    }
}

/// The part of one instance, of one kind. What is taken has to be given back.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    all: Arc<GuestMemory>,
    gauge: Gauge,
}

impl Share {
    /// Takes so many bytes more, if there are.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.take_below(bytes, self.all.limit)
    }

    /// The same, if a quarter of all is left afterwards.
    pub(crate) fn take_leaving_reserve(&self, bytes: usize) -> bool {
        self.take_below(bytes, self.all.limit - self.all.limit / 4)
    }

    fn take_below(&self, bytes: usize, limit: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes as u64).filter(|used| *used <= limit);
        let taken = self.all.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if taken {
            self.gauge.add(bytes);
        }
        taken
    }

    /// Gives so many bytes back.
    pub(crate) fn give(&self, bytes: usize) {
        self.all.used.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.gauge.sub(bytes);
        self.all.freed.notify_waiters();
    }

    /// Ready when anything has been given back since this was called, by whomever.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.all.freed.notified()
    }

    /// The limit of all in MiB, for messages.
    pub(crate) fn mib(&self) -> u64 {
        self.all.mib()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_bounded() {
        let all = GuestMemory::new(100);
        let (one, two) = (all.share(Gauge::default()), all.share(Gauge::default()));
        assert!(one.take(60) && !two.take(41) && two.take(40) && !one.take(1));
        one.give(10);
        assert!(two.take(10) && !two.take(usize::MAX));
        // 100 of 100 are taken. A quarter stays for those who may have it.
        one.give(40);
        assert!(!one.take_leaving_reserve(16) && one.take_leaving_reserve(15) && one.take(25));
    }
}
