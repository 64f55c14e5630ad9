//! Every number that bounds the network, in one place.

use std::time::Duration;

/// Limits of one [`crate::HttpClient`]; all of them hold whatever a plugin or a server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// Name resolution. Default 5 s: one lost query and its repetition (`resolv.conf` retries after 5 s at the latest).
    pub resolve: Duration,
    /// From the first SYN to an established TCP connection, over all addresses of a name. Default 5 s: three SYNs (RFC 6298).
    pub connect: Duration,
    /// TLS handshake, and the `CONNECT` exchange with a proxy. Default 10 s each.
    pub handshake: Duration,
    /// Pause before the next address of a name is tried beside the previous one. Default 250 ms (RFC 8305, section 5).
    pub next_address: Duration,
    /// Longest time to the response head when neither the mount nor the request sets a shorter one. Default 30 s. It
    /// includes waiting for a connection, resolving and connecting.
    pub response_head: Duration,
    /// Longest silence in the middle of a body, in either direction. Default 30 s.
    pub body_idle: Duration,
    /// Connections in use at once per origin, TLS identity and proxy; more requests wait in order. Default 128. May be
    /// changed later ([`set_connections_per_origin`](crate::HttpClient::set_connections_per_origin)).
    pub connections_per_origin: usize,
    /// Connections kept open without work per origin. Default 64.
    pub idle_per_origin: usize,
    /// How long such a connection is kept. Default 60 s: below what nginx (75 s) and load balancers commonly allow. A server
    /// that closes earlier costs nothing, since a closed connection is noticed before it is used.
    pub idle_timeout: Duration,
    /// Sum of names and values in the head of a request or response. Default 64 KiB.
    pub head_bytes: usize,
    /// Number of headers in either. Default 100.
    pub headers: usize,
    /// Largest piece of a body that is read by [`next`](crate::ResponseBody::next), and the memory such a body holds. Default
    /// 256 KiB: larger ones do not fit a second-level cache any more, smaller ones cost system calls. A reader that brings
    /// its own memory ([`read_into`](crate::ResponseBody::read_into)) gets as much at once as it has room for.
    pub read_buffer: usize,
    /// How much of an unwanted body is read to save the connection, if it comes within [`Self::drain_time`]. Default 64 KiB.
    pub drain_bytes: u64,
    /// See [`Self::drain_bytes`]. Default 50 ms.
    pub drain_time: Duration,
    /// How long a request with `expect: 100-continue` waits for the go-ahead before it sends its body anyway. Default 1 s
    /// (RFC 9110, section 10.1.1: a client must not wait indefinitely).
    pub expect_continue: Duration,
    /// TCP connections that one mount has at once, those being made included; one more is refused. Default 1024: a client of a
    /// storage cluster has one to each server that holds its data, and a descriptor is all that an idle one costs the kernel.
    pub tcp_connections: usize,
    /// How long a read on a TCP connection waits without a byte when the plugin sets no limit. Default 300 s: only peers that
    /// live and say nothing come so far, since keep-alive finds dead ones after a minute.
    pub tcp_idle: Duration,
    /// How long the other side of a TCP connection may take nothing of what is written to it. Default 30 s.
    pub tcp_stall: Duration,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            next_address: Duration::from_millis(250),
            response_head: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            connections_per_origin: 128,
            idle_per_origin: 64,
            idle_timeout: Duration::from_secs(60),
            head_bytes: 64 * 1024,
            headers: 100,
            read_buffer: 256 * 1024,
            drain_bytes: 64 * 1024,
            drain_time: Duration::from_millis(50),
            expect_continue: Duration::from_secs(1),
            tcp_connections: 1024,
            tcp_idle: Duration::from_secs(300),
            tcp_stall: Duration::from_secs(30),
        }
    }
}
