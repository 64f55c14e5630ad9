//! The memory all reads share: a budget, and blocks that are used again.
//!
//! Fresh memory costs a page fault per 4 KiB, which is the largest single cost of reading fast: a block that comes back
//! is kept for the next part. A block comes back when the last reply that shows a slice of it has been written.
//!
//! The budget is a semaphore, first come first served. Prefetching takes what is free and never waits; a read somebody
//! waits for waits in line, and while it does, handles that nobody reads from give up what they hold.

use crate::ports::Clock;
use crate::wait::bounded;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// Size of a pooled block; parts are cut at multiples of it.
pub(super) const BLOCK: u64 = 1024 * 1024;
/// Unit of the budget.
const PAGE: u64 = 4096;
/// Smallest piece that is worth a pooled block.
const POOLED: u64 = BLOCK / 4;
/// Blocks remembered while replies still show slices of them.
const MAX_RETURNING: usize = 64;
/// How often a read that waits for memory asks idle handles for theirs.
const SHRINK_EVERY: Duration = Duration::from_millis(50);
/// A handle that was not read from for so long is asked first.
const IDLE: Duration = Duration::from_secs(1);

/// A handle that can give up what nobody waits for.
pub(super) trait Shrink: Send + Sync {
    /// Drops everything that nobody waits for, if there was no read since `idle_since`.
    fn shrink(&self, idle_since: Instant);
}

/// A share of the budget; dropping it gives it back.
pub(super) type Grant = OwnedSemaphorePermit;

/// Memory for reading, shared by all handles of a process.
pub struct ReadMemory {
    budget: Arc<Semaphore>,
    pages: u32,
    blocks: Mutex<Blocks>,
    handles: Mutex<Vec<Weak<dyn Shrink>>>,
}

#[derive(Default)]
struct Blocks {
    ready: Vec<BytesMut>,
    returning: VecDeque<Bytes>,
}

impl ReadMemory {
    /// A budget of `bytes`, at least four blocks.
    pub fn new(bytes: u64) -> Self {
        let pages =
            u32::try_from((bytes / PAGE).max(4 * BLOCK / PAGE)).unwrap_or(u32::MAX >> 3).min(u32::MAX >> 3);
        Self {
            budget: Arc::new(Semaphore::new(pages as usize)),
            pages,
            blocks: Mutex::default(),
            handles: Mutex::default(),
        }
    }

    /// Bytes that are not in use.
    pub fn available(&self) -> u64 {
        self.budget.available_permits() as u64 * PAGE
    }

    /// Adds a handle to those that are asked when memory is short.
    pub(super) fn register(&self, handle: Weak<dyn Shrink>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        // Amortised: the list is cleaned when it has doubled.
        if handles.len() == handles.capacity() {
            handles.retain(|h| h.strong_count() > 0);
            let room = handles.len().max(16);
            handles.reserve(room);
        }
        handles.push(handle);
    }

    /// Budget for the bytes `start..end`, if it is free now.
    pub(super) fn try_reserve(&self, start: u64, end: u64) -> Option<Grant> {
        self.budget.clone().try_acquire_many_owned(self.charge(start, end)).ok()
    }

    /// Budget for the bytes `start..end`, in line with everybody else who waits.
    pub(super) async fn reserve(
        &self,
        clock: &dyn Clock,
        ctx: RequestCtx,
        start: u64,
        end: u64,
    ) -> Result<Grant, Error> {
        if let Some(grant) = self.try_reserve(start, end) {
            return Ok(grant);
        }
        let acquire = self.budget.clone().acquire_many_owned(self.charge(start, end));
        let waiting = async {
            tokio::pin!(acquire);
            let mut idle = IDLE;
            loop {
                self.shrink(clock.now().checked_sub(idle).unwrap_or_else(|| clock.now()));
                match tokio::time::timeout(SHRINK_EVERY, &mut acquire).await {
                    Ok(Ok(grant)) => return Ok(grant),
                    Ok(Err(_closed)) => {
                        return Err(Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping"));
                    }
                    Err(_elapsed) => idle = Duration::ZERO,
                }
            }
        };
        bounded(clock, ctx, "waiting for memory to read into", waiting).await
    }

    fn shrink(&self, idle_since: Instant) {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for handle in handles.iter().filter_map(Weak::upgrade) {
            handle.shrink(idle_since);
        }
    }

    /// Pages that blocks for `start..end` take.
    fn charge(&self, start: u64, end: u64) -> u32 {
        let mut pages = 0;
        let mut at = start;
        while at < end {
            let until = block_end(at, end);
            let size = if until - at > POOLED { BLOCK } else { until - at };
            pages += size.div_ceil(PAGE);
            at = until;
        }
        // A part larger than everything there is waits for everything there is.
        u32::try_from(pages).unwrap_or(u32::MAX).clamp(1, self.pages)
    }

    /// An empty block for `size` bytes.
    pub(super) fn block(&self, size: u64) -> BytesMut {
        if size <= POOLED {
            return BytesMut::with_capacity(size as usize);
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = &mut *blocks;
        if let Some(block) = blocks.ready.pop() {
            return block;
        }
        for _ in 0..blocks.returning.len() {
            match blocks.returning.pop_front().map(Bytes::try_into_mut) {
                Some(Ok(block)) => {
                    if let Some(block) = emptied(block) {
                        return block;
                    }
                }
                Some(Err(still_shown)) => blocks.returning.push_back(still_shown),
                None => break,
            }
        }
        BytesMut::with_capacity(BLOCK as usize)
    }

    /// Takes a block back: the slice of it that begins where the block does.
    pub(super) fn give_back(&self, first: Bytes) {
        match first.try_into_mut() {
            Ok(block) => self.give_back_mut(block),
            Err(still_shown) => {
                let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
                if blocks.returning.len() >= MAX_RETURNING {
                    blocks.returning.pop_front();
                }
                blocks.returning.push_back(still_shown);
            }
        }
    }

    /// Takes a block back that nobody has seen.
    pub(super) fn give_back_mut(&self, block: BytesMut) {
        if let Some(block) = emptied(block) {
            let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            // Never more than the budget would allow in use.
            if (blocks.ready.len() as u64) < u64::from(self.pages) * PAGE / BLOCK {
                blocks.ready.push(block);
            }
        }
    }
}

/// The whole block again, if it is a pooled one.
fn emptied(mut block: BytesMut) -> Option<BytesMut> {
    block.clear();
    (block.try_reclaim(BLOCK as usize) && block.capacity() >= BLOCK as usize).then_some(block)
}

/// End of the block that holds `at`, in a part that ends at `end`.
pub(super) fn block_end(at: u64, end: u64) -> u64 {
    ((at / BLOCK + 1) * BLOCK).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_once_no_slice_is_left() {
        let memory = ReadMemory::new(0);
        let mut block = memory.block(BLOCK);
        let address = block.as_ptr();
        block.extend_from_slice(&[1; BLOCK as usize]);
        let first = block.split_to(1000).freeze();
        let second = block.split().freeze();
        let shown = second.slice(5..10);
        drop((block, second));
        memory.give_back(first);
        assert_ne!(memory.block(BLOCK).as_ptr(), address, "a slice is still shown");
        drop(shown);
        let again = memory.block(BLOCK);
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (address, 0, BLOCK as usize));
    }

    #[test]
    fn charges_are_whole_pages_and_blocks() {
        let memory = ReadMemory::new(64 * BLOCK);
        let pages_per_block = (BLOCK / PAGE) as u32;
        assert_eq!(memory.charge(0, 1), 1);
        assert_eq!(memory.charge(0, 8 * BLOCK), 8 * pages_per_block);
        assert_eq!(memory.charge(0, POOLED + 1), pages_per_block);
        assert_eq!(memory.charge(BLOCK - 10, BLOCK + 10), 2);
        assert_eq!(memory.charge(0, 1000 * BLOCK), 64 * pages_per_block);
    }
}
