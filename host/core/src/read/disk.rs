//! Bytes from the disk cache, and for it.
//!
//! Nothing here fails a read: what the cache does not give, or not soon, comes from the storage system, and is offered again.

use super::blocks::{BLOCK, Held, PAGE, block_end};
use super::content::{Content, PATIENCE};
use super::file::File;
use super::reading::Reading;
use super::stats::add;
use crate::ports::{CACHE_PAGE, CachedFile, Offer, ServedFrom};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use wasmount_types::{Error, RequestCtx};

/// For how long a cache that did not answer in time is left alone, in units of the wait that was too short.
const REST: u32 = 10;

/// How often a crowded cache is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Whether the disk cache is to be asked. One that hangs would make every read wait for it, and hold a thread and a buffer for
/// each; it cannot tell us itself.
pub(super) struct Rest {
    begun: Instant,
    /// Milliseconds after `begun`; 0: it always answered.
    until: AtomicU64,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), until: AtomicU64::new(0) }
    }

    /// Whether it is left alone at the moment.
    pub(super) fn is_on(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && self.now() < until
    }

    /// It did not answer within `wait`.
    fn begin(&self, wait: Duration) {
        let length = u64::try_from(wait.saturating_mul(REST).as_millis()).unwrap_or(u64::MAX);
        self.until.fetch_max(self.now().saturating_add(length), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Reading {
    /// What the disk cache says; `None`: nothing in time, or it is left alone because of that.
    pub(crate) async fn within_disk_wait<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        if self.rest.is_on() {
            return None;
        }
        let wait = self.config.disk_wait;
        let outcome = timeout(wait, answer).await;
        if outcome.is_err() {
            add(&self.counters.disk_errors, 1);
            tracing::debug!(?wait, "the disk cache does not answer; it is left alone for a while");
            self.rest.begin(wait);
        }
        outcome.ok()
    }
}

impl File {
    /// Its place in the disk cache, if it has one and that may be asked for bytes.
    pub(super) fn readable(&self) -> Option<Arc<dyn CachedFile>> {
        self.cached().filter(|_| !self.reading.rest.is_on())
    }

    /// The bytes `from..to`, which the cache says to have, at most a block's worth, without a part. `None`: it does not have them.
    pub(super) async fn read_disk(
        &self,
        ctx: RequestCtx,
        cached: &Arc<dyn CachedFile>,
        from: u64,
        to: u64,
    ) -> Result<Option<Bytes>, Error> {
        let memory = &self.reading.memory;
        let grant = match memory.try_reserve(0, to - from) {
            Some(grant) => grant,
            None => memory.reserve(&*self.reading.clock, ctx, 0, to - from).await?,
        };
        let held = Held::new(memory.pool.clone(), Some(grant));
        let room = memory.pool.block(to - from);
        match self.ask_cache(cached, from, to, room).await {
            Some(Ok(block)) => {
                let bytes = block.freeze();
                held.anchor(&bytes);
                Ok(Some(held.show(bytes)))
            }
            Some(Err(room)) => {
                memory.pool.give_back(room);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Fills a part from the cache as far as that goes; returns how far it is filled.
    pub(super) async fn fill_from_disk(&self, content: &Content) -> u64 {
        let mut filled = content.filled();
        let Some(cached) = self.readable() else { return filled };
        while filled < content.end {
            let run = cached.run(filled, content.end);
            if run <= filled {
                break;
            }
            content.coming_from(ServedFrom::Disk);
            let (from, room) = content.lend(u64::MAX);
            let until = run.min(from + room.capacity() as u64);
            filled = match self.ask_cache(&cached, from, until, room).await {
                Some(Ok(room)) => content.restore(Some(room)),
                Some(Err(room)) => content.restore(Some(room)),
                None => content.restore(None),
            };
            if filled < until {
                break;
            }
        }
        filled
    }

    /// What the cache gives for `from..to`, with the room if it gives nothing. `None`: it did not even give the room back in time.
    async fn ask_cache(
        &self,
        cached: &Arc<dyn CachedFile>,
        from: u64,
        to: u64,
        room: BytesMut,
    ) -> Option<Result<BytesMut, BytesMut>> {
        let before = room.len() as u64;
        let room = match self.reading.within_disk_wait(cached.read(from, to, room)).await? {
            Ok(room) if room.len() as u64 == before + (to - from) => return Some(Ok(room)),
            Ok(mut room) => {
                room.truncate(before as usize);
                room
            }
            Err(room) => room,
        };
        add(&self.reading.counters.disk_errors, 1);
        Some(Err(room))
    }

    /// Where the cache goes on with a whole block, between `from`, which it does not have, and `end`.
    pub(super) fn next_on_disk(&self, from: u64, end: u64) -> u64 {
        let Some(cached) = self.readable() else { return end };
        let mut at = (from / BLOCK + 1) * BLOCK;
        while at < end {
            let until = (at + BLOCK).min(end);
            if cached.run(at, until) == until {
                return at;
            }
            at += BLOCK;
        }
        end
    }

    /// Before a block that nobody waits for yet: lets the cache's queue become shorter, for a little while. What has not been received costs nothing,
    /// and what the queue has no room for would have to be fetched once more in the next epoch. A reader who comes for it ends the wait.
    pub(super) async fn pace(&self, content: &Content) {
        let Some(cached) = self.cached() else { return };
        let until = Instant::now() + PATIENCE;
        while cached.crowded() && Instant::now() < until && !content.is_awaited() {
            // The disk writes some megabytes in that time.
            let _ = timeout(LOOK, content.wanted()).await;
        }
    }

    /// Offers what has arrived between `offered` and `filled` to the cache, block by block; returns what is offered by now.
    /// What ends inside a block waits, unless it is the `last` of what will come.
    pub(super) fn offer(&self, content: &Content, offered: u64, filled: u64, last: bool) -> u64 {
        let mut at = offered.next_multiple_of(CACHE_PAGE);
        let size = self.version.size;
        let whole = if last { filled } else { filled - (filled - content.start) % BLOCK };
        let until = if whole >= size { size } else { whole / CACHE_PAGE * CACHE_PAGE };
        if at >= until {
            return offered;
        }
        let Some(cached) = self.cached().filter(|_| !self.is_revoked()) else { return until };
        while at < until {
            let end = block_end(content.start, at, until).next_multiple_of(CACHE_PAGE).min(until);
            if cached.wants(at, end) {
                let (mut pieces, mut held) = (Vec::new(), None);
                for (_, slice, holder) in content.slices(at, end) {
                    pieces.push(slice);
                    held = Some(holder);
                }
                if let Some(held) = held {
                    let charge = self.held_for(content, at, end);
                    if cached.offer(at, pieces, held, charge) == Offer::NoRoom {
                        self.lock().holes.add(at, end);
                    }
                }
            }
            at = end;
        }
        until
    }
    /// Bytes of memory that bytes of `at..end` keep from being used again: whole blocks.
    fn held_for(&self, content: &Content, at: u64, end: u64) -> u64 {
        let first = at - (at - content.start) % BLOCK;
        let last = block_end(content.start, end - 1, content.end);
        u64::from(self.reading.memory.charge(first, last)) * PAGE
    }
}
