//! Sending.

use super::wire::{Sink, Wire};
use crate::http::stats::Counters;
use crate::timer::sleep;
use bytes::{Buf as _, Bytes};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Sleep;

/// Pieces given to the kernel at once. More than any frame has; the kernel would take 1024 (`IOV_MAX`).
const GATHERED: usize = 64;

/// The sending half of a connection.
pub(super) struct Writer {
    sink: Sink,
    counters: Arc<Counters>,
    handle: Handle,
    /// Longest time in which the other side may take nothing.
    stall: Duration,
    /// Our direction was ended.
    pub(super) finished: bool,
}

/// Why something was not sent.
pub(super) enum Unsent {
    /// The other side took nothing for so long.
    Stalled(Duration),
    Io(io::Error),
}

impl Writer {
    pub(super) fn new(sink: Sink, counters: Arc<Counters>, handle: Handle, stall: Duration) -> Self {
        Self { sink, counters, handle, stall, finished: false }
    }

    /// Sends all pieces in order; returns when the kernel has them.
    pub(super) async fn write(&mut self, mut pieces: VecDeque<Bytes>) -> Result<(), Unsent> {
        pieces.retain(|piece| !piece.is_empty());
        while !pieces.is_empty() {
            let Self { sink, handle, stall, .. } = self;
            let mut slices = [IoSlice::new(&[]); GATHERED];
            let count =
                slices.iter_mut().zip(&pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            let gathered = slices.get(..count).unwrap_or_default();
            let sent = within(handle, *stall, |cx| sink.poll_write(cx, gathered)).await?;
            if sent == 0 {
                return Err(Unsent::Io(io::ErrorKind::WriteZero.into()));
            }
            self.counters.tcp_bytes_sent.fetch_add(sent as u64, Ordering::Relaxed);
            consume(&mut pieces, sent);
        }
        let Self { sink, handle, stall, .. } = self;
        within(handle, *stall, |cx| sink.poll_flush(cx)).await
    }

    /// Ends our direction.
    pub(super) async fn finish(&mut self, wire: &Wire) -> Result<(), Unsent> {
        let Self { sink, handle, stall, .. } = self;
        within(handle, *stall, |cx| sink.poll_close(cx, wire)).await?;
        self.finished = true;
        Ok(())
    }
}

/// Removes so many bytes from the front.
fn consume(pieces: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(first) = pieces.front_mut() {
        if sent < first.len() {
            first.advance(sent);
            return;
        }
        sent -= first.len();
        pieces.pop_front();
    }
}

/// Polls until it is ready, or for as long as `stall`.
async fn within<T>(
    handle: &Handle,
    stall: Duration,
    mut poll: impl FnMut(&mut std::task::Context<'_>) -> Poll<io::Result<T>>,
) -> Result<T, Unsent> {
    // Made only for what has to wait: the kernel usually has room.
    let mut timer: Pin<&mut Option<Sleep>> = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(done) = poll(cx) {
            return Poll::Ready(done.map_err(Unsent::Io));
        }
        if timer.is_none() {
            timer.set(Some(sleep(handle, stall)));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| Err(Unsent::Stalled(stall))),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_taken_from_the_front() {
        let mut pieces = VecDeque::from([Bytes::from("abc"), Bytes::from("defg"), Bytes::from("h")]);
        consume(&mut pieces, 2);
        assert_eq!(pieces, ["c", "defg", "h"]);
        consume(&mut pieces, 3);
        assert_eq!(pieces, ["fg", "h"]);
        consume(&mut pieces, 3);
        assert!(pieces.is_empty());
    }
}
