//! One contiguous stretch of a file on its way into memory.
//!
//! Bytes are copied once, from where the transport received them into a block. A read is answered as soon as its own
//! bytes are there: the filled front of a block is split off and shown, the rest goes on being filled. Reads that are
//! asked for one after the other therefore get slices, not copies.

use super::memory::{Grant, ReadMemory, block_end};
use bytes::{Bytes, BytesMut};
use futures::future::AbortHandle;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use wasmount_types::{Blame, Error, ErrorKind};

/// A stretch of a file that is being fetched, or is there. Dropping the last one cancels the fetch.
pub(super) struct Part {
    /// First byte.
    pub(super) start: u64,
    /// Byte after the last one.
    pub(super) end: u64,
    /// Bytes that were given to readers, counted again for each time.
    delivered: AtomicU64,
    content: Arc<Content>,
    fetch: AbortHandle,
}

impl Part {
    pub(super) fn new(content: Arc<Content>, fetch: AbortHandle) -> Self {
        Self { start: content.start, end: content.end, delivered: AtomicU64::new(0), content, fetch }
    }

    /// Whether readers have had as many bytes as there are.
    pub(super) fn is_delivered(&self) -> bool {
        self.delivered.load(Ordering::Relaxed) >= self.end - self.start
    }

    /// Whether bytes are still to come.
    pub(super) fn is_in_flight(&self) -> bool {
        let state = self.content.lock();
        state.error.is_none() && state.filled() < self.end
    }

    /// Why not all bytes will come.
    pub(super) fn error(&self) -> Option<Error> {
        self.content.lock().error.clone()
    }

    /// The bytes `from..to`, which lie in this part, once they are there.
    pub(super) async fn read(&self, from: u64, to: u64) -> Result<Bytes, Error> {
        let mut changed = self.content.changed.subscribe();
        loop {
            {
                let mut state = self.content.lock();
                if state.filled() >= to {
                    self.delivered.fetch_add(to - from, Ordering::Relaxed);
                    return state.show(from, to);
                }
                if let Some(error) = &state.error {
                    return Err(error.clone());
                }
                state.wanted = state.wanted.min(to);
            }
            if changed.changed().await.is_err() {
                return Err(Error::new(ErrorKind::Interrupted, Blame::Host, "the read was given up"));
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.fetch.abort();
    }
}

/// Where the fetch puts bytes and readers find them.
pub(super) struct Content {
    pub(super) start: u64,
    pub(super) end: u64,
    memory: Arc<ReadMemory>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct Piece {
    at: u64,
    bytes: Bytes,
    /// It begins where its block does: what gives the block back.
    first: bool,
}

struct State {
    pieces: Vec<Piece>,
    /// Bytes of the current block that were not shown yet, and room for more.
    tail: BytesMut,
    tail_at: u64,
    tail_first: bool,
    /// The nearest end that somebody waits for: nobody is woken before.
    wanted: u64,
    error: Option<Error>,
    grant: Option<Grant>,
}

impl Content {
    pub(super) fn new(memory: Arc<ReadMemory>, start: u64, end: u64) -> Self {
        let state = State {
            pieces: Vec::new(),
            tail: BytesMut::new(),
            tail_at: start,
            tail_first: false,
            wanted: u64::MAX,
            error: None,
            grant: None,
        };
        Self { start, end, memory, state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// Keeps the budget for as long as the bytes are kept.
    pub(super) fn granted(&self, grant: Grant) {
        self.lock().grant = Some(grant);
    }

    /// How far it is filled.
    pub(super) fn filled(&self) -> u64 {
        self.lock().filled()
    }

    /// Appends bytes; what goes beyond the end is ignored. Returns how far it is filled now.
    pub(super) fn append(&self, mut bytes: &[u8]) -> u64 {
        let mut state = self.lock();
        let state = &mut *state;
        loop {
            let at = state.filled();
            let until = block_end(at, self.end);
            if bytes.is_empty() || at >= self.end {
                break;
            }
            if at == state.tail_at && state.tail.is_empty() && state.at_block_start(self.start) {
                state.tail = self.memory.block(until - at);
                state.tail_first = true;
            }
            let now = bytes.len().min((until - at) as usize);
            let (copied, rest) = bytes.split_at(now);
            state.tail.extend_from_slice(copied);
            bytes = rest;
            if at + now as u64 == until {
                state.split(state.tail.len());
            }
        }
        let filled = state.filled();
        if filled >= state.wanted {
            state.wanted = u64::MAX;
            self.changed.send_replace(());
        }
        filled
    }

    /// No more bytes will come.
    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.error = Some(error);
        state.wanted = u64::MAX;
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn filled(&self) -> u64 {
        self.tail_at + self.tail.len() as u64
    }

    /// Whether the next byte begins a block (or the part).
    fn at_block_start(&self, start: u64) -> bool {
        self.tail_at == start || self.tail_at.is_multiple_of(super::memory::BLOCK)
    }

    /// Shows the first `length` bytes of the tail.
    fn split(&mut self, length: usize) {
        if length == 0 {
            return;
        }
        let bytes = self.tail.split_to(length).freeze();
        self.pieces.push(Piece { at: self.tail_at, bytes, first: self.tail_first });
        self.tail_at += length as u64;
        self.tail_first = false;
    }

    /// The bytes `from..to`, all of which are there.
    fn show(&mut self, from: u64, to: u64) -> Result<Bytes, Error> {
        if to > self.tail_at {
            self.split((to - self.tail_at) as usize);
        }
        let found = self.pieces.partition_point(|piece| piece.at <= from).checked_sub(1);
        let pieces = found.and_then(|index| self.pieces.get(index..)).unwrap_or_default();
        let mut seam = BytesMut::new();
        let mut at = from;
        for piece in pieces {
            let begin = (at - piece.at) as usize;
            let end = piece.bytes.len().min((to - piece.at) as usize);
            if begin > end {
                break;
            }
            let slice = piece.bytes.slice(begin..end);
            if slice.len() as u64 == to - from {
                return Ok(slice);
            }
            if seam.is_empty() {
                seam.reserve((to - from) as usize);
            }
            seam.extend_from_slice(&slice);
            at += slice.len() as u64;
            if at == to {
                return Ok(seam.freeze());
            }
        }
        Err(Error::new(ErrorKind::Other, Blame::Host, "bytes that had arrived are not where they were put"))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let tail = std::mem::take(&mut state.tail);
        if state.tail_first {
            self.memory.give_back_mut(tail);
        }
        // Every other piece first: a block comes back when only its first piece is left.
        state.pieces.retain(|piece| piece.first);
        for piece in state.pieces.drain(..) {
            self.memory.give_back(piece.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::BLOCK;
    use super::*;

    fn part(start: u64, end: u64) -> (Part, Arc<Content>, Arc<ReadMemory>) {
        let memory = Arc::new(ReadMemory::new(64 * BLOCK));
        let content = Arc::new(Content::new(memory.clone(), start, end));
        let (abort, _) = AbortHandle::new_pair();
        (Part::new(content.clone(), abort), content, memory)
    }

    fn bytes(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(|at| (at % 251) as u8).collect()
    }

    #[tokio::test]
    async fn every_range_reads_back_whatever_the_chunks() {
        let (start, end) = (BLOCK - 1000, 3 * BLOCK + 77);
        let (part, content, _memory) = part(start, end);
        let data = bytes(start, end);
        for chunk in data.chunks(70_001) {
            content.append(chunk);
            let filled = content.filled();
            assert_eq!(part.read(start, filled).await.unwrap(), bytes(start, filled));
        }
        for (from, to) in
            [(start, end), (start + 1, start + 2), (2 * BLOCK - 5, 2 * BLOCK + 5), (end - 1, end)]
        {
            assert_eq!(part.read(from, to).await.unwrap(), bytes(from, to));
        }
    }

    #[tokio::test]
    async fn a_read_needs_only_its_own_bytes_and_copies_nothing() {
        let (part, content, _memory) = part(0, 2 * BLOCK);
        content.append(&bytes(0, 200_000));
        let first = part.read(0, 131_072).await.unwrap();
        content.append(&bytes(200_000, 300_000));
        let second = part.read(131_072, 262_144).await.unwrap();
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 131_072);
        assert_eq!(second, bytes(131_072, 262_144));
    }

    #[tokio::test]
    async fn an_error_ends_the_wait_but_not_what_is_there() {
        let (part, content, _memory) = part(0, 100);
        content.append(&bytes(0, 50));
        content.fail(Error::stale("a"));
        assert_eq!(part.read(0, 50).await.unwrap(), bytes(0, 50));
        assert_eq!(part.read(40, 60).await.unwrap_err().kind, ErrorKind::Stale);
    }
}
