//! Writing frames.

use super::{FrameError, INLINE_LEN, Preamble, SECURE_EPILOGUE_LEN, STATUS_COMPLETE, Segment, Tag, padded};
use crate::msgr::aead::{Aead, NONCE_LEN, Nonces};
use crate::msgr::message::{Chunk, Message, MessageHeader};
use crate::payload::{Payload, crc32c};
use std::rc::Rc;

/// Longest text without payload that is encrypted at once. What is longer goes to the driver, so that no call takes long.
const SEAL_AT_ONCE_MAX: usize = 64 << 10;

/// A frame to be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled<P> {
    /// As it is.
    Ready(Vec<Chunk<P>>),
    /// First `before`, and then what the driver makes of `plain`.
    Sealing {
        /// Written as it is.
        before: Vec<u8>,
        /// The nonce to encrypt with.
        nonce: [u8; NONCE_LEN],
        /// To be encrypted as one text.
        plain: Vec<Chunk<P>>,
    },
}

/// Writes frames.
pub struct FrameWriter<C> {
    cipher: Option<(Rc<C>, Nonces)>,
}

impl<C> std::fmt::Debug for FrameWriter<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameWriter").field("secure", &self.cipher.is_some()).finish()
    }
}

impl<C> Default for FrameWriter<C> {
    /// A writer in crc mode.
    fn default() -> Self {
        Self { cipher: None }
    }
}

impl<C: Aead> FrameWriter<C> {
    /// Goes over to secure mode with the next frame. `nonce` is where this side's nonces begin.
    pub fn secure(&mut self, cipher: Rc<C>, nonce: [u8; NONCE_LEN]) {
        self.cipher = Some((cipher, Nonces::from(nonce)));
    }

    /// A frame with one segment.
    ///
    /// # Errors
    /// The payload is too large for a frame, or the cipher refuses.
    pub fn control(&mut self, tag: Tag, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
        let preamble = Preamble::of(tag, [segment_length(tag, Segment::Head, payload.len())?, 0, 0, 0]);
        self.beginning(&preamble, payload)
    }

    /// A message.
    ///
    /// # Errors
    /// A segment is too large for a frame, or the cipher refuses.
    pub fn message<P: Payload>(
        &mut self,
        header: &MessageHeader,
        message: Message<P>,
    ) -> Result<Assembled<P>, FrameError> {
        let tag = Tag::Message;
        let head = header.encode();
        let data_len = message.data_len();
        let preamble = Preamble::of(
            tag,
            [
                segment_length(tag, Segment::Head, head.len())?,
                segment_length(tag, Segment::Front, message.front.len())?,
                segment_length(tag, Segment::Middle, message.middle.len())?,
                segment_length(tag, Segment::Data, data_len)?,
            ],
        );
        let before = self.beginning(&preamble, &head)?;
        if preamble.count == 1 {
            return Ok(Assembled::Ready(vec![Chunk::Bytes(before)]));
        }
        if self.cipher.is_some() {
            self.secure_rest(before, message)
        } else {
            Ok(crc_rest(preamble.count, before, message))
        }
    }

    /// Preamble and first segment.
    fn beginning(&mut self, preamble: &Preamble, head: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut block = preamble.encode();
        if self.cipher.is_none() {
            if !head.is_empty() {
                block.extend_from_slice(head);
                block.extend_from_slice(&crc32c(u32::MAX, head).to_le_bytes());
            }
            return Ok(block);
        }
        let (inline, rest) = head.split_at(head.len().min(INLINE_LEN));
        push_padded(&mut block, inline, INLINE_LEN);
        let mut bytes = self.seal(preamble.tag, &block)?;
        if !rest.is_empty() {
            block.clear();
            push_padded(&mut block, rest, padded(rest.len()));
            bytes.append(&mut self.seal(preamble.tag, &block)?);
        }
        Ok(bytes)
    }

    fn seal(&mut self, tag: Tag, plain: &[u8]) -> Result<Vec<u8>, FrameError> {
        self.cipher
            .as_mut()
            .and_then(|(cipher, nonces)| cipher.seal(&nonces.take(), plain))
            .ok_or(FrameError::Unsealed { tag })
    }

    fn secure_rest<P: Payload>(
        &mut self,
        mut before: Vec<u8>,
        message: Message<P>,
    ) -> Result<Assembled<P>, FrameError> {
        let data_len = message.data_len();
        let mut plain = Plain::default();
        plain.padded(&message.front);
        plain.padded(&message.middle);
        for chunk in message.data {
            plain.chunk(chunk);
        }
        plain.bytes.resize(plain.bytes.len() + padded(data_len) - data_len, 0);
        plain.padded(&{
            let mut epilogue = [0; SECURE_EPILOGUE_LEN];
            epilogue[0] = STATUS_COMPLETE;
            epilogue
        });
        if plain.chunks.is_empty() && plain.bytes.len() <= SEAL_AT_ONCE_MAX {
            before.append(&mut self.seal(Tag::Message, &plain.bytes)?);
            return Ok(Assembled::Ready(vec![Chunk::Bytes(before)]));
        }
        let Some((_, nonces)) = &mut self.cipher else {
            return Err(FrameError::Unsealed { tag: Tag::Message });
        };
        Ok(Assembled::Sealing { before, nonce: nonces.take(), plain: plain.finish() })
    }
}

/// A text to be encrypted, gathered with as few pieces as possible.
struct Plain<P> {
    chunks: Vec<Chunk<P>>,
    /// What follows them.
    bytes: Vec<u8>,
}

impl<P> Default for Plain<P> {
    fn default() -> Self {
        Self { chunks: Vec::new(), bytes: Vec::new() }
    }
}

impl<P> Plain<P> {
    fn padded(&mut self, segment: &[u8]) {
        push_padded(&mut self.bytes, segment, padded(segment.len()));
    }

    fn chunk(&mut self, chunk: Chunk<P>) {
        match chunk {
            Chunk::Bytes(bytes) => self.bytes.extend_from_slice(&bytes),
            Chunk::Payload(_) => {
                self.flush();
                self.chunks.push(chunk);
            }
        }
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.chunks.push(Chunk::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    fn finish(mut self) -> Vec<Chunk<P>> {
        self.flush();
        self.chunks
    }
}

/// Everything after the first segment in crc mode.
fn crc_rest<P: Payload>(count: u8, mut before: Vec<u8>, message: Message<P>) -> Assembled<P> {
    let data_crc = message.data.iter().fold(u32::MAX, |register, chunk| chunk.crc32c(register));
    let mut crcs = [crc32c(u32::MAX, &message.front), crc32c(u32::MAX, &message.middle), data_crc];
    // An empty segment has the CRC of nothing, one that was left out has none.
    crcs.iter_mut().skip(usize::from(count).saturating_sub(1)).for_each(|crc| *crc = 0);
    before.extend_from_slice(&message.front);
    before.extend_from_slice(&message.middle);
    let mut epilogue = vec![STATUS_COMPLETE];
    epilogue.extend(crcs.into_iter().flat_map(u32::to_le_bytes));
    let mut chunks = Vec::with_capacity(message.data.len() + 2);
    chunks.push(Chunk::Bytes(before));
    chunks.extend(message.data);
    chunks.push(Chunk::Bytes(epilogue));
    Assembled::Ready(chunks)
}

fn push_padded(into: &mut Vec<u8>, bytes: &[u8], length: usize) {
    let end = into.len() + length;
    into.extend_from_slice(bytes);
    into.resize(end, 0);
}

fn segment_length(tag: Tag, segment: Segment, length: usize) -> Result<u32, FrameError> {
    u32::try_from(length).map_err(|_| FrameError::TooLarge {
        tag,
        segment,
        length: length as u64,
        limit: u32::MAX,
    })
}
