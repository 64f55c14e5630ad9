//! The body of a response.

use super::framing::{Framing, Next};
use super::pool::Lease;
use crate::failure::{find, timed_out, unavailable};
use crate::fill::Fill as _;
use crate::limits::NetLimits;
use crate::timer::sleep;
use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use futures::ready;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmount_pipe::{Filled, Pipe};
use wasmount_types::{Blame, Error, ErrorKind};

/// Pieces below this size are copied out of a buffer that would otherwise be kept as a whole for them.
const SMALL: usize = 16 * 1024;

/// Content that is still arriving. It holds its connection until it was read to the end, and is read from the socket by
/// whoever asks for it.
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
    origin: Arc<str>,
}

struct Source {
    lease: Lease,
    framing: Framing,
    reusable: bool,
    /// Memory for those who bring none.
    spare: BytesMut,
}

/// Why a body has no next bytes.
enum Broken {
    Io(io::Error),
    Closed,
    Malformed(&'static str),
}

impl Source {
    fn finish(self) {
        if self.reusable {
            self.lease.give_back();
        }
    }

    /// What can be taken next. Receives what lies between chunks.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u64>, Broken>> {
        loop {
            let connection = &mut self.lease.connection;
            match self.framing.next(connection.buffer.bytes_mut()).map_err(Broken::Malformed)? {
                Next::End => return Poll::Ready(Ok(None)),
                Next::Content(most) => return Poll::Ready(Ok(Some(most))),
                Next::More => match ready!(connection.buffer.poll_fill(cx, &mut connection.socket)) {
                    Ok(0) => return Poll::Ready(Err(Broken::Closed)),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(Broken::Io(error))),
                },
            }
        }
    }

    /// Appends the next bytes to `into`, 0 at the end.
    fn poll_into(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<Result<usize, Broken>> {
        let Some(most) = ready!(self.poll_ready(cx))? else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(into.capacity() - into.len());
        let connection = &mut self.lease.connection;
        let there = connection.buffer.bytes().len();
        let count = if there > 0 {
            let count = most.min(there);
            into.put(connection.buffer.bytes_mut().split_to(count));
            count
        } else {
            match ready!(connection.socket.poll_fill(cx, into, most)) {
                Ok(0) if self.framing == Framing::UntilClose => return Poll::Ready(Ok(0)),
                Ok(0) => return Poll::Ready(Err(Broken::Closed)),
                Ok(count) => count,
                Err(error) => return Poll::Ready(Err(Broken::Io(error))),
            }
        };
        self.framing.took(count);
        Poll::Ready(Ok(count))
    }

    /// Whether its bytes can be moved into a pipe: on a connection without TLS, where nothing lies between them.
    fn pours(&self) -> bool {
        matches!(self.framing, Framing::Length(_)) && self.lease.connection.socket.is_plain()
    }

    /// Moves the next bytes, at most `most`, into `pipe`; 0 when that is full.
    fn poll_pour(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<Result<usize, Broken>> {
        let Some(left) = ready!(self.poll_ready(cx))? else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(most);
        let connection = &mut self.lease.connection;
        let there = connection.buffer.bytes().get(..most).unwrap_or(connection.buffer.bytes());
        let count = if there.is_empty() {
            match ready!(connection.socket.poll_pour(cx, pipe, most)).map_err(Broken::Io)? {
                Filled::Bytes(count) => count,
                Filled::Full => 0,
                Filled::End => return Poll::Ready(Err(Broken::Closed)),
            }
        } else {
            // They came with the head.
            let count = pipe.push(there).map_err(Broken::Io)?;
            connection.buffer.bytes_mut().advance(count);
            count
        };
        self.framing.took(count);
        Poll::Ready(Ok(count))
    }

    /// The next bytes in memory of their own, `None` at the end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, piece: usize) -> Poll<Result<Option<Bytes>, Broken>> {
        let Some(most) = ready!(self.poll_ready(cx))? else { return Poll::Ready(Ok(None)) };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let connection = &mut self.lease.connection;
        let there = connection.buffer.bytes().len();
        if there > 0 {
            let count = most.min(there);
            self.framing.took(count);
            if count < SMALL {
                return Poll::Ready(Ok(Some(
                    connection.buffer.bytes_mut().split_to(count).freeze().to_vec().into(),
                )));
            }
            return Poll::Ready(Ok(Some(connection.buffer.split(count))));
        }
        let room = most.min(piece.max(1));
        if self.spare.capacity() < room {
            self.spare = BytesMut::with_capacity(room);
        }
        let mut spare = std::mem::take(&mut self.spare);
        let polled = self.poll_into(cx, &mut spare);
        let bytes = match polled {
            Poll::Ready(Ok(0)) => None,
            // What is left of it is used for the next piece.
            Poll::Ready(Ok(count)) if count >= SMALL => Some(spare.split_to(count).freeze()),
            Poll::Ready(Ok(_)) => Some(Bytes::copy_from_slice(&spare)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                self.spare = spare;
                return Poll::Pending;
            }
        };
        spare.clear();
        self.spare = spare;
        Poll::Ready(Ok(bytes))
    }
}

impl ResponseBody {
    pub(super) fn new(
        lease: Lease,
        framing: Framing,
        reusable: bool,
        handle: Handle,
        limits: Arc<NetLimits>,
        origin: Arc<str>,
    ) -> Self {
        let length = framing.left();
        let source = Source { lease, framing, reusable, spare: BytesMut::new() };
        let mut body =
            Self { source: None, length, received: 0, timer: None, waiting: false, handle, limits, origin };
        if framing.is_done() {
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
        let piece = self.limits.read_buffer;
        poll_fn(|cx| self.poll(cx, |source, cx| source.poll_bytes(cx, piece), Bytes::len)).await
    }

    /// Appends what is there to `into`, and returns how much: at least one byte and at most what it has room for, which must
    /// not be nothing. Received straight into this memory, but for the first bytes of a body, which came with the head. `None`
    /// after the last; the connection is free for others as soon as the last byte is here, where the length was announced.
    ///
    /// # Errors
    /// Those of [`Self::next`].
    ///
    /// # Cancellation safety
    /// Dropping the future loses nothing.
    pub async fn read_into(&mut self, into: &mut BytesMut) -> Option<Result<usize, Error>> {
        let take = |source: &mut Source, cx: &mut Context<'_>, into: &mut BytesMut| {
            let count = ready!(source.poll_into(cx, into))?;
            Poll::Ready(Ok((count > 0).then_some(count)))
        };
        poll_fn(|cx| self.poll(cx, |source, cx| take(source, cx, into), |count| *count)).await
    }

    /// Whether [`Self::pour`] works.
    pub fn pours(&self) -> bool {
        self.source.as_ref().is_some_and(Source::pours)
    }

    /// Moves what is there, at most `most` bytes, from the socket into `pipe`, and returns how much: 0 when the pipe is full. `None` after the
    /// last byte.
    ///
    /// # Errors
    /// Those of [`Self::next`].
    ///
    /// # Cancellation safety
    /// Dropping the future loses nothing.
    pub async fn pour(&mut self, pipe: &mut Pipe, most: usize) -> Option<Result<usize, Error>> {
        poll_fn(|cx| {
            let take = |source: &mut Source, cx: &mut Context<'_>| {
                source.poll_pour(cx, pipe, most).map(|poured| poured.map(Some))
            };
            self.poll(cx, take, |count| *count)
        })
        .await
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Source, &mut Context<'_>) -> Poll<Result<Option<T>, Broken>>,
        length: impl FnOnce(&T) -> usize,
    ) -> Poll<Option<Result<T, Error>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let Poll::Ready(taken) = take(source, cx) else {
            ready!(self.poll_silence(cx));
            let limit = self.limits.body_idle;
            let message = format!("{}: nothing came for {limit:?} after {}", self.origin, self.so_far());
            self.source = None;
            return Poll::Ready(Some(Err(timed_out(message))));
        };
        self.waiting = false;
        let done = source.framing.is_done();
        match taken {
            Ok(Some(taken)) => {
                let count = length(&taken) as u64;
                self.received += count;
                source.lease.connection.counters.bytes_received.fetch_add(count, Ordering::Relaxed);
                if done && let Some(source) = self.source.take() {
                    source.finish();
                }
                Poll::Ready(Some(Ok(taken)))
            }
            Ok(None) => {
                if let Some(source) = self.source.take() {
                    source.finish();
                }
                Poll::Ready(None)
            }
            Err(broken) => {
                self.source = None;
                Poll::Ready(Some(Err(self.broken(&broken))))
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
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(&self.handle, limit)));
        if !self.waiting {
            timer.as_mut().reset(tokio::time::Instant::now() + limit);
            self.waiting = true;
        }
        timer.as_mut().poll(cx)
    }

    fn broken(&self, broken: &Broken) -> Error {
        let why = match broken {
            Broken::Closed => "the server closed the connection".to_owned(),
            // What TLS calls a connection that was closed without a word.
            Broken::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the server closed the connection".to_owned()
            }
            Broken::Io(error) => match find::<rustls::Error>(error) {
                Some(tls) => format!("the body could not be read ({tls})"),
                None => format!("the connection broke ({error})"),
            },
            Broken::Malformed(what) => format!("the body could not be read ({what})"),
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
            let drained = tokio::time::timeout(patience, drain(&mut source, limit)).await;
            if drained == Ok(true) {
                source.finish();
            }
        });
    }
}

/// Reads to the end; false: there is more than `limit`, or the connection broke.
async fn drain(source: &mut Source, limit: u64) -> bool {
    let (mut seen, mut scrap) = (0, BytesMut::with_capacity(SMALL));
    loop {
        scrap.clear();
        match poll_fn(|cx| source.poll_into(cx, &mut scrap)).await {
            Ok(0) => return true,
            Ok(count) => seen += count as u64,
            Err(_) => return false,
        }
        if seen > limit {
            return false;
        }
    }
}
