//! Memory of guests, over all instances of the process.
//!
//! Each instance has limits of its own; what is here keeps many of them from using many times as much.
//!
//! **Two halves.** What *lasts* as long as its instance, linear memories and connections, has one half: it is never waited for, since it is
//! given back only when an instance ends, and who wants more than there is ends. What *passes through*, buffers, has the other. Neither takes
//! anything from the other, so however large guests grow, an answer that fitted once fits for ever.
//!
//! **Why nobody waits for ever.** What passes through is cut again, by [`Parts`]: a *reserve* for what is made of bytes that are there
//! (decryption), and in front of it the room to *receive*, three quarters of which are for answers to reads. A read is asked of a plugin only when all
//! of its answer has room there ([`GuestMemory::admit`]), and a plugin keeps of an answer no more than it has received for it.
//!
//! - *Converting* waits for other conversions at most. Everything that was received and has not been used together fits into the room to
//!   receive, because it did when the last of it came, and a conversion that ended left no more than there was before it. So when none is under way,
//!   the whole reserve is free, which is as large as a frame with the longest read in it.
//! - *Receiving* a piece of an answer waits for conversions and for pieces that belong to no read at most (maps, metadata): those end by themselves. Answers
//!   to all reads that are admitted fit together, and a piece that fits does not wait behind one that does not.
//! - *Receiving* something larger waits for reads that are admitted; no others are until it has its room.
//! - *Reads* wait for reads that are admitted, and for who waits to receive. Both end.
//!
//! A guest that keeps buffers without a reason makes others wait all the same: each wait has a limit of time ([`Limits::buffers_wait`]).

use super::meter::Gauge;
use crate::limits::Limits;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, Notify};

/// How the memory is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    /// For linear memories and connections.
    lasting: u64,
    /// For buffers.
    passing: u64,
    /// The part of `passing` that may be taken by what is received.
    receiving: u64,
    /// The part of `receiving` for answers to reads. The rest is for what comes with them: headers, tags, other messages.
    reading: u64,
    /// The longest read that may be asked for.
    read: u32,
}

impl Parts {
    fn new(limit: u64, limits: &Limits) -> Self {
        let passing = (limit / 2).min(limits.buffers as u64);
        // A power of two, as objects are: others would be read in pieces. With it `read <= reading` and `read <= reserve` whatever the limit is.
        let most = 1u64 << (passing / 8 * 3).max(1).ilog2();
        let read = u32::try_from(most).unwrap_or(u32::MAX).min(limits.read).max(1);
        let reserve = u64::from(read) + u64::from(read) / 3;
        let receiving = passing.saturating_sub(reserve);
        Self { lasting: limit / 2, passing, receiving, reading: receiving / 4 * 3, read }
    }
}

/// What all instances together may use. See the module.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    parts: Parts,
    state: Mutex<State>,
    /// Something was given back.
    freed: Notify,
    /// Reads are admitted in the order in which they come.
    turns: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Taken of [`Parts::lasting`].
    lasting: u64,
    /// Taken of [`Parts::passing`].
    passing: u64,
    /// Bytes of the reads that are admitted.
    reading: u64,
    /// Who waits for room among the buffers.
    waiting: usize,
    /// Instances that live.
    tenants: u64,
}

/// The two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Lasting,
    Passing,
}

impl State {
    fn of(&mut self, half: Half) -> &mut u64 {
        match half {
            Half::Lasting => &mut self.lasting,
            Half::Passing => &mut self.passing,
        }
    }

    /// Takes so many bytes, if there are.
    fn take(&mut self, half: Half, bytes: u64, most: u64) -> bool {
        let used = self.of(half);
        let after = used.checked_add(bytes).filter(|after| *after <= most);
        if let Some(after) = after {
            *used = after;
        }
        after.is_some()
    }
}

impl GuestMemory {
    /// `limit` bytes for all instances, of which each is limited by `limits`.
    pub(crate) fn new(limit: u64, limits: &Limits) -> Arc<Self> {
        let (parts, turns) = (Parts::new(limit, limits), AsyncMutex::default());
        Arc::new(Self { parts, state: Mutex::default(), freed: Notify::new(), turns })
    }

    /// The longest read that there can always be room for, in bytes.
    pub(crate) fn longest_read(&self) -> u32 {
        self.parts.read
    }

    /// Waits until there is room for the whole answer to a read of so many bytes, at most [`longest_read`](Self::longest_read).
    ///
    /// A plugin may gather an answer from several servers, and keeps what is there until the rest has come. Reads that were begun
    /// without room for all of it would in the end each hold a part and wait for the others.
    ///
    /// # Cancellation safety
    /// One that is dropped was never admitted.
    pub(crate) async fn admit(self: &Arc<Self>, bytes: u32) -> Admitted {
        let bytes = u64::from(bytes);
        let _turn = self.turns.lock().await;
        self.until(|state| {
            let fits = state.reading == 0 || state.reading + bytes <= self.parts.reading;
            let admits = fits && state.waiting == 0;
            state.reading += if admits { bytes } else { 0 };
            admits
        })
        .await;
        Admitted { memory: self.clone(), bytes }
    }

    /// What lasts as long as its instance; nothing yet. Counted in `gauge` too.
    pub(crate) fn lasting(self: &Arc<Self>, gauge: Gauge) -> Share {
        Share { all: self.clone(), gauge, half: Half::Lasting }
    }

    /// What passes through.
    pub(crate) fn passing(self: &Arc<Self>, gauge: Gauge) -> Share {
        Share { all: self.clone(), gauge, half: Half::Passing }
    }

    /// One instance more.
    pub(crate) fn tenant(self: &Arc<Self>) -> Tenant {
        self.state().tenants += 1;
        Tenant(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries now, and whenever something was given back.
    async fn until(&self, mut attempt: impl FnMut(&mut State) -> bool) {
        loop {
            // Looked at only after this: what is given back in between is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if attempt(&mut self.state()) {
                return;
            }
            freed.await;
        }
    }

    fn give(&self, half: Half, bytes: u64) {
        let mut state = self.state();
        let used = state.of(half);
        *used = used.saturating_sub(bytes);
        drop(state);
        self.freed.notify_waiters();
    }
}

/// A read that has its room. It ends when this is dropped: with the answer, not before.
pub(crate) struct Admitted {
    memory: Arc<GuestMemory>,
    bytes: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.memory.state().reading -= self.bytes;
        self.memory.freed.notify_waiters();
    }
}

/// An instance, as long as it lives.
#[derive(Debug)]
pub(crate) struct Tenant(Arc<GuestMemory>);

impl Tenant {
    /// What it may have of what lasts, if all instances have the same, in bytes. Changes as instances come and go.
    pub(crate) fn fair(&self) -> u64 {
        self.0.parts.lasting / self.0.state().tenants.max(1)
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.0.state().tenants -= 1;
    }
}

/// Somebody waits for room: no more reads are admitted meanwhile.
struct Waiting<'a>(&'a GuestMemory);

impl<'a> Waiting<'a> {
    fn new(memory: &'a GuestMemory) -> Self {
        memory.state().waiting += 1;
        Self(memory)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
        self.0.freed.notify_waiters();
    }
}

/// The part of one instance, of one half. What is taken has to be given back.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    all: Arc<GuestMemory>,
    gauge: Gauge,
    half: Half,
}

impl Share {
    /// What all may have of this half, in bytes.
    pub(crate) fn all(&self) -> u64 {
        match self.half {
            Half::Lasting => self.all.parts.lasting,
            Half::Passing => self.all.parts.passing,
        }
    }

    /// What may be received of it.
    pub(crate) fn room_to_receive(&self) -> u64 {
        self.all.parts.receiving.min(self.all())
    }

    /// Takes so many bytes more, if there are.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let taken = self.all.state().take(self.half, bytes as u64, self.all());
        if taken {
            self.gauge.add(bytes);
        }
        taken
    }

    /// Waits until there are so many bytes more below `most`. Who wants less may have it earlier, though it came later.
    ///
    /// # Cancellation safety
    /// Nothing is taken when the future is dropped.
    pub(crate) async fn wait(&self, bytes: usize, most: u64) {
        let attempt = |state: &mut State| state.take(self.half, bytes as u64, most);
        let at_once = attempt(&mut self.all.state());
        if !at_once {
            let _waiting = Waiting::new(&self.all);
            self.all.until(attempt).await;
        }
        self.gauge.add(bytes);
    }

    /// Gives so many bytes back.
    pub(crate) fn give(&self, bytes: usize) {
        self.gauge.sub(bytes);
        self.all.give(self.half, bytes as u64);
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
