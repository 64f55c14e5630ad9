//! Sequences of bytes that live in the host and are consumed once.
//!
//! A body is a queue of pieces: bytes in memory, zeros, and responses that are still arriving. A guest holds a
//! handle to it; when a call returns the handle, the queue goes to the core as it is, and no byte was copied.

use super::budget::{BufferBudget, Charge};
use super::too_large;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Mutex;
use wasmount_net::ResponseBody;
use wasmount_pipe::Pipe;
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, Result};

/// Pieces of one body: enough for a 64 MiB object in stripes of 64 KiB.
const MAX_PIECES: usize = 1024;

/// Charged for each piece, so that bodies without bytes cost something too.
const PIECE: usize = size_of::<Piece>();

/// Largest piece that usually comes out of a response (`NetLimits::read_buffer`).
const FRAME: usize = 256 * 1024;

/// What a response holds while nobody reads it: what arrived with its head (`wasmount_net::NetStats::body_buffer_bytes`).
const HELD: usize = 32 * 1024;

/// Pieces of a response below this size are put together while it is collected: each costs more than its bytes.
const SMALL: usize = 64 * 1024;

/// Source of the bytes of holes.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Bytes and what they are charged to, if they are charged.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) charge: Option<Arc<Charge>>,
}

/// One piece of a body.
pub(crate) enum Piece {
    Bytes(Held),
    Zeros(u64),
    Stream(Box<ResponseBody>),
}

impl Piece {
    /// Bytes left, if known.
    fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes(held) => Some(held.bytes.len() as u64),
            Self::Zeros(count) => Some(*count),
            Self::Stream(stream) => Some(stream.len()?.saturating_sub(stream.received())),
        }
    }

    fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Bytes(held) => Some(Self::Bytes(held.clone())),
            Self::Zeros(count) => Some(Self::Zeros(*count)),
            Self::Stream(_) => None,
        }
    }
}

/// What is left of a body.
pub(crate) struct Pieces {
    queue: VecDeque<Piece>,
    /// Pays for the queue itself.
    _charge: Option<Arc<Charge>>,
}

/// The resource `buffers.body`. The lock is held while bytes are awaited; two readers take turns.
#[allow(unreachable_pub, reason = "the generated bindings re-export it, and only a public type can be")]
pub struct Body(pub(crate) Arc<Mutex<Pieces>>);

fn not_repeatable() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        Blame::Plugin,
        "this body arrives over the network and exists only once",
    )
}

impl Pieces {
    /// The content of a response. What its connection and its handle hold while nobody reads is charged.
    pub(crate) fn stream(stream: ResponseBody, budget: &Arc<BufferBudget>) -> Result<Self> {
        let held = stream.len().map_or(HELD, |length| usize::try_from(length).unwrap_or(HELD).min(HELD));
        let charge = Some(Arc::new(budget.charge(held)?));
        Ok(Self { queue: VecDeque::from([Piece::Stream(Box::new(stream))]), _charge: charge })
    }

    /// Pieces in order.
    pub(crate) fn assemble(
        pieces: impl IntoIterator<Item = Piece>,
        budget: &Arc<BufferBudget>,
    ) -> Result<Self> {
        let mut queue = VecDeque::new();
        let mut total = 0u64;
        for piece in pieces {
            let length = piece.len();
            if length == Some(0) {
                continue;
            }
            total = total
                .checked_add(length.unwrap_or(0))
                .filter(|total| i64::try_from(*total).is_ok())
                .ok_or_else(|| too_large("a body of more than 2^63 bytes"))?;
            queue.push_back(piece);
            if queue.len() > MAX_PIECES {
                return Err(too_large(format_args!("a body of more than {MAX_PIECES} pieces")));
            }
        }
        let charge = budget.charge(queue.len() * PIECE)?;
        Ok(Self { queue, _charge: Some(Arc::new(charge)) })
    }

    /// Its pieces, for a body that this one becomes a part of.
    pub(crate) fn into_pieces(self) -> impl Iterator<Item = Piece> {
        self.queue.into_iter()
    }

    /// Bytes left, if known.
    pub(crate) fn len(&self) -> Option<u64> {
        self.queue.iter().try_fold(0u64, |sum, piece| Some(sum.saturating_add(piece.len()?)))
    }

    /// Whether nothing of it comes from the network.
    pub(crate) fn repeatable(&self) -> bool {
        !self.queue.iter().any(|piece| matches!(piece, Piece::Stream(_)))
    }

    /// The same bytes again.
    pub(crate) fn duplicate(&self, budget: &Arc<BufferBudget>) -> Result<Self> {
        let pieces = self.queue.iter().map(Piece::duplicate).collect::<Option<Vec<_>>>();
        Self::assemble(pieces.ok_or_else(not_repeatable)?, budget)
    }

    /// A part of the same bytes.
    pub(crate) fn cut(&self, range: ByteRange, budget: &Arc<BufferBudget>) -> Result<Self> {
        let mut copy = self.duplicate(budget)?;
        let total = copy.len().unwrap_or(0);
        let length = range.length.unwrap_or(total.saturating_sub(range.offset));
        if range.offset.checked_add(length).is_none_or(|end| end > total) {
            let text = format!("{length} bytes from {} do not lie inside {total} bytes", range.offset);
            return Err(Error::new(ErrorKind::OutOfRange, Blame::Plugin, text));
        }
        copy.skip(range.offset);
        copy.truncate(length);
        Ok(copy)
    }

    fn skip(&mut self, mut count: u64) {
        while count > 0 {
            match self.queue.front_mut() {
                Some(Piece::Bytes(held)) if held.bytes.len() as u64 > count => {
                    // Smaller than a length in memory.
                    let _ = held.bytes.split_to(count as usize);
                    return;
                }
                Some(Piece::Zeros(left)) if *left > count => {
                    *left -= count;
                    return;
                }
                Some(piece) => count = count.saturating_sub(piece.len().unwrap_or(0)),
                None => return,
            }
            self.queue.pop_front();
        }
    }

    fn truncate(&mut self, mut count: u64) {
        let mut kept = VecDeque::new();
        while count > 0 {
            let Some(mut piece) = self.queue.pop_front() else { break };
            match &mut piece {
                Piece::Bytes(held) => held.bytes.truncate(usize::try_from(count).unwrap_or(usize::MAX)),
                Piece::Zeros(left) => *left = count.min(*left),
                Piece::Stream(_) => {}
            }
            count = count.saturating_sub(piece.len().unwrap_or(0));
            kept.push_back(piece);
        }
        self.queue = kept;
    }

    /// The next bytes, at least one and at most `max`; `None` at the end. After an error there is nothing more.
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, max: usize) -> Option<Result<Held>> {
        let max = max.max(1);
        loop {
            match self.queue.front_mut()? {
                Piece::Bytes(held) if held.bytes.len() > max => {
                    let bytes = held.bytes.split_to(max);
                    return Some(Ok(Held { bytes, charge: held.charge.clone() }));
                }
                Piece::Bytes(_) => {
                    if let Some(Piece::Bytes(held)) = self.queue.pop_front()
                        && !held.bytes.is_empty()
                    {
                        return Some(Ok(held));
                    }
                }
                Piece::Zeros(0) => {
                    self.queue.pop_front();
                }
                Piece::Zeros(left) => {
                    let take = (*left).min(max as u64).min(ZEROS.len() as u64);
                    *left -= take;
                    let bytes = Bytes::from_static(&ZEROS).slice(..take as usize);
                    return Some(Ok(Held { bytes, charge: None }));
                }
                Piece::Stream(stream) => match stream.next().await {
                    Some(Ok(bytes)) => self.queue.push_front(Piece::Bytes(Held { bytes, charge: None })),
                    Some(Err(error)) => {
                        self.queue.clear();
                        return Some(Err(error));
                    }
                    None => {
                        self.queue.pop_front();
                    }
                },
            }
        }
    }

    /// Appends the next bytes to `into`, which has room: at least one, at most what fits. `None` at the end. After an error
    /// there is nothing more. Those of a response come straight from its connection. Dropping the future loses nothing.
    pub(crate) async fn read_into(&mut self, into: &mut BytesMut) -> Option<Result<usize>> {
        while let Piece::Stream(stream) = self.queue.front_mut()? {
            match stream.read_into(into).await {
                Some(Ok(count)) => return Some(Ok(count)),
                Some(Err(error)) => {
                    self.queue.clear();
                    return Some(Err(error));
                }
                None => _ = self.queue.pop_front(),
            }
        }
        let held = self.next(into.capacity() - into.len()).await?;
        Some(held.map(|held| {
            into.extend_from_slice(&held.bytes);
            held.bytes.len()
        }))
    }

    /// The next bytes, if between `least` and `most` of them lie in one piece of memory that nobody else has a part of. Their charge is given
    /// back: who takes them pays for them, and they must not keep much more alive than they are.
    pub(crate) fn take(&mut self, least: usize, most: usize) -> Option<Bytes> {
        let Piece::Bytes(held) = self.queue.front()? else { return None };
        let length = held.bytes.len();
        let alone = held.charge.as_ref().is_some_and(|charge| {
            Arc::strong_count(charge) == 1 && charge.bytes().saturating_sub(length) <= length / 4
        });
        if !alone || !(least.max(1)..=most).contains(&length) {
            return None;
        }
        match self.queue.pop_front() {
            Some(Piece::Bytes(held)) => Some(held.bytes),
            Some(Piece::Zeros(_) | Piece::Stream(_)) | None => None,
        }
    }

    /// Whether [`Self::pour`] works for the next bytes: those of a response, as they arrive.
    pub(crate) fn pours(&self) -> bool {
        matches!(self.queue.front(), Some(Piece::Stream(stream)) if stream.pours())
    }

    /// Moves the next bytes, at most `most`, into `pipe` and returns how many, 0 when it is full. `None` at the end. After an error there is
    /// nothing more. Dropping the future loses nothing.
    pub(crate) async fn pour(&mut self, pipe: &mut Pipe, most: usize) -> Option<Result<usize>> {
        while let Piece::Stream(stream) = self.queue.front_mut()?
            && stream.pours()
        {
            match stream.pour(pipe, most).await {
                Some(Ok(count)) => return Some(Ok(count)),
                Some(Err(error)) => {
                    self.queue.clear();
                    return Some(Err(error));
                }
                None => _ = self.queue.pop_front(),
            }
        }
        Some(self.next(most).await?.map(|held| {
            let count = pipe.push(&held.bytes).unwrap_or(0);
            if count < held.bytes.len() {
                self.put_back(Held { bytes: held.bytes.slice(count..), charge: held.charge });
            }
            count
        }))
    }

    /// Bytes that [`Self::next`] or [`Self::collect`] gave, charged. Where the budget does not allow that they are put back, so
    /// that none are missing in what comes next.
    pub(crate) fn charged(&mut self, mut held: Held, budget: &Arc<BufferBudget>) -> Result<Held> {
        if held.charge.is_none() {
            match budget.charge(held.bytes.len()) {
                Ok(charge) => {
                    // A small part would keep the whole of what it was received with, of which more is charged only if more is taken.
                    if held.bytes.len() < SMALL {
                        held.bytes = Bytes::copy_from_slice(&held.bytes);
                    }
                    held.charge = Some(Arc::new(charge));
                }
                Err(error) => {
                    self.put_back(held);
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    /// They come again.
    pub(crate) fn put_back(&mut self, held: Held) {
        self.queue.push_front(Piece::Bytes(held));
    }

    /// Puts bytes of the stream at this position before it, and returns where the stream is now.
    fn gather(&mut self, at: usize, bytes: Bytes, charge: Charge) -> usize {
        let before = at.checked_sub(1).and_then(|before| self.queue.get_mut(before));
        if bytes.len() < SMALL
            && let Some(Piece::Bytes(Held { bytes: first, charge: Some(paid) })) = before
            && let Some(paid) = Arc::get_mut(paid)
        {
            let joined = match std::mem::take(first).try_into_mut() {
                Ok(own) => Ok(own),
                Err(shared) if shared.len() < SMALL => Ok(BytesMut::from(&shared[..])),
                Err(shared) => Err(shared),
            };
            match joined {
                Ok(mut joined) => {
                    joined.extend_from_slice(&bytes);
                    *first = joined.freeze();
                    paid.absorb(charge);
                    return at;
                }
                Err(shared) => *first = shared,
            }
        }
        self.queue.insert(at, Piece::Bytes(Held { bytes, charge: Some(Arc::new(charge)) }));
        at + 1
    }

    /// All that is left, if that is at most `max` bytes. On `too-large` nothing is lost. Dropping the future
    /// loses nothing: what arrived waits in the queue, charged to the budget.
    pub(crate) async fn collect(&mut self, max: usize, budget: &Arc<BufferBudget>) -> Result<Held> {
        if self.len().is_some_and(|length| length > max as u64) {
            return Err(too_large(format_args!(
                "{} bytes, and at most {max} were asked for",
                self.len().unwrap_or(0)
            )));
        }
        let mut at = 0;
        let mut here: u64 =
            self.queue.iter().filter(|p| !matches!(p, Piece::Stream(_))).filter_map(Piece::len).sum();
        loop {
            if here > max as u64 {
                return Err(too_large(format_args!("more than the {max} bytes that were asked for")));
            }
            let left = match self.queue.get(at) {
                None => break,
                Some(Piece::Stream(_)) => self.queue.get(at).and_then(Piece::len),
                Some(_) => {
                    at += 1;
                    continue;
                }
            };
            // Before the bytes are taken: there is no place for them afterwards.
            let frame = left.map_or(FRAME, |left| usize::try_from(left).unwrap_or(FRAME).min(FRAME));
            let mut charge = budget.charge(frame)?;
            let Some(Piece::Stream(stream)) = self.queue.get_mut(at) else { break };
            match stream.next().await {
                Some(Ok(bytes)) => {
                    here = here.saturating_add(bytes.len() as u64);
                    charge.shrink(bytes.len());
                    if let Ok(rest) = budget.charge(bytes.len() - charge.bytes()) {
                        charge.absorb(rest);
                    }
                    at = self.gather(at, bytes, charge);
                }
                Some(Err(error)) => {
                    self.queue.clear();
                    return Err(error);
                }
                None => {
                    self.queue.remove(at);
                }
            }
        }
        if let [Piece::Bytes(_)] = self.queue.make_contiguous()
            && let Some(Piece::Bytes(held)) = self.queue.pop_front()
        {
            return Ok(held);
        }
        let total = self.len().and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
        let charge = Some(Arc::new(budget.charge(total)?));
        let mut all = BytesMut::with_capacity(total);
        for piece in self.queue.drain(..) {
            match piece {
                Piece::Bytes(held) => all.extend_from_slice(&held.bytes),
                Piece::Zeros(count) => all.resize(all.len() + count as usize, 0),
                Piece::Stream(_) => {}
            }
        }
        Ok(Held { bytes: all.freeze(), charge })
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
