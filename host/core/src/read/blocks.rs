//! Blocks of memory that are used again, and what keeps one from being used again too early.
//!
//! Fresh memory costs a page fault per 4 KiB, which is the largest single cost of reading fast: a block that comes back is
//! kept for the next part. Whoever shows a slice of a block keeps it [`Held`]: when the last slice is gone the block goes back
//! to the pool and its share of the budget to whoever waits for it, in this order, so the budget is what is really in use.
//!
//! Blocks begin at a multiple of 4096 in memory, so that a cache may write them without a copy by the kernel.

use bytes::{Buf, Bytes, BytesMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// Size of a pooled block; parts are cut into such, from their start on.
pub(super) const BLOCK: u64 = 1024 * 1024;
/// Unit of the budget, and of what is fetched.
pub(super) const PAGE: u64 = 4096;
/// Smallest piece that is worth a pooled block.
pub(super) const POOLED: u64 = BLOCK / 4;

/// A share of the budget; dropping it gives it back.
pub(super) type Grant = OwnedSemaphorePermit;

/// Blocks that nobody uses at the moment.
pub(super) struct Pool {
    ready: Mutex<Vec<BytesMut>>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { ready: Mutex::default() }
    }

    /// Empty room for `size` bytes, at most a block.
    pub(super) fn block(&self, size: u64) -> BytesMut {
        if size <= POOLED {
            return BytesMut::with_capacity(size as usize);
        }
        if let Some(block) = self.lock().pop() {
            return block;
        }
        aligned(BytesMut::with_capacity((BLOCK + PAGE) as usize))
    }

    /// Takes a block back that nobody else has a slice of.
    pub(super) fn give_back(&self, mut block: BytesMut) {
        block.clear();
        if !block.try_reclaim(BLOCK as usize) {
            return;
        }
        let block = aligned(block);
        if block.capacity() as u64 >= BLOCK {
            self.lock().push(block);
        }
    }

    /// Gives memory back to the system until no more than `bytes` lie here: what lies here and what is in use must not be
    /// more than the budget together.
    pub(super) fn trim(&self, bytes: u64) {
        let surplus = {
            let mut ready = self.lock();
            let keep = ((bytes / BLOCK) as usize).min(ready.len());
            ready.split_off(keep)
        };
        drop(surplus);
    }

    /// Bytes that lie here.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.lock().len() as u64 * BLOCK
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The block without what lies before its first aligned address.
fn aligned(mut block: BytesMut) -> BytesMut {
    let address = block.as_ptr() as usize;
    let pad = address.next_multiple_of(PAGE as usize) - address;
    if pad > 0 && block.capacity() >= pad + BLOCK as usize {
        block.resize(pad, 0);
        block.advance(pad);
    }
    block
}

/// Keeps one block, and its share of the budget, from being used again.
pub(super) struct Held {
    pool: Arc<Pool>,
    /// The slice of the block that begins where it does: what gives it back.
    anchor: OnceLock<Bytes>,
    _grant: Option<Grant>,
}

impl Held {
    pub(super) fn new(pool: Arc<Pool>, grant: Option<Grant>) -> Arc<Self> {
        Arc::new(Self { pool, anchor: OnceLock::new(), _grant: grant })
    }

    /// Gives the block its first slice to come back by. Later ones are ignored.
    pub(super) fn anchor(&self, first: &Bytes) {
        self.anchor.get_or_init(|| first.clone());
    }

    /// Whether the block has a slice to come back by.
    pub(super) fn is_anchored(&self) -> bool {
        self.anchor.get().is_some()
    }

    /// Bytes that keep this held as long as there is a slice of them.
    pub(super) fn show(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Shown { bytes, _held: self.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Ok(block)) = self.anchor.take().map(Bytes::try_into_mut) {
            self.pool.give_back(block);
        }
    }
}

/// An answer that lies in no single block: a copy of its pieces, at first without any.
pub(super) struct Seam {
    /// What it has so far.
    pub(super) bytes: BytesMut,
    held: Arc<Held>,
}

impl Seam {
    /// Room for `size` bytes, from the pool where a block is enough.
    pub(super) fn new(pool: &Arc<Pool>, grant: Option<Grant>, size: u64) -> Self {
        let bytes = if size <= BLOCK { pool.block(size) } else { BytesMut::with_capacity(size as usize) };
        Self { bytes, held: Held::new(pool.clone(), grant) }
    }

    /// All of it; it is empty from then on.
    pub(super) fn finish(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes).freeze();
        self.held.anchor(&bytes);
        self.held.show(bytes)
    }
}

struct Shown {
    // Goes first: the block can be used again only when no slice of it is left.
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Shown {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// End of the block that holds `at`, in the part `start..end`.
pub(super) fn block_end(start: u64, at: u64, end: u64) -> u64 {
    (at - (at - start) % BLOCK).saturating_add(BLOCK).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_once_no_slice_is_left() {
        let pool = Arc::new(Pool::new());
        let held = Held::new(pool.clone(), None);
        let mut block = pool.block(BLOCK);
        let address = block.as_ptr();
        assert!((address as usize).is_multiple_of(PAGE as usize), "aligned");
        block.extend_from_slice(&[1; BLOCK as usize]);
        let first = block.split_to(1000).freeze();
        held.anchor(&first);
        let second = block.split().freeze();
        let shown = held.show(second.slice(5..10));
        drop((block, first, second, held));
        assert_ne!(pool.block(BLOCK).as_ptr(), address, "a slice is still shown");
        assert_eq!(shown, [1; 5][..]);
        drop(shown);
        for _ in 0..3 {
            let again = pool.block(BLOCK);
            assert_eq!((again.as_ptr(), again.len()), (address, 0));
            assert!(again.capacity() as u64 >= BLOCK);
            pool.give_back(again);
        }
        pool.trim(BLOCK - 1);
        assert_eq!(pool.bytes(), 0);
    }
}
