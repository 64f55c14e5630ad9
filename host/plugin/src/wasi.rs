//! WASI 0.2 for components of toolchains that cannot do without: clocks and random numbers work, everything else
//! is there and empty. No preopened directory, no environment, no arguments, no sockets and no name
//! look-up; what is written to stdout and stderr becomes log lines.

use crate::imports::{Level, LogSink};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// Longest line; the rest of a longer one is the next line.
const LINE: usize = 1024;

/// A context without any right.
pub(crate) fn empty(log: &Arc<LogSink>) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Lines { log: log.clone(), level: Level::Info })
        .stderr(Lines { log: log.clone(), level: Level::Warn })
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(64 * 1024)
        .build()
}

struct Lines {
    log: Arc<LogSink>,
    level: Level,
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter { log: self.log.clone(), level: self.level, line: Vec::new() })
    }
}

struct LineWriter {
    log: Arc<LogSink>,
    level: Level,
    line: Vec<u8>,
}

impl LineWriter {
    fn emit(&mut self) {
        if !self.line.is_empty() {
            self.log.emit(self.level, &String::from_utf8_lossy(&self.line), &[]);
            self.line.clear();
        }
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        for byte in bytes {
            if *byte == b'\n' || self.line.len() >= LINE {
                self.emit();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.emit();
        Poll::Ready(Ok(()))
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.emit();
    }
}
