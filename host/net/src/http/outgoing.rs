//! The body of a request, as hyper pulls it.

use super::RequestBody;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::task::AtomicWaker;
use futures::{StreamExt, ready};
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wasmount_types::{Blame, Error, ErrorKind};

/// What the sender of a request knows about its way out.
#[derive(Default)]
pub(super) struct Progress {
    /// The head may have left.
    head_sent: AtomicBool,
    /// Milliseconds from `started` to the last piece of the body that was taken.
    last_piece: AtomicU64,
    started: OnceLock<Instant>,
    /// Why the body could not be produced.
    failure: OnceLock<Error>,
}

impl Progress {
    pub(super) fn mark_head_sent(&self, sent: bool) {
        self.head_sent.store(sent, Ordering::Relaxed);
    }

    pub(super) fn head_sent(&self) -> bool {
        self.head_sent.load(Ordering::Relaxed)
    }

    pub(super) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// When the last piece of the body was taken, if any was.
    pub(super) fn last_piece(&self) -> Option<Instant> {
        let started = self.started.get()?;
        Some(*started + Duration::from_millis(self.last_piece.load(Ordering::Relaxed)))
    }

    fn piece_taken(&self) {
        let elapsed = self.started.get_or_init(Instant::now).elapsed();
        self.last_piece.store(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Holds a body back until the server has said `100 Continue`.
#[derive(Default)]
pub(super) struct Gate {
    state: AtomicU8,
    waker: AtomicWaker,
}

const WAITING: u8 = 0;
const OPEN: u8 = 1;
const SHUT: u8 = 2;

impl Gate {
    /// Lets the body go, unless it is not wanted any more.
    pub(super) fn open(&self) {
        if self.state.compare_exchange(WAITING, OPEN, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.waker.wake();
        }
    }

    /// The final response is there: a body that has not begun never will. Says whether that is so.
    pub(super) fn shut(&self) -> bool {
        self.state.compare_exchange(WAITING, SHUT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.state.load(Ordering::Acquire) == OPEN { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The body in the form hyper takes it.
pub(super) struct Outgoing {
    content: Content,
    gate: Option<Arc<Gate>>,
    progress: Arc<Progress>,
    /// Where it goes, for messages.
    origin: String,
}

enum Content {
    None,
    Chunks { pieces: VecDeque<Bytes>, left: u64 },
    Stream { pieces: BoxStream<'static, Result<Bytes, Error>>, left: Option<u64> },
}

impl Outgoing {
    pub(super) fn new(body: Option<RequestBody>, progress: Arc<Progress>, origin: String) -> Self {
        let content = match body {
            None => Content::None,
            Some(RequestBody::Chunks(pieces)) => {
                let left = pieces.iter().map(|piece| piece.len() as u64).sum();
                Content::Chunks {
                    pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect(),
                    left,
                }
            }
            Some(RequestBody::Stream { length, pieces }) => Content::Stream { pieces, left: length },
        };
        Self { content, gate: None, progress, origin }
    }

    /// Nothing is sent before the gate opens.
    pub(super) fn hold(&mut self) -> Arc<Gate> {
        Arc::clone(self.gate.get_or_insert_default())
    }

    /// Bytes that are left, if known.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.content {
            Content::None => Some(0),
            Content::Chunks { left, .. } => Some(*left),
            Content::Stream { left, .. } => *left,
        }
    }

    fn fail(&self, error: Error) -> Error {
        let _ = self.progress.failure.set(error.clone());
        error
    }

    fn wrong_length(&self) -> Error {
        self.fail(Error::new(
            ErrorKind::Invalid,
            Blame::Plugin,
            format!("the body of a request to {} is not as long as its content-length says", self.origin),
        ))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(gate) = &self.gate {
            ready!(gate.poll_open(cx));
            self.gate = None;
        }
        let piece = match &mut self.content {
            Content::None => return Poll::Ready(None),
            Content::Chunks { pieces, left } => {
                let Some(piece) = pieces.pop_front() else { return Poll::Ready(None) };
                *left = left.saturating_sub(piece.len() as u64);
                piece
            }
            Content::Stream { pieces, left } => match (ready!(pieces.poll_next_unpin(cx)), left) {
                (None, None | Some(0)) => return Poll::Ready(None),
                (None, Some(_)) => return Poll::Ready(Some(Err(self.wrong_length()))),
                (Some(Err(error)), _) => return Poll::Ready(Some(Err(self.fail(error)))),
                (Some(Ok(piece)), None) => piece,
                (Some(Ok(piece)), Some(left)) => match left.checked_sub(piece.len() as u64) {
                    Some(rest) => {
                        *left = rest;
                        piece
                    }
                    None => return Poll::Ready(Some(Err(self.wrong_length()))),
                },
            },
        };
        self.progress.piece_taken();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::None => true,
            Content::Chunks { left, .. } => *left == 0,
            Content::Stream { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
