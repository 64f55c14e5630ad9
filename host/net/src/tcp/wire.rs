//! The socket that both directions of a connection share.

use rustix::net::Shutdown;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wasmount_types::{Error, Result};

/// A connected socket, and why it must not be used any more.
pub(super) struct Wire {
    stream: Arc<TcpStream>,
    ended: OnceLock<Error>,
}

impl Wire {
    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        Self { stream, ended: OnceLock::new() }
    }

    /// Finishes the connection: what waits for it in the other direction notices. The first reason stays.
    pub(super) fn end(&self, why: &Error) {
        if self.ended.set(why.clone()).is_ok() {
            // Fails when the other side was faster, which makes no difference.
            let _ = rustix::net::shutdown(&*self.stream, Shutdown::Both);
        }
    }

    /// # Errors
    /// What has finished the connection.
    pub(super) fn check(&self) -> Result<()> {
        self.ended.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// The reason, where an operation was disturbed by another one that finished the connection.
    pub(super) fn reason(&self, own: Error) -> Error {
        self.end(&own);
        self.ended.get().cloned().unwrap_or(own)
    }

    /// Ends our direction of a connection without TLS.
    pub(super) fn shut_down_writing(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&*self.stream, Shutdown::Write)?)
    }
}

/// A socket that several own. At most one of them may read at a time, and one write.
pub(super) struct Shared(pub(super) Arc<TcpStream>);

impl Shared {
    /// Does `attempt` as soon as the socket is ready for it.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        ready: fn(&TcpStream, &mut Context<'_>) -> Poll<io::Result<()>>,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(ready(&self.0, cx))?;
            match attempt(&self.0) {
                // The readiness was old, and is now forgotten.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, TcpStream::poll_read_ready, |stream| stream.try_read_buf(buf)).map_ok(|_| ())
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, TcpStream::poll_write_ready, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, TcpStream::poll_write_ready, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&*self.0, Shutdown::Write)?))
    }
}

/// Where bytes come from. An enum and not a trait object: without TLS they go straight into the caller's memory.
pub(super) enum Source {
    Plain(Shared),
    Tls(ReadHalf<TlsStream<Shared>>),
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(shared) => Pin::new(shared).poll_read(cx, buf),
            Self::Tls(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

/// Where bytes go.
pub(super) enum Sink {
    Plain(Shared),
    Tls(WriteHalf<TlsStream<Shared>>),
}

impl Sink {
    /// Writes some of it.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(shared) => Pin::new(shared).poll_write_vectored(cx, pieces),
            Self::Tls(half) => Pin::new(half).poll_write_vectored(cx, pieces),
        }
    }

    /// Ready when the kernel has all of it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(half) => Pin::new(half).poll_flush(cx),
        }
    }

    /// Says the end.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(wire.shut_down_writing()),
            Self::Tls(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}
