//! What is to be written, in order, with gaps for what the driver is still encrypting; and how messages get there.

use super::aead::AeadFactory;
use super::auth::Authenticator;
use super::connection::{Connection, Event};
use super::control::Control;
use super::error::{ConnectionError, Phase};
use super::frame::Assembled;
use super::message::{Chunk, MessageHeader};
use crate::payload::Payload;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes that are gathered for one write. More than a few large messages at once gain nothing, and would keep urgent frames waiting.
const WRITE_MAX: usize = 1 << 20;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Outbox<P> {
    slots: VecDeque<Slot<P>>,
}

#[derive(Debug)]
enum Slot<P> {
    Chunk(Chunk<P>),
    /// The driver is encrypting what comes here.
    Sealing,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self { slots: VecDeque::new() }
    }
}

impl<P: Payload> Outbox<P> {
    /// Appends a piece; bytes that meet become one piece.
    pub(super) fn push(&mut self, chunk: Chunk<P>) {
        match (self.slots.back_mut(), chunk) {
            (Some(Slot::Chunk(Chunk::Bytes(last))), Chunk::Bytes(mut bytes)) => last.append(&mut bytes),
            (_, chunk) => self.slots.push_back(Slot::Chunk(chunk)),
        }
    }

    /// Fills the gap; `None` if there is none.
    pub(super) fn sealed(&mut self, sealed: P) -> Option<()> {
        let gap = self.slots.iter_mut().find(|slot| matches!(slot, Slot::Sealing))?;
        *gap = Slot::Chunk(Chunk::Payload(sealed));
        Some(())
    }

    /// Everything before the first gap.
    pub(super) fn take(&mut self) -> Option<Vec<Chunk<P>>> {
        let mut chunks = Vec::new();
        while let Some(Slot::Chunk(_)) = self.slots.front() {
            if let Some(Slot::Chunk(chunk)) = self.slots.pop_front() {
                chunks.push(chunk);
            }
        }
        (!chunks.is_empty()).then_some(chunks)
    }

    /// Whether so much waits that the peer must be slow to read, or does not read at all.
    pub(super) fn is_full(&self) -> bool {
        let waiting = self.slots.iter().map(|slot| match slot {
            Slot::Sealing => 0,
            Slot::Chunk(chunk) => chunk.len(),
        });
        waiting.sum::<usize>() >= WRITE_MAX
    }

    /// Whether a message may be added. Not behind one that is being encrypted, so that only one is at a time.
    fn has_room(&self) -> bool {
        !self.is_full() && !self.slots.iter().any(|slot| matches!(slot, Slot::Sealing))
    }
}

impl<P: Payload, A: Authenticator, F: AeadFactory> Connection<P, A, F> {
    /// Puts messages at the end of what is to be written, as many as there is room for, and an acknowledgement if none carries it.
    pub(super) fn write_messages(&mut self) -> Result<(), ConnectionError> {
        if self.phase != Phase::Ready {
            return Ok(());
        }
        while self.outbox.has_room() {
            let Some((message, acknowledged)) = self.session.next_to_send() else { break };
            let header = MessageHeader::of(&message, acknowledged);
            match self.writer.message(&header, message)? {
                Assembled::Ready(chunks) => chunks.into_iter().for_each(|chunk| self.outbox.push(chunk)),
                Assembled::Sealing { before, nonce, plain } => {
                    let Some(cipher) = &self.cipher else { return Err(ConnectionError::Driver) };
                    self.events.push_back(Event::Seal { cipher: Rc::clone(cipher), nonce, plain });
                    self.outbox.push(Chunk::Bytes(before));
                    self.outbox.slots.push_back(Slot::Sealing);
                }
            }
        }
        match self.session.take_ack() {
            Some(sequence) => self.push_control(&Control::Ack(sequence)),
            None => Ok(()),
        }
    }
}
