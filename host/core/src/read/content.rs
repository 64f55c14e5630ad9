//! The bytes of a part while they arrive.
//!
//! Bytes are copied once, from where the transport received them into a block. A read is answered as soon as its own
//! bytes are there: the filled front of a block is split off and shown, the rest goes on being filled. Reads that are
//! asked for one after the other therefore get slices, not copies.

use super::blocks::{BLOCK, Grant, Held, block_end};
use super::memory::{ReadMemory, block_pages};
use crate::ports::ServedFrom;
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use wasmount_types::{Blame, Error, ErrorKind};

/// Why bytes will not come.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The fetch failed.
    Failed(Error),
    /// Who drove the fetch has gone: nothing is known, and whoever still wants the bytes begins anew.
    Abandoned,
}

/// Where the fetch puts bytes and readers find them.
pub(super) struct Content {
    /// First byte.
    pub(super) start: u64,
    /// Byte after the last one.
    pub(super) end: u64,
    memory: Arc<ReadMemory>,
    state: Mutex<State>,
}

struct Piece {
    at: u64,
    bytes: Bytes,
    held: Arc<Held>,
}

struct State {
    pieces: Vec<Piece>,
    /// Bytes of the current block that were not shown yet, and room for more.
    tail: BytesMut,
    tail_at: u64,
    /// What holds the current block, and where that begins.
    held: Option<(u64, Arc<Held>)>,
    /// Ends that somebody waits for.
    waiters: Vec<(u64, Waker)>,
    failure: Option<Failure>,
    /// Budget for blocks that are still to come.
    grant: Option<Grant>,
    /// Where the last bytes came from.
    from: ServedFrom,
}

impl Content {
    pub(super) fn new(memory: Arc<ReadMemory>, start: u64, end: u64) -> Self {
        let state = State {
            pieces: Vec::new(),
            tail: BytesMut::new(),
            tail_at: start,
            held: None,
            waiters: Vec::new(),
            failure: None,
            grant: None,
            from: ServedFrom::Origin,
        };
        Self { start, end, memory, state: Mutex::new(state) }
    }

    /// Takes the budget for all blocks.
    pub(super) fn granted(&self, grant: Grant) {
        self.lock().grant = Some(grant);
    }

    /// How far it is filled.
    pub(super) fn filled(&self) -> u64 {
        self.lock().filled()
    }

    /// Why the rest will not come.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Where bytes that arrive from now on come from.
    pub(super) fn coming_from(&self, from: ServedFrom) {
        self.lock().from = from;
    }

    /// Where the last bytes came from.
    pub(super) fn source(&self) -> ServedFrom {
        self.lock().from
    }

    /// Appends bytes; what goes beyond the end is ignored. Returns how far it is filled now.
    pub(super) fn append(&self, mut bytes: &[u8]) -> u64 {
        let mut state = self.lock();
        loop {
            let at = state.filled();
            let until = block_end(self.start, at, self.end);
            if bytes.is_empty() || at >= self.end {
                break;
            }
            self.begin_block(&mut state);
            let now = bytes.len().min((until - at) as usize);
            let (copied, rest) = bytes.split_at(now);
            state.tail.extend_from_slice(copied);
            bytes = rest;
            if at + now as u64 == until {
                state.split(until);
            }
        }
        let filled = state.filled();
        let due = state.due(filled);
        drop(state);
        due.into_iter().for_each(Waker::wake);
        filled
    }

    /// The room for the next bytes, as far as they lie in one block and before `limit`: where they begin, and the room,
    /// which has to be given back with [`restore`](Self::restore). What is there can be read meanwhile.
    pub(super) fn lend(&self, limit: u64) -> (u64, BytesMut) {
        let mut state = self.lock();
        self.begin_block(&mut state);
        let at = state.filled();
        let size = (block_end(self.start, at, self.end).min(limit) - at) as usize;
        let filled = state.tail.len();
        if state.tail.capacity() - filled < size {
            // The room was lost: the block goes on in memory that does not come back to the pool.
            state.split(at);
            return (at, BytesMut::with_capacity(size));
        }
        let mut room = state.tail.split_off(filled);
        if room.capacity() > size {
            // Never more than was asked for, whatever is received into it.
            drop(room.split_off(size));
        }
        (at, room)
    }

    /// Takes lent room back with what was put into it; returns how far it is filled. `None`: the room is lost.
    pub(super) fn restore(&self, room: Option<BytesMut>) -> u64 {
        let mut state = self.lock();
        if let Some(room) = room {
            // The front of the block that was not shown yet and what has come are one again.
            state.tail.unsplit(room);
        }
        let filled = state.filled();
        if filled == self.end || (filled - self.start).is_multiple_of(BLOCK) {
            state.split(filled);
        }
        let due = state.due(filled);
        drop(state);
        due.into_iter().for_each(Waker::wake);
        filled
    }

    /// No more bytes will come.
    pub(super) fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        if state.filled() < self.end {
            state.failure = Some(failure);
        }
        let unused = state.grant.take();
        let due = state.due(u64::MAX);
        drop(state);
        drop(unused);
        due.into_iter().for_each(Waker::wake);
    }

    /// The bytes `from..to` if they are there; else wakes the caller once they are, or will not come.
    pub(super) fn poll(&self, context: &Context<'_>, from: u64, to: u64) -> Poll<Result<Bytes, Failure>> {
        let mut state = self.lock();
        if state.filled() >= to {
            let memory = &self.memory;
            return Poll::Ready(state.show(memory, from, to).map_err(Failure::Failed));
        }
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        if !state.waiters.iter().any(|(end, waker)| *end == to && waker.will_wake(context.waker())) {
            state.waiters.push((to, context.waker().clone()));
        }
        Poll::Pending
    }

    /// The bytes `from..to`, all of which are there, in slices of at most a block.
    pub(super) fn slices(&self, from: u64, to: u64) -> Vec<(u64, Bytes, Arc<Held>)> {
        let mut state = self.lock();
        state.split(to);
        let begin = state.pieces.partition_point(|piece| piece.at + piece.bytes.len() as u64 <= from);
        let mut slices = Vec::new();
        for piece in state.pieces.iter().skip(begin).take_while(|piece| piece.at < to) {
            let low = from.saturating_sub(piece.at) as usize;
            let high = piece.bytes.len().min((to - piece.at) as usize);
            let slice = piece.held.show(piece.bytes.slice(low..high));
            slices.push((piece.at + low as u64, slice, piece.held.clone()));
        }
        slices
    }

    /// Makes the current block, if the next byte is the first of one (or of the part).
    fn begin_block(&self, state: &mut State) {
        let at = state.filled();
        let begins = (at - self.start).is_multiple_of(BLOCK) && at < self.end;
        if !begins || state.held.as_ref().is_some_and(|(begin, _)| *begin == at) {
            return;
        }
        let size = block_end(self.start, at, self.end) - at;
        let pages = block_pages(size) as usize;
        let grant = match &mut state.grant {
            Some(grant) if grant.num_permits() > pages => grant.split(pages),
            rest => rest.take(),
        };
        state.held = Some((at, Held::new(self.memory.pool.clone(), grant)));
        state.tail = self.memory.pool.block(size);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn filled(&self) -> u64 {
        self.tail_at + self.tail.len() as u64
    }

    /// Those whose bytes are there.
    fn due(&mut self, filled: u64) -> Vec<Waker> {
        if self.waiters.iter().all(|(end, _)| *end > filled) {
            return Vec::new();
        }
        self.waiters.extract_if(.., |(end, _)| *end <= filled).map(|(_, waker)| waker).collect()
    }

    /// Makes a piece of the tail up to `to`, so that it can be shown.
    fn split(&mut self, to: u64) {
        let Some((_, held)) = &self.held else { return };
        if to <= self.tail_at {
            return;
        }
        let length = (to - self.tail_at) as usize;
        let bytes = self.tail.split_to(length.min(self.tail.len())).freeze();
        held.anchor(&bytes);
        self.tail_at += bytes.len() as u64;
        self.pieces.push(Piece { at: to - bytes.len() as u64, bytes, held: held.clone() });
    }

    /// The bytes `from..to`, all of which are there.
    fn show(&mut self, memory: &ReadMemory, from: u64, to: u64) -> Result<Bytes, Error> {
        self.split(to);
        let found = self.pieces.partition_point(|piece| piece.at <= from).checked_sub(1);
        let pieces = found.and_then(|index| self.pieces.get(index..)).unwrap_or_default();
        let mut seam = None;
        let mut at = from;
        for piece in pieces {
            let begin = (at - piece.at) as usize;
            let end = piece.bytes.len().min((to - piece.at) as usize);
            if begin > end {
                break;
            }
            if (end - begin) as u64 == to - from {
                return Ok(piece.held.show(piece.bytes.slice(begin..end)));
            }
            let seam = seam.get_or_insert_with(|| memory.seam(to - from));
            seam.bytes.extend_from_slice(piece.bytes.get(begin..end).unwrap_or_default());
            at += (end - begin) as u64;
            if at == to {
                return Ok(seam.finish());
            }
        }
        Err(Error::new(ErrorKind::Other, Blame::Host, "bytes that had arrived are not where they were put"))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let tail = std::mem::take(&mut state.tail);
        match &state.held {
            // No slice of it was ever shown: it has no anchor to come back by.
            Some((_, held)) if !held.is_anchored() => self.memory.pool.give_back(tail),
            _ => drop(tail),
        }
        // Slices first, then what holds their blocks: a block comes back when only its anchor is left.
        let (pieces, held) = (std::mem::take(&mut state.pieces), state.held.take());
        let (bytes, holders): (Vec<_>, Vec<_>) =
            pieces.into_iter().map(|piece| (piece.bytes, piece.held)).unzip();
        drop(bytes);
        drop((holders, held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::time::Instant;

    fn content(start: u64, end: u64) -> (Content, Arc<ReadMemory>) {
        let memory = Arc::new(ReadMemory::new(64 * BLOCK, Instant::now()));
        let content = Content::new(memory.clone(), start, end);
        content.granted(memory.try_reserve(start, end).unwrap());
        (content, memory)
    }

    fn bytes(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(|at| (at % 251) as u8).collect()
    }

    fn read(content: &Content, from: u64, to: u64) -> Result<Bytes, Failure> {
        match content.poll(&Context::from_waker(Waker::noop()), from, to) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("{from}..{to} is not there"),
        }
    }

    #[test]
    fn every_range_reads_back_whatever_the_chunks() {
        let (start, end) = (BLOCK - 1000, 3 * BLOCK + 77);
        let (content, _memory) = content(start, end);
        let data = bytes(start, end);
        for chunk in data.chunks(70_001) {
            content.append(chunk);
            let filled = content.filled();
            assert_eq!(read(&content, start, filled).unwrap(), bytes(start, filled));
        }
        for (from, to) in
            [(start, end), (start + 1, start + 2), (2 * BLOCK - 5, 2 * BLOCK + 5), (end - 1, end)]
        {
            assert_eq!(read(&content, from, to).unwrap(), bytes(from, to));
            let slices = content.slices(from, to);
            let joined = slices.iter().flat_map(|(_, slice, _)| slice.iter().copied()).collect::<Vec<_>>();
            assert_eq!((slices[0].0, joined), (from, bytes(from, to)));
        }
    }

    #[test]
    fn a_read_needs_only_its_own_bytes_and_copies_nothing() {
        let (content, _memory) = content(0, 2 * BLOCK);
        content.append(&bytes(0, 200_000));
        let first = read(&content, 0, 131_072).unwrap();
        content.append(&bytes(200_000, 300_000));
        let second = read(&content, 131_072, 262_144).unwrap();
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 131_072);
        assert_eq!(second, bytes(131_072, 262_144));
    }

    #[test]
    fn the_budget_is_free_when_the_last_slice_is_gone_and_the_block_is_used_again() {
        let (content, memory) = content(0, 3 * BLOCK);
        content.append(&bytes(0, 3 * BLOCK - 7));
        let shown = read(&content, BLOCK + 5, BLOCK + 10).unwrap();
        assert_eq!(memory.in_use(), 3 * BLOCK);
        drop(content);
        assert_eq!((memory.in_use(), memory.pool.bytes()), (BLOCK, 2 * BLOCK));
        drop(shown);
        assert_eq!((memory.in_use(), memory.pool.bytes()), (0, 3 * BLOCK));
    }

    #[test]
    fn lent_room_may_come_back_full_empty_or_not_at_all() {
        let (content, memory) = content(0, 2 * BLOCK + 100);
        content.append(&bytes(0, 1000));
        let (from, mut room) = content.lend(u64::MAX);
        assert_eq!((from, room.capacity() as u64), (1000, BLOCK - 1000));
        // What is there is shown while the rest is being received, and both are one piece in the end.
        let first = read(&content, 0, 500).unwrap();
        room.extend_from_slice(&bytes(1000, 3000));
        assert_eq!(content.restore(Some(room)), 3000);
        let second = read(&content, 500, 3000).unwrap();
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 500);
        assert_eq!(second, bytes(500, 3000));
        let (from, mut room) = content.lend(u64::MAX);
        room.extend_from_slice(&bytes(from, BLOCK));
        assert_eq!(content.restore(Some(room)), BLOCK);
        let (.., room) = content.lend(u64::MAX);
        assert_eq!(content.restore(Some(room)), BLOCK);
        let lost = content.lend(u64::MAX);
        assert_eq!(content.restore(None), BLOCK);
        drop(lost);
        let (from, mut room) = content.lend(BLOCK + 5000);
        room.extend_from_slice(&bytes(from, BLOCK + 5000));
        assert_eq!(content.restore(Some(room)), BLOCK + 5000);
        content.append(&bytes(BLOCK + 5000, 2 * BLOCK));
        let (from, mut room) = content.lend(u64::MAX);
        assert_eq!((from, room.capacity()), (2 * BLOCK, 100), "never more than belongs to the part");
        room.extend_from_slice(&bytes(from, from + 100));
        assert_eq!(content.restore(Some(room)), 2 * BLOCK + 100);
        assert_eq!(read(&content, 0, 2 * BLOCK + 100).unwrap(), bytes(0, 2 * BLOCK + 100));
        drop((content, first, second));
        assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn an_error_ends_the_wait_but_not_what_is_there() {
        let (content, _memory) = content(0, 100);
        content.append(&bytes(0, 50));
        content.fail(Failure::Failed(Error::stale("a")));
        assert_eq!(read(&content, 0, 50).unwrap(), bytes(0, 50));
        assert!(
            matches!(read(&content, 40, 60), Err(Failure::Failed(error)) if error.kind == ErrorKind::Stale)
        );
    }
}
