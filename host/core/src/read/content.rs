//! The bytes of a part while they arrive.
//!
//! Bytes are copied once, from where the transport received them into a block. A read is answered as soon as its own
//! bytes are there: the filled front of a block is split off and shown, the rest goes on being filled. Reads that are
//! asked for one after the other therefore get slices, not copies. Of a stream whose reads have become whole blocks, bytes that can stay in
//! the kernel are not copied at all: they lie in a pipe for each block, which the reader of that block gets.

mod pipes;

use super::blocks::{BLOCK, Grant, Held, block_end};
use super::memory::{ReadMemory, block_pages};
use super::piece::{Piece, Shown};
use crate::ports::ServedFrom;
use bytes::{Bytes, BytesMut};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use wasmount_pipe::Pipes;
use wasmount_types::Error;

/// Longest time for which the bytes of a block that nobody waits for are left in their socket: the server must not think that nobody reads.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// Why bytes will not come.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The fetch failed.
    Failed(Error),
    /// Who drove the fetch has gone, or the bytes are with somebody else: nothing is known, and whoever still wants them begins anew.
    Abandoned,
}

/// How a reader takes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// In memory.
    Memory,
    /// In a pipe too, if he reads exactly what lies in one.
    Any,
}

/// Where the fetch puts bytes and readers find them.
pub(super) struct Content {
    /// First byte.
    pub(super) start: u64,
    /// Byte after the last one.
    pub(super) end: u64,
    memory: Arc<ReadMemory>,
    /// For whole blocks that may stay in the kernel.
    pipes: Option<Arc<Pipes>>,
    /// Some blocks have come in pipes, and may be with somebody else.
    piped: AtomicBool,
    /// Somebody has begun to wait.
    wanted: Notify,
    state: Mutex<State>,
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
    pub(super) fn new(memory: Arc<ReadMemory>, pipes: Option<Arc<Pipes>>, start: u64, end: u64) -> Self {
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
        let piped = AtomicBool::new(false);
        Self { start, end, memory, pipes, piped, wanted: Notify::new(), state: Mutex::new(state) }
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
        self.woken(state)
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
        self.woken(state)
    }

    /// Whether somebody waits for bytes that have not come yet.
    pub(super) fn is_awaited(&self) -> bool {
        !self.lock().waiters.is_empty()
    }

    /// Comes to its end when somebody begins to wait.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// How many bytes may come in memory of their own at most, before `limit`: whole blocks, or the last ones. At least one block, or what there is
    /// of it; `None` in the middle of one.
    pub(super) fn adoptable(&self, limit: u64) -> Option<(usize, usize)> {
        let at = self.filled();
        let end = block_end(self.start, at, self.end);
        let begins = self.begins_block(at) && at < end && end <= limit;
        begins.then(|| ((end - at) as usize, (limit - at) as usize))
    }

    /// Takes memory with the bytes of whole blocks, except for the end of the part; what lies beyond the last of them is copied. Returns how far it is filled.
    pub(super) fn adopt(&self, mut bytes: Bytes) -> u64 {
        let mut state = self.lock();
        // All of it is there until the last slice of it has gone, so one holds its blocks for all of them.
        let mut blocks = Vec::new();
        let mut at = state.filled();
        let mut grant: Option<Grant> = None;
        loop {
            let size = (block_end(self.start, at, self.end) - at) as usize;
            if size == 0 || bytes.len() < size {
                break;
            }
            match (&mut grant, self.split_grant(&mut state, at)) {
                (Some(all), Some(more)) => all.merge(more),
                (all @ None, more) => *all = more,
                (Some(_), None) => {}
            }
            blocks.push((at, bytes.split_to(size)));
            at += size as u64;
        }
        if let Some((last, _)) = blocks.last() {
            let held = Held::new(self.memory.pool.clone(), grant);
            state.held = Some((*last, held.clone()));
            state.tail_at = at;
            state.pieces.extend(blocks.into_iter().map(|(at, bytes)| Piece::memory(at, bytes, held.clone())));
        }
        let filled = self.woken(state);
        if bytes.is_empty() { filled } else { self.append(&bytes) }
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
    pub(super) fn poll(
        &self,
        context: &Context<'_>,
        from: u64,
        to: u64,
        taking: Taking,
    ) -> Poll<Result<Shown, Failure>> {
        let mut state = self.lock();
        if state.filled() >= to {
            let shown = match state.whole(from, to) {
                Some(piece) if taking == Taking::Any => piece.give(),
                _ => state.show(&self.memory, from, to).map(Shown::Memory),
            };
            return Poll::Ready(shown.ok_or(Failure::Abandoned));
        }
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        if !state.waiters.iter().any(|(end, waker)| *end == to && waker.will_wake(context.waker())) {
            state.waiters.push((to, context.waker().clone()));
            self.wanted.notify_one();
        }
        Poll::Pending
    }

    /// The bytes `from..to`, all of which have arrived, in slices of at most a block, up to those that are with somebody else.
    pub(super) fn slices(&self, from: u64, to: u64) -> Vec<(u64, Bytes, Arc<Held>)> {
        let mut state = self.lock();
        state.split(to);
        let begin = state.pieces.partition_point(|piece| piece.end() <= from);
        let mut slices = Vec::new();
        for piece in state.pieces.iter_mut().skip(begin).take_while(|piece| piece.at < to) {
            let begin = from.max(piece.at);
            let (low, high) = (begin - piece.at, piece.end().min(to) - piece.at);
            let Some(bytes) = piece.bytes(&self.memory) else { break };
            let slice = bytes.slice(low as usize..high as usize);
            slices.push((begin, piece.held().show(slice), piece.held().clone()));
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
        self.hold_block(state, at);
        state.tail = self.memory.pool.block(block_end(self.start, at, self.end) - at);
    }

    /// What keeps the block that begins at `at`, which is the current one from now on.
    fn hold_block(&self, state: &mut State, at: u64) -> Arc<Held> {
        let grant = self.split_grant(state, at);
        let held = Held::new(self.memory.pool.clone(), grant);
        state.held = Some((at, held.clone()));
        held
    }

    /// Whether a block begins at `at` for which nothing was made yet.
    pub(super) fn begins_block(&self, at: u64) -> bool {
        let made = || self.lock().held.as_ref().is_some_and(|(begin, _)| *begin == at);
        (at - self.start).is_multiple_of(BLOCK) && !made()
    }

    /// The budget for the block that begins at `at`.
    fn split_grant(&self, state: &mut State, at: u64) -> Option<Grant> {
        let pages = block_pages(block_end(self.start, at, self.end) - at) as usize;
        match &mut state.grant {
            Some(grant) if grant.num_permits() > pages => grant.split(pages),
            rest => rest.take(),
        }
    }

    /// Wakes those whose bytes are there; returns how far it is filled.
    fn woken(&self, mut state: MutexGuard<'_, State>) -> u64 {
        let filled = state.filled();
        let due = state.due(filled);
        drop(state);
        due.into_iter().for_each(Waker::wake);
        filled
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
        self.pieces.push(Piece::memory(to - bytes.len() as u64, bytes, held.clone()));
    }

    /// The piece that is exactly `from..to`.
    fn whole(&mut self, from: u64, to: u64) -> Option<&mut Piece> {
        let found = self.pieces.binary_search_by_key(&from, |piece| piece.at).ok()?;
        self.pieces.get_mut(found).filter(|piece| piece.end() == to)
    }

    /// The bytes `from..to`, all of which have arrived; `None` if some are with somebody else.
    fn show(&mut self, memory: &ReadMemory, from: u64, to: u64) -> Option<Bytes> {
        self.split(to);
        let found = self.pieces.partition_point(|piece| piece.at <= from).checked_sub(1)?;
        let mut seam = None;
        let mut at = from;
        for piece in self.pieces.iter_mut().skip(found) {
            let (begin, end) = ((at - piece.at) as usize, (piece.end().min(to) - piece.at) as usize);
            let bytes = piece.bytes(memory)?;
            if (end - begin) as u64 == to - from {
                let slice = bytes.slice(begin..end);
                return Some(piece.held().show(slice));
            }
            let seam = seam.get_or_insert_with(|| memory.seam(to - from));
            seam.bytes.extend_from_slice(bytes.get(begin..end)?);
            at += (end - begin) as u64;
            if at == to {
                return Some(seam.finish());
            }
        }
        None
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
        let (bytes, holders): (Vec<_>, Vec<_>) = pieces.into_iter().map(Piece::into_parts).unzip();
        drop(bytes);
        drop((holders, held));
    }
}

#[cfg(test)]
mod tests;
