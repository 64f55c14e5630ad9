//! Consecutive bytes of a part that have arrived, in memory or in a pipe of the kernel.

use super::blocks::Held;
use super::memory::ReadMemory;
use bytes::Bytes;
use std::sync::Arc;
use wasmount_pipe::Pipe;

/// Some of a part's bytes, all within one block.
pub(super) struct Piece {
    /// Where they begin.
    pub(super) at: u64,
    length: u64,
    place: Place,
    held: Arc<Held>,
}

/// Where bytes are.
enum Place {
    Memory(Bytes),
    /// With nobody else: who wants them in one piece gets the pipe, who wants a part of them has them read into memory.
    Pipe(Pipe),
    /// Given away with their pipe.
    Gone,
}

/// What a reader gets of one piece.
pub(super) enum Shown {
    Memory(Bytes),
    /// With what keeps its share of the budget.
    Pipe(Pipe, Arc<Held>),
}

impl Piece {
    pub(super) fn memory(at: u64, bytes: Bytes, held: Arc<Held>) -> Self {
        Self { at, length: bytes.len() as u64, place: Place::Memory(bytes), held }
    }

    pub(super) fn pipe(at: u64, pipe: Pipe, held: Arc<Held>) -> Self {
        Self { at, length: pipe.len() as u64, place: Place::Pipe(pipe), held }
    }

    /// Byte after its last one.
    pub(super) fn end(&self) -> u64 {
        self.at + self.length
    }

    /// What keeps its block.
    pub(super) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Whether its bytes are with somebody else.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.place, Place::Gone)
    }

    /// Its bytes, for one who reads exactly these: with their pipe if they lie in one, which then is his.
    pub(super) fn give(&mut self) -> Option<Shown> {
        match std::mem::replace(&mut self.place, Place::Gone) {
            Place::Memory(bytes) => {
                let shown = self.held.show(bytes.clone());
                self.place = Place::Memory(bytes);
                Some(Shown::Memory(shown))
            }
            Place::Pipe(pipe) => Some(Shown::Pipe(pipe, self.held.clone())),
            Place::Gone => None,
        }
    }

    /// Its bytes in memory; `None` if they are gone.
    pub(super) fn bytes(&mut self, memory: &ReadMemory) -> Option<&Bytes> {
        if let Place::Pipe(pipe) = &mut self.place {
            let mut room = memory.pool.block(self.length);
            let read = pipe.read_into(&mut room);
            self.place = match read {
                Ok(()) => {
                    let bytes = room.freeze();
                    self.held.anchor(&bytes);
                    Place::Memory(bytes)
                }
                // Nothing that a pipe of ours does. The bytes are fetched again.
                Err(_) => Place::Gone,
            };
        }
        match &self.place {
            Place::Memory(bytes) => Some(bytes),
            Place::Pipe(_) | Place::Gone => None,
        }
    }

    /// Takes the bytes out, to drop them before what holds their block.
    pub(super) fn into_parts(self) -> (Option<Bytes>, Arc<Held>) {
        match self.place {
            Place::Memory(bytes) => (Some(bytes), self.held),
            Place::Pipe(_) | Place::Gone => (None, self.held),
        }
    }
}
