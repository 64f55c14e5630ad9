//! The body of a response.

use super::error::{find, timed_out, unavailable};
use super::pool::Lease;
use super::timer::sleep;
use crate::limits::NetLimits;
use bytes::{Bytes, BytesMut};
use futures::ready;
use hyper::body::{Body, Incoming};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmount_types::{Blame, Error, ErrorKind};

/// Content that is still arriving. It holds its connection until it was read to the end.
///
/// Dropping it unread gives the connection back if little is left and comes at once
/// ([`NetLimits::drain_bytes`], [`NetLimits::drain_time`]), else closes it.
pub struct ResponseBody {
    /// `None` after the end or an error.
    source: Option<Source>,
    length: Option<u64>,
    received: u64,
    /// Made when it is first needed, then wound up again: most pieces are already there when they are asked for.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    handle: Handle,
    limits: Arc<NetLimits>,
    origin: String,
}

struct Source {
    incoming: Incoming,
    lease: Lease,
    reusable: bool,
}

impl Source {
    fn finish(self) {
        if self.reusable {
            self.lease.give_back();
        }
    }
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease,
        reusable: bool,
        handle: Handle,
        limits: Arc<NetLimits>,
        origin: String,
    ) -> Self {
        let length = incoming.size_hint().exact();
        let source = Source { incoming, lease, reusable };
        let mut body =
            Self { source: None, length, received: 0, timer: None, waiting: false, handle, limits, origin };
        if source.incoming.is_end_stream() {
            source.finish();
        } else {
            body.source = Some(source);
        }
        body
    }

    /// Total bytes, as the head promised; `None` when it did not (chunked, or until the connection closes).
    pub fn len(&self) -> Option<u64> {
        self.length
    }

    /// Whether it is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.length == Some(0)
    }

    /// Bytes that [`Self::next`] has returned so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next piece, never empty; `None` after the last. After an error there is nothing more.
    ///
    /// # Errors
    /// `unavailable`, blame `origin`: the connection broke before the end. `timed-out`, blame `origin`: nothing came for
    /// [`NetLimits::body_idle`].
    ///
    /// # Cancellation safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Self::next`] as a poll function.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let Some(source) = &mut self.source else { return Poll::Ready(None) };
            let Poll::Ready(frame) = Pin::new(&mut source.incoming).poll_frame(cx) else {
                ready!(self.poll_silence(cx));
                let limit = self.limits.body_idle;
                let message = format!("{}: nothing came for {limit:?} after {}", self.origin, self.so_far());
                self.source = None;
                return Poll::Ready(Some(Err(timed_out(message))));
            };
            self.waiting = false;
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not passed on.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    self.received += data.len() as u64;
                    if source.incoming.is_end_stream()
                        && let Some(source) = self.source.take()
                    {
                        source.finish();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                None => {
                    if let Some(source) = self.source.take() {
                        source.finish();
                    }
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.source = None;
                    return Poll::Ready(Some(Err(self.broken(&error))));
                }
            }
        }
    }

    /// Everything that is left, if that is at most `limit` bytes.
    ///
    /// # Errors
    /// `too-large`, blame `origin`: it is more. Those of [`Self::next`].
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        let too_large = |origin: &str| {
            let message = format!("{origin}: the response is longer than the {limit} bytes it may have");
            Error::new(ErrorKind::TooLarge, Blame::Origin, message)
        };
        let left = self.length.map(|length| usize::try_from(length - self.received).unwrap_or(usize::MAX));
        if left.is_some_and(|left| left > limit) {
            return Err(too_large(&self.origin));
        }
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        if left == Some(first.len()) {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(left.unwrap_or(first.len()));
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            if whole.len() + bytes.len() > limit {
                return Err(too_large(&self.origin));
            }
            whole.extend_from_slice(&bytes);
            piece = self.next().await.transpose()?;
        }
        Ok(whole.freeze())
    }

    /// Ready when nothing has come for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limits.body_idle;
        let timer = self.timer.get_or_insert_with(|| sleep(&self.handle, limit));
        if !self.waiting {
            timer.as_mut().reset(tokio::time::Instant::now() + limit);
            self.waiting = true;
        }
        timer.as_mut().poll(cx)
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        let why = match find::<io::Error>(error) {
            Some(io) if io.kind() != io::ErrorKind::UnexpectedEof => format!("the connection broke ({io})"),
            _ if error.is_incomplete_message() || find::<io::Error>(error).is_some() => {
                "the server closed the connection".to_owned()
            }
            _ => format!("the body could not be read ({error})"),
        };
        unavailable(format!("{}: {why} after {}", self.origin, self.so_far()), 0)
    }

    fn so_far(&self) -> String {
        match self.length {
            Some(length) => format!("{} of {length} bytes", self.received),
            None => format!("{} bytes of unknown length", self.received),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseBody({}, {})", self.origin, self.so_far())
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(mut source) = self.source.take() else { return };
        let limit = self.limits.drain_bytes;
        let left = self.length.map(|length| length - self.received);
        if !source.reusable || left.is_some_and(|left| left > limit) {
            return;
        }
        let patience = self.limits.drain_time;
        self.handle.spawn(async move {
            let drained = tokio::time::timeout(patience, drain(&mut source.incoming, limit)).await;
            if drained == Ok(true) {
                source.finish();
            }
        });
    }
}

/// Reads to the end; false: there is more than `limit`, or the connection broke.
async fn drain(incoming: &mut Incoming, limit: u64) -> bool {
    let mut seen = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await {
        let Ok(frame) = frame else { return false };
        seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if seen > limit {
            return false;
        }
    }
    true
}
