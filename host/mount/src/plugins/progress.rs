//! What people see while plugins are transferred.

use crate::config::size;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};
use wasmount_distribution::Progress;

/// Where nobody looks at a bar, a line in the log says the same this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What several transfers that go on at the same time are shown on: each has a bar, below one another.
#[derive(Clone, Default)]
pub(crate) struct Transfers(MultiProgress);

impl Transfers {
    /// One of them. Nothing is shown before something is transferred.
    pub(crate) fn one(&self) -> Transfer {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let lines = (!terminal).then(|| Mutex::new(Line { last: Instant::now(), what: String::new() }));
        Transfer { bars: self.0.clone(), bar, shown: Once::new(), lines, total: 0.into(), done: 0.into() }
    }
}

/// A bar on a terminal, lines in the log elsewhere.
pub(crate) struct Transfer {
    bars: MultiProgress,
    bar: ProgressBar,
    shown: Once,
    lines: Option<Mutex<Line>>,
    total: AtomicU64,
    done: AtomicU64,
}

/// What the log is told about.
struct Line {
    /// When it was told last.
    last: Instant,
    what: String,
}

impl Progress for Transfer {
    fn begin(&self, what: &str, bytes: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(bytes, Ordering::Relaxed);
        if let Some(lines) = &self.lines {
            tracing::info!("{what}: {} to transfer", size::show(bytes));
            what.clone_into(&mut lines.lock().unwrap_or_else(PoisonError::into_inner).what);
            return;
        }
        // A template that does not parse leaves the default bar.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        ) {
            self.bar.set_style(style);
        }
        self.shown.call_once(|| drop(self.bars.add(self.bar.clone())));
        self.bar.set_length(bytes);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bar.inc(bytes);
        let Some(lines) = &self.lines else { return };
        let mut line = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if line.last.elapsed() >= LINE_EVERY {
            line.last = Instant::now();
            let total = size::show(self.total.load(Ordering::Relaxed));
            tracing::info!("{}: {} of {total}", line.what, size::show(done));
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
