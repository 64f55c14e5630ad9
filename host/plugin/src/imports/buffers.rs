//! `buffers`: bytes that live in the host.

use super::body::{Body, Held, Piece, Pieces};
use super::budget::BufferBudget;
use super::checked::Checked;
use super::crc::crc32c;
use super::digest::digest;
use super::types::to_wit;
use super::wit::buffers as wit;
use super::wit::types::{ByteRange, Error as WitError};
use super::{interruptible, push, too_large, with};
use crate::instance::processor_time;
use crate::instance::{GuestState, HasGuest};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Mutex;
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::{Accessor, Resource};

type Trap<T> = wasmtime::Result<T>;
type Answer<T> = Trap<Result<T, WitError>>;

/// The resource `buffers.buffer`: contiguous, immutable bytes.
#[allow(unreachable_pub, reason = "the generated bindings re-export it, and only a public type can be")]
pub struct Buffer {
    pub(crate) held: Held,
    /// For one that came from a connection.
    checked: Option<Checked>,
}

impl Buffer {
    /// A buffer of these bytes.
    pub(crate) fn new(held: Held) -> Self {
        Self { held, checked: None }
    }

    /// A buffer that came from a connection.
    pub(crate) fn arrived(held: Held, checked: Checked) -> Self {
        Self { held, checked: Some(checked) }
    }
}

fn part(bytes: &Bytes, offset: u32, length: u32) -> Result<Bytes, WitError> {
    let (start, end) = (offset as usize, offset as usize + length as usize);
    if end > bytes.len() {
        let text = format!("{length} bytes from {offset} do not lie inside {} bytes", bytes.len());
        return Err(to_wit(Error::new(ErrorKind::OutOfRange, Blame::Plugin, text)));
    }
    Ok(bytes.slice(start..end))
}

fn push_answer<R: Send + 'static>(state: &mut GuestState, entry: R) -> Answer<Resource<R>> {
    Ok(push(state, entry)?.map_err(to_wit))
}

fn in_use() -> Error {
    Error::new(ErrorKind::Busy, Blame::Plugin, "this body is being read by another task of the plugin")
}

impl wit::Host for GuestState {}

impl wit::HostBuffer for GuestState {
    fn create(&mut self, bytes: Vec<u8>) -> Answer<Resource<Buffer>> {
        if bytes.len() > self.rights.limits.buffer {
            let text =
                format!("a buffer of {} bytes, the limit is {}", bytes.len(), self.rights.limits.buffer);
            return Ok(Err(to_wit(too_large(text))));
        }
        match self.buffers.charge(bytes.len()) {
            Ok(charge) => {
                push_answer(self, Buffer::new(Held { bytes: bytes.into(), charge: Some(Arc::new(charge)) }))
            }
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    fn len(&mut self, buffer: Resource<Buffer>) -> Trap<u32> {
        // A buffer is far smaller than 4 GiB.
        Ok(u32::try_from(self.table.get(&buffer)?.held.bytes.len()).unwrap_or(u32::MAX))
    }

    fn slice(&mut self, buffer: Resource<Buffer>, offset: u32, length: u32) -> Answer<Resource<Buffer>> {
        let held = &self.table.get(&buffer)?.held;
        match part(&held.bytes, offset, length) {
            Ok(bytes) => {
                let charge = held.charge.clone();
                push_answer(self, Buffer::new(Held { bytes, charge }))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn share(&mut self, buffer: Resource<Buffer>) -> Trap<Resource<Buffer>> {
        let Buffer { held, checked } = self.table.get(&buffer)?;
        let shared = Buffer { held: held.clone(), checked: checked.clone() };
        // The contract leaves no room for an error here, so too many handles trap.
        Ok(self.table.push(shared)?)
    }

    fn copy_out(&mut self, buffer: Resource<Buffer>, offset: u32, length: u32) -> Answer<Vec<u8>> {
        Ok(part(&self.table.get(&buffer)?.held.bytes, offset, length).map(|bytes| bytes.to_vec()))
    }

    fn crc32c(&mut self, buffer: Resource<Buffer>, register: u32) -> Trap<u32> {
        let Buffer { held, checked } = self.table.get(&buffer)?;
        if let Some(register) = checked.as_ref().and_then(|checked| checked.asked(register)) {
            return Ok(register);
        }
        let started = processor_time();
        let register = crc32c(register, &held.bytes);
        self.budget.spend(processor_time().saturating_sub(started));
        Ok(register)
    }

    fn drop(&mut self, buffer: Resource<Buffer>) -> Trap<()> {
        self.table.delete(buffer)?;
        Ok(())
    }
}

impl wit::HostBody for GuestState {
    fn assemble(&mut self, pieces: Vec<wit::Piece>) -> Answer<Resource<Body>> {
        let mut all = Vec::new();
        let mut failed = None;
        // All handles are the host's now: every one is taken out of the table, whatever is wrong with another.
        for piece in pieces {
            match piece {
                wit::Piece::Buffer(buffer) => all.push(Piece::Bytes(self.table.delete(buffer)?.held)),
                wit::Piece::Zeros(count) => all.push(Piece::Zeros(count)),
                wit::Piece::Body(body) => match Arc::into_inner(self.table.delete(body)?.0) {
                    Some(pieces) => all.extend(pieces.into_inner().into_pieces()),
                    None => failed = Some(in_use()),
                },
            }
        }
        match failed.map_or_else(|| Pieces::assemble(all, &self.buffers), Err) {
            Ok(pieces) => push_answer(self, Body(Arc::new(Mutex::new(pieces)))),
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    fn len(&mut self, body: Resource<Body>) -> Trap<Option<u64>> {
        Ok(self.table.get(&body)?.0.try_lock().ok().and_then(|pieces| pieces.len()))
    }

    fn repeatable(&mut self, body: Resource<Body>) -> Trap<bool> {
        Ok(self.table.get(&body)?.0.try_lock().is_ok_and(|pieces| pieces.repeatable()))
    }

    fn duplicate(&mut self, body: Resource<Body>) -> Answer<Resource<Body>> {
        let body = self.table.get(&body)?.0.clone();
        let copy = body.try_lock().map_err(|_| in_use()).and_then(|pieces| pieces.duplicate(&self.buffers));
        match copy {
            Ok(pieces) => push_answer(self, Body(Arc::new(Mutex::new(pieces)))),
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    fn cut(&mut self, body: Resource<Body>, range: ByteRange) -> Answer<Resource<Body>> {
        let body = self.table.get(&body)?.0.clone();
        let range = wasmount_types::ByteRange { offset: range.offset, length: range.length };
        let copy = body.try_lock().map_err(|_| in_use()).and_then(|pieces| pieces.cut(range, &self.buffers));
        match copy {
            Ok(pieces) => push_answer(self, Body(Arc::new(Mutex::new(pieces)))),
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    fn drop(&mut self, body: Resource<Body>) -> Trap<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

/// The queue behind a handle, and the budget it is charged to.
fn body_of<T: 'static>(
    acc: &Accessor<T, HasGuest>,
    body: &Resource<Body>,
) -> Trap<(Arc<Mutex<Pieces>>, Arc<BufferBudget>, usize)> {
    with(acc, |state| {
        Ok((state.table.get(body)?.0.clone(), state.buffers.clone(), state.rights.limits.buffer))
    })
}

impl<T: Send + 'static> wit::HostBodyWithStore<T> for HasGuest {
    async fn digest(
        acc: &Accessor<T, Self>,
        body: Resource<Body>,
        algorithm: wit::DigestAlgorithm,
    ) -> Answer<Vec<u8>> {
        let (body, budget, _) = body_of(acc, &body)?;
        let work = async {
            let copy = body.lock().await.duplicate(&budget)?;
            digest(copy, algorithm, budget.digests.clone()).await
        };
        Ok(interruptible(acc, work).await.unwrap_or_else(|stopped| Err(stopped.error())).map_err(to_wit))
    }

    async fn next(
        acc: &Accessor<T, Self>,
        body: Resource<Body>,
        max: u32,
    ) -> Answer<Option<Resource<Buffer>>> {
        let (body, budget, limit) = body_of(acc, &body)?;
        let work = async {
            let mut pieces = body.lock().await;
            match pieces.next((max as usize).min(limit)).await {
                None => Ok(None),
                Some(Err(error)) => Err(error),
                Some(Ok(held)) => pieces.charged(held, &budget).map(Some),
            }
        };
        match interruptible(acc, work).await.unwrap_or_else(|stopped| Err(stopped.error())) {
            Ok(None) => Ok(Ok(None)),
            Ok(Some(held)) => {
                let again = held.clone();
                let answer = with(acc, |state| push_answer(state, Buffer::new(held)))?;
                if answer.is_err() {
                    // No handle is left: the bytes come again with the next call, there must be no gap.
                    body.lock().await.put_back(again);
                }
                Ok(answer.map(Some))
            }
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    async fn collect(acc: &Accessor<T, Self>, body: Resource<Body>, max: u32) -> Answer<Resource<Buffer>> {
        let held = match collect(acc, &body, max).await? {
            Ok(held) => held,
            Err(error) => return Ok(Err(error)),
        };
        let again = held.clone();
        let answer = with(acc, |state| push_answer(state, Buffer::new(held)))?;
        if answer.is_err() {
            let (body, ..) = body_of(acc, &body)?;
            body.lock().await.put_back(again);
        }
        Ok(answer)
    }

    async fn read_all(acc: &Accessor<T, Self>, body: Resource<Body>, max: u32) -> Answer<Vec<u8>> {
        Ok(collect(acc, &body, max).await?.map(|held| held.bytes.to_vec()))
    }
}

async fn collect<T: Send + 'static>(
    acc: &Accessor<T, HasGuest>,
    body: &Resource<Body>,
    max: u32,
) -> Answer<Held> {
    let (body, budget, limit) = body_of(acc, body)?;
    let work = async {
        let mut pieces = body.lock().await;
        let held = pieces.collect((max as usize).min(limit), &budget).await?;
        pieces.charged(held, &budget)
    };
    Ok(interruptible(acc, work).await.unwrap_or_else(|stopped| Err(stopped.error())).map_err(to_wit))
}
