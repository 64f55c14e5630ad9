//! One contiguous stretch of a file on its way into memory, or there.

use super::content::{Content, Failure, Taking};
use super::file::File;
use super::piece::Shown;
use super::stats::add;
use crate::ports::ServedFrom;
use futures::future::AbortHandle;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

/// A stretch of a file that is being fetched, or is there. All handles of the file share it; dropping the last reference
/// cancels the fetch.
pub(super) struct Part {
    /// First byte.
    pub(super) start: u64,
    /// Byte after the last one.
    pub(super) end: u64,
    /// When it was read last, by the clock of what is kept.
    pub(super) used: AtomicU64,
    /// Whether it is among what is kept.
    pub(super) kept: AtomicBool,
    /// Bytes that were given to readers, counted again for each time.
    delivered: AtomicU64,
    content: Arc<Content>,
    /// It was to be fetched; keeps the file findable for as long as there are bytes of it.
    file: Arc<File>,
    fetch: AbortHandle,
}

impl Part {
    pub(super) fn new(file: Arc<File>, content: Arc<Content>, fetch: AbortHandle) -> Self {
        Self {
            start: content.start,
            end: content.end,
            used: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            content,
            file,
            fetch,
        }
    }

    /// Whether this is what its bytes are put into.
    pub(super) fn is_of(&self, content: &Content) -> bool {
        std::ptr::eq(&*self.content, content)
    }

    /// Pages of the budget that it takes.
    pub(super) fn pages(&self) -> u64 {
        self.file.reading.memory.charge(self.start, self.end).into()
    }

    /// Whether readers have had as many bytes as there are.
    pub(super) fn is_delivered(&self) -> bool {
        self.delivered.load(Ordering::Relaxed) >= self.end - self.start
    }

    /// Nobody was to read it: that its bytes were not read is no waste.
    pub(super) fn delivered_all(&self) {
        self.delivered.store(self.end - self.start, Ordering::Relaxed);
    }

    /// Whether all bytes are there.
    pub(super) fn is_complete(&self) -> bool {
        self.content.filled() >= self.end
    }

    /// Whether bytes are still to come.
    pub(super) fn is_in_flight(&self) -> bool {
        !self.is_complete() && !self.is_failed()
    }

    /// Whether it is worth keeping for those who open the file later. What passes through pipes is gone once it is read.
    pub(super) fn is_lasting(&self) -> bool {
        self.file.lasting && !self.content.is_piped()
    }

    /// Whether some bytes will never come.
    pub(super) fn is_failed(&self) -> bool {
        self.content.failure().is_some()
    }

    /// Whether some of `from..to` is with one who has read it: who reads it again has to fetch it again.
    pub(super) fn is_given_away(&self, from: u64, to: u64) -> bool {
        self.content.is_given_away(from, to)
    }

    /// The bytes `from..to`, which lie in this part, once they are there, and where the last of them came from.
    pub(super) async fn read(
        &self,
        from: u64,
        to: u64,
        taking: Taking,
    ) -> Result<(Shown, ServedFrom), Failure> {
        let mut waited = false;
        let shown = poll_fn(|context| {
            let poll = self.content.poll(context, from, to, taking);
            waited |= poll.is_pending();
            poll
        })
        .await?;
        let before = self.delivered.fetch_add(to - from, Ordering::Relaxed);
        if before > 0 {
            self.used.store(self.file.reading.memory.kept.tick(), Ordering::Relaxed);
        }
        Ok((shown, if waited { self.content.source() } else { ServedFrom::Memory }))
    }

    /// Where the last bytes that have arrived came from.
    pub(super) fn source(&self) -> ServedFrom {
        self.content.source()
    }

    /// Waits until all bytes are there, or will not come. Shows none of them.
    pub(super) async fn settled(&self) {
        poll_fn(|context| {
            if self.is_complete() {
                return Poll::Ready(());
            }
            // The last byte alone: what is shown is dropped at once.
            self.content.poll(context, self.end - 1, self.end, Taking::Memory).map(drop)
        })
        .await;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.fetch.abort();
        let arrived = self.content.filled() - self.start;
        let unused = arrived.saturating_sub(self.delivered.load(Ordering::Relaxed));
        if unused > 0 && self.content.source() == ServedFrom::Origin {
            add(&self.file.reading.counters.bytes_prefetched_unused, unused);
        }
    }
}
