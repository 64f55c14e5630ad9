//! What has arrived on a connection and was not taken yet.

use super::socket::Socket;
use super::stats::Counters;
use crate::fill::Fill as _;
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// Bytes received at once where nobody has given memory for them. A head and a body of 16 KiB come with one system call;
/// of a large body so much at most is copied once more.
pub(super) const BUFFER: usize = 32 * 1024;

/// Room below which it is made anew.
const LEAST_ROOM: usize = 4 * 1024;

/// A connection's buffer, counted in [`super::NetStats::body_buffer_bytes`].
pub(super) struct Buffer {
    bytes: BytesMut,
    counted: usize,
    counters: Arc<Counters>,
}

impl Buffer {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { bytes: BytesMut::new(), counted: 0, counters }
    }

    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to take from its front.
    pub(super) fn bytes_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The first `count` bytes, without copying them.
    pub(super) fn split(&mut self, count: usize) -> Bytes {
        self.bytes.split_to(count.min(self.bytes.len())).freeze()
    }

    /// Receives what is there; 0 is the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<usize>> {
        let room = self.bytes.capacity() - self.bytes.len();
        // Emptied, it is as large as it was: what comes at once should be received at once.
        if room < LEAST_ROOM || (self.bytes.is_empty() && room < BUFFER) {
            self.bytes.reserve(BUFFER);
            self.count();
        }
        socket.poll_fill(cx, &mut self.bytes, BUFFER)
    }

    fn count(&mut self) {
        let now = self.bytes.capacity();
        self.counters.buffer_bytes.fetch_add(now as u64, Ordering::Relaxed);
        self.counters.buffer_bytes.fetch_sub(self.counted as u64, Ordering::Relaxed);
        self.counted = now;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.counters.buffer_bytes.fetch_sub(self.counted as u64, Ordering::Relaxed);
    }
}
