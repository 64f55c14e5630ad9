//! Receiving.

use super::READ_AHEAD;
use super::memory::{Memory, Received};
use super::wire::Source;
use crate::fill::Fill as _;
use crate::http::stats::Counters;
use crate::timer::sleep;
use bytes::{Buf as _, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmount_types::Error;

/// Bytes received before others get their turn. The kernel copies so much in a fifth of a millisecond; all of a buffer of several
/// MiB at once would hold a plugin's thread for long enough to look like a guest that spins.
const BURST: usize = 512 * 1024;

/// The receiving half of a connection. A dropped read loses nothing: all that has arrived and was not returned is in `ahead`.
pub(super) struct Reader<M: Memory> {
    source: Source,
    /// Received, not taken. As large as what is being read, if that is more than [`READ_AHEAD`].
    ahead: BytesMut,
    /// Pays for `ahead` when it is larger than the connection's own part.
    room: Option<M::Room>,
    memory: M,
    counters: Arc<Counters>,
    handle: Handle,
    /// Longest time that reads wait for a byte.
    idle: Duration,
    /// How long they have waited for the next one.
    silent: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a read has no bytes.
pub(super) enum Broken {
    /// The connection ended after so many of the bytes.
    Closed(usize),
    /// Nothing came for so long.
    Silent(Duration),
    Io(io::Error),
    /// The host has no memory; nothing is wrong with the connection.
    Memory(Error),
}

/// Adds the time that a read has waited to the silence, however the wait ends.
struct Waiting<'a> {
    silent: &'a mut Duration,
    since: Option<Instant>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            *self.silent += since.elapsed();
        }
    }
}

impl<M: Memory> Reader<M> {
    pub(super) fn new(
        source: Source,
        memory: M,
        counters: Arc<Counters>,
        handle: Handle,
        idle: Duration,
    ) -> Self {
        Self {
            source,
            ahead: BytesMut::new(),
            room: None,
            memory,
            counters,
            handle,
            idle,
            silent: Duration::ZERO,
            timer: None,
        }
    }

    /// Exactly so many bytes, copied.
    pub(super) async fn exact(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        if length > READ_AHEAD {
            let Received { bytes, .. } = self.buffer(length, |_bytes| {}).await?;
            return Ok(bytes.into());
        }
        while self.ahead.len() < length {
            self.make_room(length);
            self.receive(usize::MAX).await?;
        }
        Ok(self.take(length))
    }

    /// What is there, at most `max` bytes; nothing at the end of the stream.
    pub(super) async fn some(&mut self, max: usize) -> Result<Vec<u8>, Broken> {
        if self.ahead.is_empty() {
            self.make_room(1);
            match self.receive(usize::MAX).await {
                Err(Broken::Closed(_)) => return Ok(Vec::new()),
                received => received?,
            }
        }
        Ok(self.take(max.min(self.ahead.len())))
    }

    /// Exactly so many bytes in memory of their own. `seen` is shown each as it arrives.
    pub(super) async fn buffer(
        &mut self,
        length: usize,
        mut seen: impl FnMut(&[u8]) + Send,
    ) -> Result<Received<M::Room>, Broken> {
        let room = self.memory.wait(length).await.map_err(Broken::Memory)?;
        if self.ahead.len() > length {
            let mut own = BytesMut::with_capacity(length);
            own.extend_from_slice(self.ahead.get(..length).unwrap_or_default());
            self.consume(length);
            seen(&own);
            return Ok(Received { bytes: own.freeze(), room });
        }
        // From now on this is the read-ahead: what is there if this read is dropped is found by the next one.
        let mut own = BytesMut::with_capacity(length);
        own.extend_from_slice(&self.ahead);
        self.ahead = own;
        self.room = Some(room);
        seen(&self.ahead);
        let mut burst = self.ahead.len();
        while self.ahead.len() < length {
            let before = self.ahead.len();
            self.receive((length - before).min(BURST)).await?;
            seen(self.ahead.get(before..).unwrap_or_default());
            // Others who are driven by the same task have waited long enough.
            if self.ahead.len() - burst >= BURST {
                burst = self.ahead.len();
                tokio::task::yield_now().await;
            }
        }
        let bytes = std::mem::take(&mut self.ahead).freeze();
        match self.room.take() {
            Some(room) => Ok(Received { bytes, room }),
            // Put there above.
            None => Err(Broken::Closed(bytes.len())),
        }
    }

    /// Makes sure that `ahead` can hold `length` bytes in all, of which there are fewer.
    fn make_room(&mut self, length: usize) {
        if self.ahead.is_empty() {
            // Makes all of it usable again; allocates only if there was none.
            self.ahead.reserve(READ_AHEAD);
        } else if self.ahead.capacity() < length {
            let mut fresh = BytesMut::with_capacity(READ_AHEAD);
            fresh.extend_from_slice(&self.ahead);
            (self.ahead, self.room) = (fresh, None);
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.ahead.get(..count).unwrap_or_default().to_vec();
        self.consume(count);
        taken
    }

    fn consume(&mut self, count: usize) {
        self.ahead.advance(count);
        if self.ahead.is_empty() && self.room.is_some() {
            (self.ahead, self.room) = (BytesMut::new(), None);
        }
    }

    /// Appends what is there to `ahead`, at least one byte and at most `max`.
    async fn receive(&mut self, max: usize) -> Result<(), Broken> {
        let Self { source, ahead, handle, timer, idle, silent, .. } = self;
        let left = idle.saturating_sub(*silent);
        let mut waiting = Waiting { silent, since: None };
        let received = poll_fn(|cx| {
            if let Poll::Ready(received) = source.poll_fill(cx, ahead, max) {
                return Poll::Ready(Some(received));
            }
            let timer = timer.get_or_insert_with(|| Box::pin(sleep(handle, left)));
            if waiting.since.is_none() {
                waiting.since = Some(Instant::now());
                timer.as_mut().reset(tokio::time::Instant::now() + left);
            }
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await;
        drop(waiting);
        match received {
            Some(Ok(0)) => Err(Broken::Closed(self.ahead.len())),
            Some(Ok(count)) => {
                self.silent = Duration::ZERO;
                self.counters.tcp_bytes_received.fetch_add(count as u64, Ordering::Relaxed);
                Ok(())
            }
            Some(Err(error)) => Err(Broken::Io(error)),
            None => Err(Broken::Silent(self.idle)),
        }
    }
}
