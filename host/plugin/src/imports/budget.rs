//! How many bytes the buffers of an instance may have.

use super::too_large;
use crate::instance::Share;
use crate::limits::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use wasmount_types::{Blame, Error, ErrorKind};

/// Digests of one instance that are computed at the same time, each on a thread.
const DIGESTS: usize = 2;

/// Bytes of all live buffers of one instance.
pub(crate) struct BufferBudget {
    used: AtomicUsize,
    limit: usize,
    /// Of what all instances have together.
    share: Share,
    /// Digests that are being computed.
    pub(super) digests: Arc<Semaphore>,
    /// Buffers that are encrypted or decrypted on threads.
    pub(crate) ciphers: Arc<Semaphore>,
    /// Those who wait for room take turns: a large piece would otherwise wait until there are no small ones. Two queues, since
    /// what is received waits for room that only what converts it gives back.
    receiving: Mutex<()>,
    converting: Mutex<()>,
    patience: Duration,
}

impl BufferBudget {
    pub(crate) fn new(limits: &Limits, share: Share) -> Arc<Self> {
        let digests = Arc::new(Semaphore::new(DIGESTS));
        let ciphers = Arc::new(Semaphore::new(limits.ciphers.clamp(1, Semaphore::MAX_PERMITS)));
        let (used, limit, patience) = (AtomicUsize::new(0), limits.buffers, limits.buffers_wait);
        let (receiving, converting) = (Mutex::new(()), Mutex::new(()));
        Arc::new(Self { used, limit, share, digests, ciphers, receiving, converting, patience })
    }

    /// Takes so many bytes until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
            return Err(too_large(format_args!(
                "more than {} bytes in live buffers; drop them earlier",
                self.limit
            )));
        }
        if !self.share.take(bytes) {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            return Err(too_large(format_args!(
                "all plugins together wanted more than the {} MiB of memory they may have; raise --memory",
                self.share.mib()
            )));
        }
        Ok(Charge { budget: self.clone(), bytes })
    }

    /// Waits for room for what is to be received, and leaves a quarter of all for what is to be made of it: what was received
    /// encrypted could otherwise fill everything, and nothing of it could be decrypted.
    pub(crate) async fn wait_to_receive(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        let most = self.limit - self.limit / 4;
        let share = |share: &Share| share.take_leaving_reserve(bytes);
        self.wait(&self.receiving, bytes, most, share).await
    }

    /// Waits for room for what is made of bytes that are there.
    pub(crate) async fn wait_to_convert(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        self.wait(&self.converting, bytes, self.limit, |share: &Share| share.take(bytes)).await
    }

    async fn wait(
        self: &Arc<Self>,
        queue: &Mutex<()>,
        bytes: usize,
        most: usize,
        take_share: impl Fn(&Share) -> bool,
    ) -> Result<Charge, Error> {
        if bytes > most {
            return Err(too_large(format_args!(
                "{bytes} bytes at once; at most {most} can be had; raise --memory"
            )));
        }
        let room = async {
            let _turn = queue.lock().await;
            loop {
                // Looked at only after this: what is given back in between is not missed.
                let mut freed = std::pin::pin!(self.share.freed());
                freed.as_mut().enable();
                let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= most);
                if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok() {
                    if take_share(&self.share) {
                        return Charge { budget: self.clone(), bytes };
                    }
                    self.used.fetch_sub(bytes, Ordering::SeqCst);
                }
                freed.await;
            }
        };
        tokio::time::timeout(self.patience, room).await.map_err(|_| {
            let text = format!(
                "there was no room for {bytes} bytes among the buffers of plugins within {:?}; drop buffers earlier, or raise --memory",
                self.patience
            );
            Error::new(ErrorKind::TimedOut, Blame::Host, text)
        })
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.share.give(bytes);
    }
}

/// A part of a budget; given back when dropped.
pub(crate) struct Charge {
    budget: Arc<BufferBudget>,
    bytes: usize,
}

impl Charge {
    /// Bytes it stands for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is over `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let over = self.bytes.saturating_sub(bytes);
        self.budget.give_back(over);
        self.bytes -= over;
    }

    /// Stands for the other's bytes too.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}
