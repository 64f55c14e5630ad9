//! `buffers`: bytes that live in the host.

use super::body::{Body, Held, Piece, Pieces};
use super::crc::{CRC32, CRC64NVME, Crc, crc32c};
use super::types::to_wit;
use super::wit::buffers as wit;
use super::wit::types::{ByteRange, Error as WitError};
use super::{interruptible, push, too_large, with};
use crate::instance::{GuestState, HasGuest, Share};
use crate::limits::Limits;
use bytes::Bytes;
use futures::FutureExt as _;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::{Accessor, Resource};

type Trap<T> = wasmtime::Result<T>;
type Answer<T> = Trap<Result<T, WitError>>;

/// The resource `buffers.buffer`: contiguous, immutable bytes.
#[allow(unreachable_pub, reason = "the generated bindings re-export it, and only a public type can be")]
pub struct Buffer(pub(crate) Held);

/// Bytes of all live buffers of one instance.
pub(crate) struct BufferBudget {
    used: AtomicUsize,
    limit: usize,
    /// Of what all instances have together.
    share: Share,
    /// Digests that are being computed.
    digests: Arc<Semaphore>,
    /// Buffers that are encrypted or decrypted on threads.
    pub(crate) ciphers: Arc<Semaphore>,
    /// Those who wait for room take turns: a large piece would otherwise wait until there are no small ones. Two queues, since
    /// what is received waits for room that only what converts it gives back.
    receiving: Mutex<()>,
    converting: Mutex<()>,
    patience: Duration,
}

/// Digests of one instance that are computed at the same time, each on a thread.
const DIGESTS: usize = 2;

/// Longest body that is digested: more than the 5 GiB that S3 takes in one request. Zeros cost a guest nothing, so without a
/// limit it could ask for the digest of 2^63 of them.
const MAX_DIGEST: u64 = 8 << 30;

impl BufferBudget {
    pub(crate) fn new(limits: &Limits, share: Share) -> Arc<Self> {
        let digests = Arc::new(Semaphore::new(DIGESTS));
        let ciphers = Arc::new(Semaphore::new(limits.ciphers.clamp(1, Semaphore::MAX_PERMITS)));
        let (used, limit, patience) = (AtomicUsize::new(0), limits.buffers, limits.buffers_wait);
        let (receiving, converting) = (Mutex::new(()), Mutex::new(()));
        Arc::new(Self { used, limit, share, digests, ciphers, receiving, converting, patience })
    }

    /// Takes so many bytes until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
            return Err(too_large(format_args!(
                "more than {} bytes in live buffers; drop them earlier",
                self.limit
            )));
        }
        if !self.share.take(bytes) {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            return Err(too_large(format_args!(
                "all plugins together wanted more than the {} MiB of memory they may have; raise --memory",
                self.share.mib()
            )));
        }
        Ok(Charge { budget: self.clone(), bytes })
    }

    /// Waits for room for what is to be received, and leaves a quarter of all for what is to be made of it: what was received
    /// encrypted could otherwise fill everything, and nothing of it could be decrypted.
    pub(crate) async fn wait_to_receive(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        let most = self.limit - self.limit / 4;
        let share = |share: &Share| share.take_leaving_reserve(bytes);
        self.wait(&self.receiving, bytes, most, share).await
    }

    /// Waits for room for what is made of bytes that are there.
    pub(crate) async fn wait_to_convert(self: &Arc<Self>, bytes: usize) -> Result<Charge, Error> {
        self.wait(&self.converting, bytes, self.limit, |share: &Share| share.take(bytes)).await
    }

    async fn wait(
        self: &Arc<Self>,
        queue: &Mutex<()>,
        bytes: usize,
        most: usize,
        take_share: impl Fn(&Share) -> bool,
    ) -> Result<Charge, Error> {
        if bytes > most {
            return Err(too_large(format_args!(
                "{bytes} bytes at once; at most {most} can be had; raise --memory"
            )));
        }
        let room = async {
            let _turn = queue.lock().await;
            loop {
                // Looked at only after this: what is given back in between is not missed.
                let mut freed = std::pin::pin!(self.share.freed());
                freed.as_mut().enable();
                let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= most);
                if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok() {
                    if take_share(&self.share) {
                        return Charge { budget: self.clone(), bytes };
                    }
                    self.used.fetch_sub(bytes, Ordering::SeqCst);
                }
                freed.await;
            }
        };
        tokio::time::timeout(self.patience, room).await.map_err(|_| {
            let text = format!(
                "there was no room for {bytes} bytes among the buffers of plugins within {:?}; drop buffers earlier, or raise --memory",
                self.patience
            );
            Error::new(ErrorKind::TimedOut, Blame::Host, text)
        })
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.share.give(bytes);
    }
}

/// A part of a budget; given back when dropped.
pub(crate) struct Charge {
    budget: Arc<BufferBudget>,
    bytes: usize,
}

impl Charge {
    /// Bytes it stands for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is over `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let over = self.bytes.saturating_sub(bytes);
        self.budget.give_back(over);
        self.bytes -= over;
    }

    /// Stands for the other's bytes too.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
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
                push_answer(self, Buffer(Held { bytes: bytes.into(), charge: Some(Arc::new(charge)) }))
            }
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    fn len(&mut self, buffer: Resource<Buffer>) -> Trap<u32> {
        // A buffer is far smaller than 4 GiB.
        Ok(u32::try_from(self.table.get(&buffer)?.0.bytes.len()).unwrap_or(u32::MAX))
    }

    fn slice(&mut self, buffer: Resource<Buffer>, offset: u32, length: u32) -> Answer<Resource<Buffer>> {
        let held = &self.table.get(&buffer)?.0;
        match part(&held.bytes, offset, length) {
            Ok(bytes) => {
                let charge = held.charge.clone();
                push_answer(self, Buffer(Held { bytes, charge }))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn share(&mut self, buffer: Resource<Buffer>) -> Trap<Resource<Buffer>> {
        let held = self.table.get(&buffer)?.0.clone();
        // The contract leaves no room for an error here, so too many handles trap.
        Ok(self.table.push(Buffer(held))?)
    }

    fn copy_out(&mut self, buffer: Resource<Buffer>, offset: u32, length: u32) -> Answer<Vec<u8>> {
        Ok(part(&self.table.get(&buffer)?.0.bytes, offset, length).map(|bytes| bytes.to_vec()))
    }

    fn crc32c(&mut self, buffer: Resource<Buffer>, register: u32) -> Trap<u32> {
        let started = Instant::now();
        let register = crc32c(register, &self.table.get(&buffer)?.0.bytes);
        self.budget.spend(started.elapsed());
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
                wit::Piece::Buffer(buffer) => all.push(Piece::Bytes(self.table.delete(buffer)?.0)),
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
                let answer = with(acc, |state| push_answer(state, Buffer(held)))?;
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
        let answer = with(acc, |state| push_answer(state, Buffer(held)))?;
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

/// Reads a repeatable body to its end on a thread for blocking work.
///
/// The thread ends early when the future is dropped.
async fn digest(
    mut pieces: Pieces,
    algorithm: wit::DigestAlgorithm,
    turns: Arc<Semaphore>,
) -> Result<Vec<u8>, Error> {
    if !pieces.repeatable() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            Blame::Plugin,
            "this body cannot be digested without consuming it",
        ));
    }
    if pieces.len().is_none_or(|length| length > MAX_DIGEST) {
        return Err(too_large(format_args!("a digest of more than {MAX_DIGEST} bytes")));
    }
    let turn = turns.acquire_owned().await;
    // Dropped with this future.
    let wanted = Arc::new(());
    let still = Arc::downgrade(&wanted);
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        // Never waits: it is all in memory.
        let mut next = move || -> Option<Bytes> {
            if still.strong_count() == 0 {
                return None;
            }
            let held = pieces.next(1 << 20).now_or_never()??;
            Some(held.ok()?.bytes)
        };
        match algorithm {
            wit::DigestAlgorithm::Crc32 => {
                (checksum(&CRC32, 0xffff_ffff, &mut next) as u32).to_be_bytes().to_vec()
            }
            wit::DigestAlgorithm::Crc32c => {
                let mut register = u32::MAX;
                while let Some(bytes) = next() {
                    register = crc32c(register, &bytes);
                }
                (!register).to_be_bytes().to_vec()
            }
            wit::DigestAlgorithm::Crc64nvme => {
                checksum(&CRC64NVME, u64::MAX, &mut next).to_be_bytes().to_vec()
            }
            wit::DigestAlgorithm::Md5 => hash::<Md5>(&mut next),
            wit::DigestAlgorithm::Sha1 => hash::<Sha1>(&mut next),
            wit::DigestAlgorithm::Sha256 => hash::<Sha256>(&mut next),
        }
    });
    work.await
        .map_err(|e| Error::new(ErrorKind::Interrupted, Blame::Host, format!("digest was stopped: {e}")))
}

/// A CRC that starts from `ones`, and is inverted with them.
fn checksum(crc: &Crc, ones: u64, next: &mut dyn FnMut() -> Option<Bytes>) -> u64 {
    let mut register = ones;
    while let Some(bytes) = next() {
        register = crc.register(register, &bytes);
    }
    register ^ ones
}

fn hash<D: sha2::Digest>(next: &mut dyn FnMut() -> Option<Bytes>) -> Vec<u8> {
    let mut hasher = D::new();
    while let Some(bytes) = next() {
        hasher.update(&bytes);
    }
    hasher.finalize().to_vec()
}
