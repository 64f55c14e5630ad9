//! A request on its way out.

use super::RequestBody;
use super::socket::Socket;
use bytes::{Buf, Bytes};
use futures::stream::BoxStream;
use futures::{StreamExt, ready};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use wasmount_types::{Blame, Error, ErrorKind};

/// Pieces given to the system at once.
const MOST_SLICES: usize = 16;

/// Bytes that are taken from the source before the first of them is written.
const AHEAD: usize = 256 * 1024;

/// What the sender of a request knows about its way out.
#[derive(Default)]
pub(super) struct Progress {
    /// A connection is there.
    connected: AtomicBool,
    /// Something may have left.
    head_sent: AtomicBool,
    /// Milliseconds from `started` to the last time that a part of the body went out.
    last_piece: AtomicU64,
    started: OnceLock<Instant>,
}

impl Progress {
    pub(super) fn mark_connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn head_sent(&self) -> bool {
        self.head_sent.load(Ordering::Relaxed)
    }

    /// When the body last moved, if it has.
    pub(super) fn last_piece(&self) -> Option<Instant> {
        let started = self.started.get()?;
        Some(*started + Duration::from_millis(self.last_piece.load(Ordering::Relaxed)))
    }

    fn mark_sent(&self) {
        self.head_sent.store(true, Ordering::Relaxed);
    }

    fn mark_piece(&self) {
        let elapsed = self.started.get_or_init(Instant::now).elapsed();
        self.last_piece.store(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Why a request did not get out.
pub(super) enum Unsent {
    /// The connection broke.
    Io(io::Error),
    /// Its body could not be produced.
    Own(Error),
}

/// The bytes of a request.
pub(super) struct Outgoing {
    /// What is to be written next, head first.
    wire: VecDeque<Bytes>,
    content: Content,
    /// Each piece is framed as a chunk.
    chunked: bool,
    /// The body waits until the server has said `100 Continue`.
    held: bool,
    /// All of the body is in `wire`, or has left.
    ended: bool,
    flushed: bool,
    has_written: bool,
}

enum Content {
    Chunks(VecDeque<Bytes>),
    Stream { pieces: BoxStream<'static, Result<Bytes, Error>>, left: Option<u64> },
}

impl Outgoing {
    /// `head` is the whole head of the request, which announces `body` as [`body_length`] says.
    pub(super) fn new(head: Vec<u8>, body: Option<RequestBody>, held: bool) -> Self {
        let (content, chunked) = match body {
            None => (Content::Chunks(VecDeque::new()), false),
            Some(RequestBody::Chunks(pieces)) => {
                (Content::Chunks(pieces.into_iter().filter(|piece| !piece.is_empty()).collect()), false)
            }
            Some(RequestBody::Stream { length, pieces }) => {
                (Content::Stream { pieces, left: length }, length.is_none())
            }
        };
        let ended = matches!(&content, Content::Chunks(pieces) if pieces.is_empty());
        let wire = VecDeque::from([Bytes::from(head)]);
        Self { wire, content, chunked, held, ended, flushed: false, has_written: false }
    }

    /// Whether everything has left.
    pub(super) fn is_sent(&self) -> bool {
        self.flushed && self.ended && self.wire.is_empty()
    }

    /// Whether anything has left.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    /// Whether only the go-ahead for the body is missing.
    pub(super) fn is_held(&self) -> bool {
        self.held && self.wire.is_empty()
    }

    /// Lets the body go.
    pub(super) fn release(&mut self) {
        self.held = false;
    }

    /// Writes as much as there is. Ready when everything has left.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        progress: &Progress,
    ) -> Poll<Result<(), Unsent>> {
        loop {
            let produced = self.poll_produce(cx)?;
            if self.wire.is_empty() {
                if !self.flushed {
                    ready!(Pin::new(&mut *socket).poll_flush(cx)).map_err(Unsent::Io)?;
                    self.flushed = true;
                }
                if self.ended {
                    return Poll::Ready(Ok(()));
                }
                if produced.is_pending() || self.held {
                    return Poll::Pending;
                }
                continue;
            }
            let mut slices = [IoSlice::new(&[]); MOST_SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.wire) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let is_body = self.has_written;
            let written =
                ready!(Pin::new(&mut *socket).poll_write_vectored(cx, slices)).map_err(Unsent::Io)?;
            if written == 0 {
                return Poll::Ready(Err(Unsent::Io(io::ErrorKind::WriteZero.into())));
            }
            (self.has_written, self.flushed) = (true, false);
            progress.mark_sent();
            if is_body {
                progress.mark_piece();
            }
            self.advance(written);
        }
    }

    /// Moves pieces of the body to the wire. Pending: the source has none at the moment.
    fn poll_produce(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let mut ahead: usize = self.wire.iter().map(Bytes::len).sum();
        while !self.ended && !self.held && ahead < AHEAD && self.wire.len() < MOST_SLICES {
            let piece = match &mut self.content {
                Content::Chunks(pieces) => pieces.pop_front(),
                Content::Stream { pieces, left } => {
                    let piece = ready!(pieces.poll_next_unpin(cx)).transpose().map_err(Unsent::Own)?;
                    let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    if let Some(left) = left {
                        let rest = left.checked_sub(length).filter(|rest| piece.is_some() || *rest == 0);
                        *left = rest.ok_or_else(wrong_length)?;
                    }
                    piece
                }
            };
            match piece {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    ahead += piece.len();
                    if self.chunked {
                        self.wire.push_back(Bytes::from(format!("{:x}\r\n", piece.len())));
                    }
                    self.wire.push_back(piece);
                    if self.chunked {
                        self.wire.push_back(Bytes::from_static(b"\r\n"));
                    }
                }
                None => {
                    if self.chunked {
                        self.wire.push_back(Bytes::from_static(b"0\r\n\r\n"));
                    }
                    self.ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.wire.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.wire.pop_front();
        }
    }
}

/// The length of a body, if it is known: what the head of its request has to say.
pub(super) fn body_length(body: &RequestBody) -> Option<u64> {
    match body {
        RequestBody::Chunks(pieces) => Some(pieces.iter().map(|piece| piece.len() as u64).sum()),
        RequestBody::Stream { length, .. } => *length,
    }
}

fn wrong_length() -> Unsent {
    let text = "the body of a request is not as long as its content-length says";
    Unsent::Own(Error::new(ErrorKind::Invalid, Blame::Plugin, text))
}
