//! An answer that is put together once and not kept.

use super::blocks::Seam;
use super::memory::ReadMemory;
use crate::ports::Body;
use bytes::Bytes;
use wasmount_types::{Blame, Error, ErrorKind};

/// Bytes that are being put together.
pub(crate) struct Gathered {
    seam: Seam,
    size: usize,
}

impl Gathered {
    pub(super) fn new(memory: &ReadMemory, size: usize) -> Self {
        Self { seam: memory.seam(size as u64), size }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.seam.bytes.len()
    }

    /// Bytes that there is still room for.
    pub(crate) fn missing(&self) -> usize {
        self.size - self.seam.bytes.len()
    }

    /// Takes the bytes of a body, at most so many; returns how many there were.
    ///
    /// # Errors
    /// Those of the body; `corrupt` if it has more.
    pub(crate) async fn take(&mut self, body: &mut dyn Body, most: usize) -> Result<usize, Error> {
        let before = self.seam.bytes.len();
        while self.seam.bytes.len() - before < most {
            match body.read_into(&mut self.seam.bytes).await {
                Some(received) => drop(received?),
                None => break,
            }
        }
        let taken = self.seam.bytes.len() - before;
        if taken > most || self.seam.bytes.len() > self.size {
            let message = format!("{taken} bytes instead of at most {most}");
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        Ok(taken)
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> Bytes {
        self.seam.finish()
    }
}
