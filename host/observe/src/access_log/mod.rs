//! One line for each operation, for whoever reads `.wasmount/accesslog`.
//!
//! Nobody reading costs an operation one load of a number. Each reader has a bounded queue; a reader that is too slow loses
//! lines and finds one in their place that says how many.

mod line;
mod queue;

use line::HEADER;
pub(crate) use line::{escape, format};

use bytes::Bytes;
use queue::Queue;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmount_core::control::ControlStream;
use wasmount_core::ports::BoxFuture;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// Most readers at once. Each has a queue of [`queue::MAX_BYTES`].
const MAX_READERS: usize = 8;

/// After so long without a line a reader gets [`IDLE`]: it can be interrupted only between two answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// An answer has to be on its way this long before the deadline.
const MARGIN: Duration = Duration::from_millis(100);

/// What a reader gets when nothing has happened.
const IDLE: &[u8] = b"# idle\n";

/// The access log.
#[derive(Default)]
pub(crate) struct AccessLog {
    /// How many readers there are: all that is looked at while there are none.
    reading: AtomicUsize,
    queues: Mutex<Vec<Arc<Queue>>>,
    lost: AtomicU64,
}

impl AccessLog {
    /// Whether a line is worth making.
    pub(crate) fn is_read(&self) -> bool {
        self.reading.load(Ordering::Relaxed) > 0
    }

    /// How many read it.
    pub(crate) fn readers(&self) -> usize {
        self.reading.load(Ordering::Relaxed)
    }

    /// Lines that readers were too slow for, each reader counted.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Hands a line to all readers.
    pub(crate) fn publish(&self, line: String) {
        let line = Bytes::from(line);
        for queue in &*self.queues() {
            if !queue.push(line.clone()) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Reads from now on.
    ///
    /// # Errors
    /// `busy` when there are too many readers already.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Result<Reader, Error> {
        let mut queues = self.queues();
        if queues.len() >= MAX_READERS {
            let message = format!("the access log has {MAX_READERS} readers already; stop one of them");
            return Err(Error::new(ErrorKind::Busy, Blame::Caller, message));
        }
        let queue = Arc::new(Queue::default());
        queue.push(Bytes::from_static(HEADER.as_bytes()));
        queues.push(queue.clone());
        self.reading.store(queues.len(), Ordering::Relaxed);
        Ok(Reader { log: self.clone(), queue })
    }

    fn unsubscribe(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues();
        queues.retain(|other| !Arc::ptr_eq(other, queue));
        self.reading.store(queues.len(), Ordering::Relaxed);
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who reads the access log, until dropped.
pub(crate) struct Reader {
    log: Arc<AccessLog>,
    queue: Arc<Queue>,
}

impl ControlStream for Reader {
    fn next(&self, ctx: RequestCtx, size: u32) -> BoxFuture<'_, Result<Bytes, Error>> {
        let size = size as usize;
        Box::pin(async move {
            let wait = ctx.remaining(Instant::now()).saturating_sub(MARGIN).min(PATIENCE);
            if tokio::time::timeout(wait, self.queue.filled()).await.is_err() {
                self.queue.push(Bytes::from_static(IDLE));
            }
            Ok(self.queue.take(size))
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.unsubscribe(&self.queue);
    }
}

#[cfg(test)]
mod tests;
