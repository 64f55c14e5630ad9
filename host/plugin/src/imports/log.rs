//! Log lines of plugins: limited in rate, redacted, named.

use super::wit::log as wit;
use super::wit::types::Pair;
use crate::instance::GuestState;
use crate::limits::Limits;
use crate::text;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmount_net::Redactor;

/// Bytes of a text that are searched for secrets: a guest may say 16 MiB at once, of which a line shows one KiB.
const LONGEST_READ: usize = 128 * 1024;

/// How much a line matters.
pub(crate) use wit::Level;

/// Where the lines of one mount's plugin go: to `tracing`, target `plugin`.
pub(crate) struct LogSink {
    plugin: String,
    mount: String,
    redactor: Redactor,
    per_second: u32,
    longest: usize,
    window: Mutex<Window>,
    last_panic: Mutex<Option<String>>,
}

struct Window {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl LogSink {
    pub(crate) fn new(plugin: &str, mount: &str, redactor: Redactor, limits: &Limits) -> Self {
        Self {
            plugin: plugin.to_owned(),
            mount: mount.to_owned(),
            redactor,
            per_second: limits.log_lines,
            longest: limits.message,
            window: Mutex::new(Window { since: Instant::now(), lines: 0, dropped: 0 }),
            last_panic: Mutex::default(),
        }
    }

    /// Name of the plugin.
    pub(crate) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// The text as it may be shown: without secrets and control characters, not too long.
    pub(crate) fn clean(&self, text: &str) -> String {
        // What is shown must not be cut before it is redacted: half of a secret would be left. What is far behind it may.
        text::printable(&self.redactor.redact(head(text)), self.longest)
    }

    /// What the guest said when it panicked, once.
    pub(crate) fn take_panic(&self) -> Option<String> {
        self.last_panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes one line, unless there were too many in this second.
    pub(crate) fn emit(&self, level: Level, message: &str, fields: &[Pair]) {
        // A panic is the reason of the trap that follows, so it is kept even when lines are being dropped.
        if level == Level::Error && message.contains("panicked at") {
            *self.last_panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clean(message));
        }
        let dropped = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            let mut dropped = 0;
            if window.since.elapsed() >= Duration::from_secs(1) {
                dropped = std::mem::take(&mut window.dropped);
                window.since = Instant::now();
                window.lines = 0;
            }
            if window.lines >= self.per_second {
                window.dropped += 1;
                return;
            }
            window.lines += 1;
            dropped
        };
        let (plugin, mount) = (self.plugin.as_str(), self.mount.as_str());
        if dropped > 0 {
            tracing::warn!(target: "plugin", plugin, mount, "{dropped} log lines were dropped, over {} per second", self.per_second);
        }
        let mut line = head(message).to_owned();
        for Pair { name, value } in fields {
            if line.len() > LONGEST_READ {
                break;
            }
            line.push_str(&format!(" {}={:?}", head(name), head(value)));
        }
        let line = self.clean(&line);
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, mount, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, mount, "{line}"),
            Level::Info => tracing::info!(target: "plugin", plugin, mount, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, mount, "{line}"),
            Level::Error => tracing::error!(target: "plugin", plugin, mount, "{line}"),
        }
    }
}

/// The part of a text that is looked at.
fn head(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_READ)).unwrap_or_default()
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    }
}

impl wit::Host for GuestState {
    fn enabled(&mut self, level: Level) -> wasmtime::Result<bool> {
        Ok(enabled(level))
    }

    fn emit(&mut self, level: Level, message: String, fields: Vec<Pair>) -> wasmtime::Result<()> {
        self.rights.log.emit(level, &message, &fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_rate_are_counted() {
        let limits = Limits { log_lines: 3, ..Limits::default() };
        let log = LogSink::new("p", "m", Redactor::new(), &limits);
        for _ in 0..10 {
            log.emit(Level::Info, "x", &[]);
        }
        assert_eq!(log.window.lock().unwrap().dropped, 7);
        log.emit(Level::Error, "panicked at src/lib.rs:1:\nboom", &[]);
        assert_eq!(log.take_panic().unwrap(), "panicked at src/lib.rs:1:\\nboom");
        assert_eq!(log.take_panic(), None);
    }
}
