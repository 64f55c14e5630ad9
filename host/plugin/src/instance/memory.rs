//! Memory of guests, over all instances of the process.

use super::meter::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::futures::Notified;
use tokio::sync::{Mutex, Notify};

/// What all instances together may use: linear memories, and bytes that they keep in buffers.
///
/// Each instance has limits of its own; this one keeps many of them from using many times as much.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    used: AtomicU64,
    /// The part of it that is linear memory.
    linear: AtomicU64,
    limit: u64,
    freed: Notify,
    /// Bytes of the reads that are admitted.
    reading: AtomicU64,
    /// Reads are admitted in the order in which they come.
    turns: Mutex<()>,
}

impl GuestMemory {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            linear: AtomicU64::new(0),
            limit,
            freed: Notify::new(),
            reading: AtomicU64::new(0),
            turns: Mutex::new(()),
        })
    }

    /// What may be received: a quarter is for what is made of it, and linear memories are there already.
    fn room(&self) -> u64 {
        (self.limit - self.limit / 4).saturating_sub(self.linear.load(Ordering::Relaxed))
    }

    /// Waits until there is room for the whole answer to a read of so many bytes, or nothing else is being read.
    ///
    /// A plugin may gather an answer from several servers, and keeps what is there until the rest has come. Reads that were begun
    /// without room for all of it would in the end each hold a part and wait for the others.
    ///
    /// # Cancellation safety
    /// One that is dropped was never admitted.
    pub(crate) async fn admit(self: &Arc<Self>, bytes: u64) -> Admitted {
        let _turn = self.turns.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let reading = self.reading.load(Ordering::Relaxed);
            if reading == 0 || reading.saturating_add(bytes) <= self.room() {
                // Nobody else adds: it is our turn.
                self.reading.fetch_add(bytes, Ordering::Relaxed);
                return Admitted { memory: self.clone(), bytes };
            }
            freed.await;
        }
    }

    /// What all linear memories together may have.
    fn most_linear(&self) -> u64 {
        self.limit / 2
    }

    /// The limit in MiB, for messages.
    pub(crate) fn mib(&self) -> u64 {
        self.limit >> 20
    }

    /// Nothing yet, for buffers; counted in `gauge` too.
    pub(crate) fn share(self: &Arc<Self>, gauge: Gauge) -> Share {
        Share { all: self.clone(), gauge, linear: false }
    }

    /// The same for linear memories.
    pub(crate) fn linear_share(self: &Arc<Self>, gauge: Gauge) -> Share {
        Share { linear: true, ..self.share(gauge) }
    }
}

/// A read that has its room. It ends when this is dropped: with the answer, not before.
pub(crate) struct Admitted {
    memory: Arc<GuestMemory>,
    bytes: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.memory.reading.fetch_sub(self.bytes, Ordering::Relaxed);
        self.memory.freed.notify_waiters();
    }
}

/// The part of one instance, of one kind. What is taken has to be given back.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    all: Arc<GuestMemory>,
    gauge: Gauge,
    linear: bool,
}

impl Share {
    /// Takes so many bytes more, if there are.
    ///
    /// Linear memories never give anything back while their instance lives, so all of them together get no more than half: else there might never
    /// again be room for an answer, and every call would wait for one until its deadline. A guest that wants more ends with a trap, which makes room.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        if !self.linear {
            return self.take_below(bytes, self.all.limit);
        }
        let most = self.all.most_linear();
        let add = |used: u64| used.checked_add(bytes as u64).filter(|used| *used <= most);
        if self.all.linear.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return false;
        }
        let taken = self.take_below(bytes, self.all.limit);
        if !taken {
            self.all.linear.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
        taken
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
        if self.linear {
            self.all.linear.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
        self.gauge.sub(bytes);
        self.all.freed.notify_waiters();
    }

    /// Ready when anything has been given back since this was called, by whomever.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.all.freed.notified()
    }

    /// What all may have of this in MiB, for messages.
    pub(crate) fn mib(&self) -> u64 {
        if self.linear { self.all.most_linear() >> 20 } else { self.all.mib() }
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

    #[test]
    fn linear_memories_leave_room_for_answers() {
        let all = GuestMemory::new(100);
        let (linear, buffers) = (all.linear_share(Gauge::default()), all.share(Gauge::default()));
        assert!(linear.take(30) && linear.take(20) && !linear.take(1));
        assert!(buffers.take_leaving_reserve(25) && buffers.take(25));
        linear.give(20);
        assert!(linear.take(15) && buffers.take(5) && !linear.take(1), "there is no more of anything");
        assert_eq!(all.linear.load(Ordering::Relaxed), 45, "what was refused is not counted");
    }

    #[tokio::test]
    async fn reads_wait_for_room_for_all_of_each() {
        let all = GuestMemory::new(100);
        let linear = all.linear_share(Gauge::default());
        assert!(linear.take(15));
        // 75 may be received, and 15 of all are taken: room for 60.
        let first = all.admit(40).await;
        let second = all.admit(20).await;
        let mut third = std::pin::pin!(all.admit(1));
        let waits = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(waits, &mut third).await.is_err());
        drop(second);
        let third = third.await;
        drop((first, third));
        // More than there is ever: alone, and then nobody else.
        let alone = all.admit(1000).await;
        assert!(tokio::time::timeout(waits, all.admit(1)).await.is_err());
        drop(alone);
        linear.give(15);
        assert_eq!((all.reading.load(Ordering::Relaxed), all.linear.load(Ordering::Relaxed)), (0, 0));
    }
}
