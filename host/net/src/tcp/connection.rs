//! One connection.

use super::memory::{Memory, Received};
use super::read::{Broken, Reader};
use super::wire::Wire;
use super::write::{Unsent, Writer};
use crate::failure::{find, timed_out, unavailable};
use crate::http::stats::Counters;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit};
use wasmount_types::{Blame, Effect, Error, ErrorKind, Result};

/// An established connection. Dropping it closes it.
///
/// One read and one write may be under way at the same time; another one gets `busy`, blame `plugin`. After any error but
/// `busy`, `invalid` and `too-large` the connection is finished: everything fails as that did.
pub struct TcpConnection<M: Memory> {
    /// `host:port` as it was asked for, and the address if that was a name.
    label: Arc<str>,
    local: SocketAddr,
    peer: SocketAddr,
    wire: Wire,
    // Neither lock is ever waited for.
    reader: Mutex<Reader<M>>,
    writer: Mutex<Writer>,
    _counted: Counted<M::Room>,
}

/// Its place in the counts, and what it costs its memory.
pub(super) struct Counted<R> {
    counters: Arc<Counters>,
    _permit: OwnedSemaphorePermit,
    _room: R,
}

impl<R> Counted<R> {
    pub(super) fn new(counters: Arc<Counters>, permit: OwnedSemaphorePermit, room: R) -> Self {
        counters.tcp_connects.fetch_add(1, Ordering::Relaxed);
        counters.tcp_connections_open.fetch_add(1, Ordering::Relaxed);
        Self { counters, _permit: permit, _room: room }
    }
}

impl<R> Drop for Counted<R> {
    fn drop(&mut self) {
        self.counters.tcp_connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Finishes the connection when a write is dropped in the middle: part of a frame may be on the wire.
struct MustReturn<'a>(Option<(&'a Wire, &'a str)>);

impl MustReturn<'_> {
    fn returned(mut self) {
        self.0 = None;
    }
}

impl Drop for MustReturn<'_> {
    fn drop(&mut self) {
        if let Some((wire, label)) = self.0 {
            let text = format!(
                "{label}: the connection was finished because a write was given up before it returned"
            );
            let why = Error::new(ErrorKind::Unavailable, Blame::Plugin, text);
            wire.end(&why.with_effect(Effect::Unknown));
        }
    }
}

impl<M: Memory> TcpConnection<M> {
    pub(super) fn new(
        label: Arc<str>,
        (local, peer): (SocketAddr, SocketAddr),
        wire: Wire,
        reader: Reader<M>,
        writer: Writer,
        counted: Counted<M::Room>,
    ) -> Self {
        let (reader, writer) = (Mutex::new(reader), Mutex::new(writer));
        Self { label, local, peer, wire, reader, writer, _counted: counted }
    }

    /// Our own end.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Exactly so many bytes.
    ///
    /// # Errors
    /// `unavailable`, blame `origin`: the connection ended before, or broke. `timed-out`: nothing came for as long as may be.
    /// Those of [`Memory::wait`]. `busy`: another read is under way.
    ///
    /// # Cancellation safety
    /// Dropping the future loses nothing: what had arrived is there for the next read.
    pub async fn read_exact(&self, length: usize) -> Result<Vec<u8>> {
        let mut reader = self.reader()?;
        reader.exact(length).await.map_err(|broken| self.broken(broken, length))
    }

    /// What there is, at least one and at most `max` bytes; nothing at the end of the stream.
    ///
    /// # Errors
    /// Those of [`Self::read_exact`]; the end of the stream is none. `invalid`: `max` is 0.
    ///
    /// # Cancellation safety
    /// That of [`Self::read_exact`].
    pub async fn read_some(&self, max: usize) -> Result<Vec<u8>> {
        if max == 0 {
            // Nothing would be the end of the stream.
            let text = format!("{}: at most 0 bytes were asked for", self.label);
            return Err(Error::new(ErrorKind::Invalid, Blame::Plugin, text));
        }
        let mut reader = self.reader()?;
        reader.some(max).await.map_err(|broken| self.broken(broken, 1))
    }

    /// Exactly so many bytes in memory of their own, which is waited for first.
    ///
    /// # Errors
    /// Those of [`Self::read_exact`].
    ///
    /// # Cancellation safety
    /// That of [`Self::read_exact`].
    pub async fn read_buffer(&self, length: usize) -> Result<Received<M::Room>> {
        self.read_buffer_seen(length, |_bytes| {}).await
    }

    /// [`Self::read_buffer`], whose bytes `seen` is shown as they arrive, all of them in order, while they are in the processor's cache. Should the read be
    /// dropped, the next one shows them to its own.
    ///
    /// # Errors
    /// Those of [`Self::read_exact`].
    ///
    /// # Cancellation safety
    /// That of [`Self::read_exact`].
    pub async fn read_buffer_seen(
        &self,
        length: usize,
        seen: impl FnMut(&[u8]) + Send,
    ) -> Result<Received<M::Room>> {
        let mut reader = self.reader()?;
        reader.buffer(length, seen).await.map_err(|broken| self.broken(broken, length))
    }

    /// Sends all pieces in order, with as few system calls as possible; returns when the kernel has all of them.
    ///
    /// # Errors
    /// `unavailable`, `effect` unknown: the connection broke. `timed-out`: the other side took nothing for as long as may be.
    /// `busy`: another write is under way. `invalid`: after [`Self::finish`].
    ///
    /// # Cancellation safety
    /// None: a write that is dropped finishes the connection.
    pub async fn write(&self, pieces: impl IntoIterator<Item = Bytes>) -> Result<()> {
        let mut writer = self.writer()?;
        if writer.finished {
            let text = format!("{}: the plugin has already said that it sends nothing more", self.label);
            return Err(Error::new(ErrorKind::Invalid, Blame::Plugin, text));
        }
        let guard = MustReturn(Some((&self.wire, &self.label)));
        let sent = writer.write(pieces.into_iter().collect()).await;
        guard.returned();
        sent.map_err(|unsent| self.unsent(unsent))
    }

    /// Ends our direction; reads go on. A second time it does nothing.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    ///
    /// # Cancellation safety
    /// That of [`Self::write`].
    pub async fn finish(&self) -> Result<()> {
        let mut writer = self.writer()?;
        if writer.finished {
            return Ok(());
        }
        let guard = MustReturn(Some((&self.wire, &self.label)));
        let sent = writer.finish(&self.wire).await;
        guard.returned();
        sent.map_err(|unsent| self.unsent(unsent))
    }

    /// Finishes the connection for a reason of the caller's own.
    pub fn end(&self, why: &Error) {
        self.wire.end(why);
    }

    fn reader(&self) -> Result<MutexGuard<'_, Reader<M>>> {
        let reader = self.reader.try_lock().map_err(|_| self.busy("read"))?;
        self.wire.check()?;
        Ok(reader)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let writer = self.writer.try_lock().map_err(|_| self.busy("write"))?;
        self.wire.check()?;
        Ok(writer)
    }

    fn busy(&self, what: &str) -> Error {
        let text = format!("{}: another {what} on this connection is under way", self.label);
        Error::new(ErrorKind::Busy, Blame::Plugin, text)
    }

    fn broken(&self, broken: Broken, wanted: usize) -> Error {
        let label = &self.label;
        let error = match broken {
            // Nothing was wrong with the connection.
            Broken::Memory(error) => return error,
            Broken::Closed(0) => unavailable(format!("{label}: the other side closed the connection"), 0),
            Broken::Closed(count) => unavailable(
                format!("{label}: the other side closed the connection after {count} of {wanted} bytes"),
                0,
            ),
            Broken::Silent(limit) => timed_out(format!("{label}: nothing came for {limit:?}")),
            Broken::Io(error) => self.io(&error),
        };
        self.wire.reason(error)
    }

    fn unsent(&self, unsent: Unsent) -> Error {
        let error = match unsent {
            Unsent::Stalled(limit) => {
                timed_out(format!("{}: the other side took nothing for {limit:?}", self.label))
            }
            Unsent::Io(error) => self.io(&error),
        };
        self.wire.reason(error.with_effect(Effect::Unknown))
    }

    fn io(&self, error: &io::Error) -> Error {
        let label = &self.label;
        let text = match find::<rustls::Error>(error) {
            Some(tls) => format!("{label}: what arrived is not what TLS allows ({tls})"),
            // What TLS calls a connection that was closed without a word.
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                format!("{label}: the other side closed the connection")
            }
            None => format!("{label}: the connection broke ({error})"),
        };
        unavailable(text, 0)
    }
}

impl<M: Memory> fmt::Debug for TcpConnection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpConnection({})", self.label)
    }
}
