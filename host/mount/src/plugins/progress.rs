//! What people see while a plugin is transferred.

use crate::config::size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmount_distribution::Progress;

/// Where nobody looks at a bar, a line in the log says the same this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar on a terminal, lines in the log elsewhere.
pub(crate) struct Transfer {
    bar: ProgressBar,
    lines: Option<Mutex<Instant>>,
    total: AtomicU64,
    done: AtomicU64,
}

impl Transfer {
    /// Nothing is shown before something is transferred.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { bar, lines: (!terminal).then(|| Mutex::new(Instant::now())), total: 0.into(), done: 0.into() }
    }
}

impl Progress for Transfer {
    fn begin(&self, what: &str, bytes: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(bytes, Ordering::Relaxed);
        if self.lines.is_some() {
            tracing::info!("{what}: {} to transfer", size::show(bytes));
            return;
        }
        // A template that does not parse leaves the default bar.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        ) {
            self.bar.set_style(style);
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.set_length(bytes);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bar.inc(bytes);
        let Some(lines) = &self.lines else { return };
        let mut last = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            tracing::info!("{} of {}", size::show(done), size::show(self.total.load(Ordering::Relaxed)));
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
