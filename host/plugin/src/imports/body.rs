//! Sequences of bytes that live in the host and are consumed once.
//!
//! A body is a queue of pieces: bytes in memory, zeros, and responses that are still arriving. A guest holds a
//! handle to it; when a call returns the handle, the queue goes to the core as it is, and no byte was copied.

use super::buffers::{BufferBudget, Charge};
use super::too_large;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Mutex;
use wasmount_net::ResponseBody;
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, Result};

/// Pieces of one body: enough for a 64 MiB object in stripes of 64 KiB.
const MAX_PIECES: usize = 1024;

/// Charged for each piece, so that bodies without bytes cost something too.
const PIECE: usize = size_of::<Piece>();

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
    Stream(ResponseBody),
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
    /// The content of a response.
    pub(crate) fn stream(stream: ResponseBody) -> Self {
        Self { queue: VecDeque::from([Piece::Stream(stream)]), _charge: None }
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

    /// All that is left, if that is at most `max` bytes. On `too-large` nothing is lost. Dropping the future
    /// loses nothing: what arrived waits in the queue, charged to the budget.
    pub(crate) async fn collect(&mut self, max: usize, budget: &Arc<BufferBudget>) -> Result<Held> {
        if self.len().is_some_and(|length| length > max as u64) {
            return Err(too_large(format_args!(
                "{} bytes, and at most {max} were asked for",
                self.len().unwrap_or(0)
            )));
        }
        while let Some(at) = self.queue.iter().position(|piece| matches!(piece, Piece::Stream(_))) {
            let Some(Piece::Stream(stream)) = self.queue.get_mut(at) else { break };
            match stream.next().await {
                Some(Ok(bytes)) => {
                    let charge = budget.charge(bytes.len())?;
                    self.queue.insert(at, Piece::Bytes(Held { bytes, charge: Some(Arc::new(charge)) }));
                }
                Some(Err(error)) => {
                    self.queue.clear();
                    return Err(error);
                }
                None => {
                    self.queue.remove(at);
                }
            }
            let here: u64 =
                self.queue.iter().filter(|p| !matches!(p, Piece::Stream(_))).filter_map(Piece::len).sum();
            if here > max as u64 {
                return Err(too_large(format_args!("more than the {max} bytes that were asked for")));
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
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn budget(bytes: usize) -> Arc<BufferBudget> {
        BufferBudget::new(&Limits { buffers: bytes, ..Limits::default() })
    }

    fn held(text: &'static str) -> Piece {
        Piece::Bytes(Held { bytes: Bytes::from_static(text.as_bytes()), charge: None })
    }

    async fn drain(mut pieces: Pieces, max: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(next) = pieces.next(max).await {
            let next = next.unwrap();
            assert!(!next.bytes.is_empty() && next.bytes.len() <= max);
            all.extend_from_slice(&next.bytes);
        }
        all
    }

    #[tokio::test]
    async fn pieces_in_order() {
        let budget = budget(1 << 20);
        let body =
            Pieces::assemble([held("abc"), Piece::Zeros(3), held(""), held("defgh")], &budget).unwrap();
        assert_eq!(body.len(), Some(11));
        assert!(body.repeatable());
        let whole = b"abc\0\0\0defgh";
        for max in [1, 2, 100] {
            assert_eq!(drain(body.duplicate(&budget).unwrap(), max).await, whole);
        }
        for offset in 0..=11 {
            for length in 0..=11 - offset {
                let cut = body.cut(ByteRange::new(offset, length), &budget).unwrap();
                assert_eq!(drain(cut, 2).await, whole[offset as usize..(offset + length) as usize]);
            }
        }
        assert_eq!(body.cut(ByteRange::new(6, 6), &budget).err().unwrap().kind, ErrorKind::OutOfRange);
        assert_eq!(body.cut(ByteRange::new(u64::MAX, 2), &budget).err().unwrap().kind, ErrorKind::OutOfRange);
        let mut copy = body.duplicate(&budget).unwrap();
        assert_eq!(copy.collect(10, &budget).await.err().unwrap().kind, ErrorKind::TooLarge);
        assert_eq!(copy.collect(11, &budget).await.unwrap().bytes, &whole[..]);
    }

    #[tokio::test]
    async fn growth_is_bounded() {
        let small = budget(1000);
        let zeros = Pieces::assemble([Piece::Zeros(1 << 40)], &small).unwrap();
        assert_eq!(zeros.len(), Some(1 << 40));
        let error = Pieces::assemble([Piece::Zeros(1 << 63)], &small).err().unwrap();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        let mut all = Pieces::assemble([Piece::Zeros(2000)], &small).unwrap();
        assert_eq!(all.collect(4000, &small).await.err().unwrap().kind, ErrorKind::TooLarge);
        let many = (0..=MAX_PIECES).map(|_| held("x"));
        assert_eq!(Pieces::assemble(many, &budget(1 << 20)).err().unwrap().kind, ErrorKind::TooLarge);
        let many = (0..100).map(|_| held("x"));
        assert_eq!(Pieces::assemble(many, &small).err().unwrap().kind, ErrorKind::TooLarge);
    }
}
