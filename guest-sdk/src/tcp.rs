//! TCP and TLS connections, for protocols that are not HTTP.
//!
//! Frames are read into the guest with [`Connection::read_exact`], payload into buffers that stay in the host with
//! [`Connection::read_buffer`], and both are written together with [`Connection::write`].
//!
//! ```
//! use wasmount_sdk::tcp::{Address, Chunk, ConnectOptions, connect};
//! use wasmount_sdk::{Buffer, Result};
//!
//! async fn fetch(host: &str, request: &[u8]) -> Result<Buffer> {
//!     let connection = connect(Address::new(host, 3300), ConnectOptions::default()).await?;
//!     connection.write(vec![Chunk::Bytes(request.to_vec())]).await?;
//!     let head = connection.read_exact(4).await?;
//!     let length = head.iter().rev().fold(0, |length, byte| length << 8 | u32::from(*byte));
//!     connection.read_buffer(length).await
//! }
//! # fn main() {}
//! ```
//!
//! A connection does one read and one write at a time. A read may be dropped, it loses nothing; a dropped write finishes the connection, so
//! let a task of its own write what others only hand over ([`task::spawn`](crate::task::spawn)).

use crate::bindings::wasmount::plugin::tcp as wire;
use std::fmt;
use std::time::Duration;

pub use wire::{Address, Chunk, ConnectOptions, Connection, TlsOptions, connect};

impl Address {
    /// A name or an address (IPv6 without brackets), and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl Default for ConnectOptions {
    /// Plain TCP with the host's time limits.
    fn default() -> Self {
        Self { tls: None, timeout_ms: None, idle_timeout_ms: None }
    }
}

impl ConnectOptions {
    /// TLS from the first byte, verified for the host part of the address.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Some(TlsOptions { server_name: None, alpn: Vec::new() });
        self
    }

    /// Limits the time to connect, if that is shorter than what the host grants.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout_ms = Some(milliseconds(limit));
        self
    }

    /// Closes the connection when nothing arrived for so long.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout_ms = Some(milliseconds(limit));
        self
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        assert_eq!(Address::new("mon.example", 3300).to_string(), "mon.example:3300");
        let socket: std::net::SocketAddr = "[2001:db8::1]:6800".parse().unwrap();
        assert_eq!(Address::from(socket).to_string(), "[2001:db8::1]:6800");
    }

    #[test]
    fn options_start_plain() {
        let options = ConnectOptions::default();
        assert!(options.tls.is_none() && options.timeout_ms.is_none());
        let options = options.tls().timeout(Duration::from_secs(5)).idle_timeout(Duration::MAX);
        assert!(options.tls.is_some());
        assert_eq!((options.timeout_ms, options.idle_timeout_ms), (Some(5000), Some(u32::MAX)));
    }
}
