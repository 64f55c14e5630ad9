//! Bytes on their way out of the store.

use crate::ports::{Body, BoxFuture};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wasmount_pipe::Pipe;
use wasmount_types::{Blame, Error, ErrorKind, Retry};

/// A body that comes in chunks, and may break.
pub(super) struct MemoryBody {
    pub(super) rest: Bytes,
    pub(super) chunk: usize,
    pub(super) delay: Duration,
    /// Bytes after which the stream breaks: with an error, or without one (`clean`).
    pub(super) break_after: Option<usize>,
    pub(super) clean: bool,
    pub(super) _open: OpenBody,
}

/// Counts the bodies that are open.
pub(super) struct OpenBody(Arc<AtomicUsize>);

impl OpenBody {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl MemoryBody {
    async fn advance(&mut self, max: usize) -> Option<Result<Bytes, Error>> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.break_after == Some(0) {
            let message = "the connection was reset in the middle of the answer";
            let error = Error::new(ErrorKind::Unavailable, Blame::Origin, message);
            return (!self.clean).then(|| Err(error.with_retry(Retry::AfterMs(0))));
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut length = self.rest.len().min(self.chunk.max(1)).min(max);
        if let Some(left) = &mut self.break_after {
            length = length.min(*left);
            *left -= length;
        }
        Some(Ok(self.rest.split_to(length)))
    }
}

impl Body for MemoryBody {
    fn len(&self) -> Option<u64> {
        Some(self.rest.len() as u64)
    }

    fn read_into<'a>(&'a mut self, into: &'a mut BytesMut) -> BoxFuture<'a, Option<Result<usize, Error>>> {
        Box::pin(async move {
            let room = into.capacity() - into.len();
            let piece = self.advance(room).await?;
            Some(piece.map(|bytes| {
                into.extend_from_slice(&bytes);
                bytes.len()
            }))
        })
    }

    fn take(&mut self, least: usize, most: usize) -> Option<Result<Bytes, Error>> {
        let at_once = self.chunk >= least && self.delay.is_zero() && self.break_after.is_none();
        let length = self.rest.len().min(self.chunk).min(most);
        (at_once && length >= least).then(|| Ok(self.rest.split_to(length)))
    }

    fn pours(&self) -> bool {
        true
    }

    fn pour<'a>(
        &'a mut self,
        pipe: &'a mut Pipe,
        most: usize,
    ) -> BoxFuture<'a, Option<Result<usize, Error>>> {
        Box::pin(async move {
            let whole = self.rest.clone();
            Some(match self.advance(most).await? {
                Ok(bytes) => {
                    let pushed = pipe.push(&bytes).unwrap_or(0);
                    // What the pipe has no room for comes next.
                    self.rest = whole.slice(pushed..);
                    if let Some(left) = &mut self.break_after {
                        *left += bytes.len() - pushed;
                    }
                    Ok(pushed)
                }
                Err(error) => Err(error),
            })
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, Error>>> {
        Box::pin(self.advance(usize::MAX))
    }
}
