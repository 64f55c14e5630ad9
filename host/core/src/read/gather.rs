//! An answer that is put together once and not kept.

use super::blocks::Held;
use super::memory::ReadMemory;
use crate::ports::Body;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind};

/// Bytes that are being put together.
pub(crate) struct Gathered {
    bytes: BytesMut,
    held: Arc<Held>,
    size: usize,
}

impl Gathered {
    pub(super) fn new(memory: &ReadMemory, size: usize) -> Self {
        let (bytes, held) = memory.seam(size as u64);
        Self { bytes, held, size }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that there is still room for.
    pub(crate) fn missing(&self) -> usize {
        self.size - self.bytes.len()
    }

    /// Takes the bytes of a body, at most so many; returns how many there were.
    ///
    /// # Errors
    /// Those of the body; `corrupt` if it has more.
    pub(crate) async fn take(&mut self, body: &mut dyn Body, most: usize) -> Result<usize, Error> {
        let before = self.bytes.len();
        while self.bytes.len() - before < most {
            match body.read_into(&mut self.bytes).await {
                Some(received) => drop(received?),
                None => break,
            }
        }
        let taken = self.bytes.len() - before;
        if taken > most || self.bytes.len() > self.size {
            let message = format!("{taken} bytes instead of at most {most}");
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        Ok(taken)
    }

    /// All of them.
    pub(crate) fn finish(self) -> Bytes {
        self.held.show(self.bytes.freeze())
    }
}
