//! How many bytes the buffers of an instance may have.

use super::too_large;
use crate::instance::Share;
use crate::limits::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmount_types::{Blame, Error, ErrorKind};

/// Digests of one instance that are computed at the same time, each on a thread.
const DIGESTS: usize = 2;

/// Bytes of all live buffers of one instance, and of its connections.
pub(crate) struct BufferBudget {
    used: AtomicUsize,
    limit: usize,
    /// Buffers, of what all instances have together.
    passing: Share,
    /// What its connections and ciphers keep.
    lasting: Share,
    /// Digests that are being computed.
    pub(super) digests: Arc<Semaphore>,
    /// Buffers that are encrypted or decrypted on threads.
    pub(crate) ciphers: Arc<Semaphore>,
    patience: Duration,
}

impl BufferBudget {
    pub(crate) fn new(limits: &Limits, passing: Share, lasting: Share) -> Arc<Self> {
        let digests = Arc::new(Semaphore::new(DIGESTS));
        let ciphers = Arc::new(Semaphore::new(limits.ciphers.clamp(1, Semaphore::MAX_PERMITS)));
        let (used, limit, patience) = (AtomicUsize::new(0), limits.buffers, limits.buffers_wait);
        Arc::new(Self { used, limit, passing, lasting, digests, ciphers, patience })
    }

    /// Takes so many bytes for a buffer until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
            return Err(too_large(format_args!(
                "more than {} bytes in live buffers; drop them earlier",
                self.limit
            )));
        }
        if !self.passing.take(bytes) {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            return Err(all_together(&self.passing));
        }
        Ok(Charge { budget: self.clone(), bytes, lasts: false })
    }

    /// Takes so many bytes for something that stays as long as the guest wants: a connection, a cipher.
    pub(crate) fn keep(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        if !self.lasting.take(bytes) {
            return Err(all_together(&self.lasting));
        }
        Ok(Charge { budget: self.clone(), bytes, lasts: true })
    }

    /// Waits for room for what is to be received, which leaves a reserve for what is to be made of it.
    pub(crate) async fn wait_to_receive(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        self.wait(bytes, self.passing.room_to_receive()).await
    }

    /// Waits for room for what is made of bytes that are there.
    pub(crate) async fn wait_to_convert(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        self.wait(bytes, self.passing.all()).await
    }

    /// What all instances have is no more than the limit of one, which therefore needs no wait of its own.
    async fn wait(self: &Arc<Self>, bytes: usize, most: u64) -> Result<Charge, Error> {
        if bytes as u64 > most {
            return Err(too_large(format_args!(
                "{bytes} bytes at once; at most {most} can be had; raise --memory"
            )));
        }
        tokio::time::timeout(self.patience, self.passing.wait(bytes, most)).await.map_err(|_| {
            let text = format!(
                "there was no room for {bytes} bytes among the buffers of plugins within {:?}; drop buffers earlier, or raise --memory",
                self.patience
            );
            Error::new(ErrorKind::TimedOut, Blame::Host, text)
        })?;
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Ok(Charge { budget: self.clone(), bytes, lasts: false })
    }
}

fn all_together(share: &Share) -> Error {
    too_large(format_args!(
        "all plugins together wanted more than the {} MiB of memory they may have for this; raise --memory",
        share.all() >> 20
    ))
}

/// A part of a budget; given back when dropped.
pub(crate) struct Charge {
    budget: Arc<BufferBudget>,
    bytes: usize,
    /// It is not for a buffer.
    lasts: bool,
}

impl Charge {
    /// Bytes it stands for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is over `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let over = self.bytes.saturating_sub(bytes);
        self.give_back(over);
        self.bytes -= over;
    }

    /// Stands for the other's bytes too, which are for a buffer as well.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    fn give_back(&self, bytes: usize) {
        if self.lasts {
            self.budget.lasting.give(bytes);
        } else {
            self.budget.used.fetch_sub(bytes, Ordering::SeqCst);
            self.budget.passing.give(bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}
