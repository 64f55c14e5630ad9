//! What the client counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of one [`super::HttpClient`] since it was made, over all mounts that send through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Requests that were begun, granted ones only.
    pub requests: u64,
    /// Responses by the first digit of their status: 1xx (never counted), 2xx, 3xx, 4xx, 5xx.
    pub responses: [u64; 5],
    /// Requests without a response: no connection, a broken one, or too late.
    pub failures: u64,
    /// Bytes of bodies that were received.
    pub bytes_received: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that are open now, idle ones included.
    pub connections_open: u64,
    /// Requests that wait for a connection now, because as many are in use as may be.
    pub waiting_for_connection: u64,
    /// Bytes of memory that open connections have for what arrives with a head: 32 KiB each, and up to
    /// [`head_bytes`](crate::NetLimits::head_bytes) more where a large head has arrived. The most there can be is that, for
    /// [`connections_per_origin`](crate::NetLimits::connections_per_origin) connections to each origin. Not in it, and for its
    /// reader to account for: one [`read_buffer`](crate::NetLimits::read_buffer) for each body that is read by
    /// [`next`](super::ResponseBody::next) instead of into the reader's own memory; and what TLS keeps, about 64 KiB.
    pub body_buffer_bytes: u64,
    /// TCP connections that were made for plugins' own protocols; not among [`Self::connects`].
    pub tcp_connects: u64,
    /// Those of them that are open now.
    pub tcp_connections_open: u64,
    /// Attempts to make one that were granted and failed.
    pub tcp_failures: u64,
    /// Bytes received on them.
    pub tcp_bytes_received: u64,
    /// Bytes sent on them.
    pub tcp_bytes_sent: u64,
}

/// The same while they are being counted. Each is on its own: they need not fit each other at every moment.
#[derive(Default)]
pub(crate) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) responses: [AtomicU64; 5],
    pub(super) failures: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) connections_open: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) buffer_bytes: AtomicU64,
    pub(crate) tcp_connects: AtomicU64,
    pub(crate) tcp_failures: AtomicU64,
    pub(crate) tcp_connections_open: AtomicU64,
    pub(crate) tcp_bytes_received: AtomicU64,
    pub(crate) tcp_bytes_sent: AtomicU64,
}

impl Counters {
    /// Counts a response.
    pub(super) fn response(&self, status: u16) {
        if let Some(class) = self.responses.get(usize::from(status / 100).wrapping_sub(1)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> NetStats {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NetStats {
            requests: now(&self.requests),
            responses: self.responses.each_ref().map(now),
            failures: now(&self.failures),
            bytes_received: now(&self.bytes_received),
            connects: now(&self.connects),
            connections_open: now(&self.connections_open),
            waiting_for_connection: now(&self.waiting),
            body_buffer_bytes: now(&self.buffer_bytes),
            tcp_connects: now(&self.tcp_connects),
            tcp_failures: now(&self.tcp_failures),
            tcp_connections_open: now(&self.tcp_connections_open),
            tcp_bytes_received: now(&self.tcp_bytes_received),
            tcp_bytes_sent: now(&self.tcp_bytes_sent),
        }
    }
}

/// Stands for one of what is counted while it is there.
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    pub(super) fn in_(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
