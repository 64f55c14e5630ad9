//! What people see while they wait.

use crate::config::size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where nobody looks at a bar, a line in the log says the same this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was in the cache already.
    Present,
    /// It was read.
    Read,
}

/// Files and bytes, found and done.
pub(super) struct Progress {
    bar: ProgressBar,
    /// The bar is not shown: lines instead.
    lines: Option<Mutex<Instant>>,
    started: Instant,
    files: AtomicU64,
    bytes: AtomicU64,
    all_found: AtomicBool,
    done: AtomicU64,
    present: AtomicU64,
    bytes_done: AtomicU64,
}

impl Progress {
    /// A bar on a terminal, lines elsewhere, nothing if `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // A template that does not parse leaves the default bar.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} ETA {eta}",
        ) {
            bar.set_style(style);
        }
        Self {
            bar,
            lines: (!quiet && !terminal).then(|| Mutex::new(Instant::now())),
            started: Instant::now(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            all_found: AtomicBool::new(false),
            done: AtomicU64::new(0),
            present: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
        }
    }

    /// One more file of `size` bytes.
    pub(super) fn found(&self, size: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.bar.inc_length(size);
    }

    /// There are no more files than those found.
    pub(super) fn all_found(&self) {
        self.all_found.store(true, Ordering::Relaxed);
    }

    /// So many more bytes are in the cache, or on their way.
    pub(super) fn bytes_done(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.bar.inc(bytes);
        let Some(lines) = &self.lines else { return };
        let mut last = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            drop(last);
            self.line();
        }
    }

    /// A file is in the cache.
    pub(super) fn file_done(&self, outcome: Outcome) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Present {
            self.present.fetch_add(1, Ordering::Relaxed);
        }
        self.bar.set_message(self.of_files());
    }

    /// Files in the cache, and how many of them were there before.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.present.load(Ordering::Relaxed))
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The last line.
    pub(super) fn summary(&self, files: u64, present: u64) {
        let bytes = self.bytes_done.load(Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs_f64();
        tracing::info!(
            files,
            already_cached = present,
            bytes,
            seconds = format!("{seconds:.1}"),
            "{files} files, {} are in the cache",
            size::show(bytes)
        );
    }

    fn of_files(&self) -> String {
        let more = if self.all_found.load(Ordering::Relaxed) { "" } else { "+" };
        format!("{}/{}{more} files", self.done.load(Ordering::Relaxed), self.files.load(Ordering::Relaxed))
    }

    fn line(&self) {
        let (done, all) = (self.bytes_done.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let eta = (all.saturating_sub(done)) as f64 / rate.max(1.0);
        tracing::info!(
            "{}, {} of {}, {}/s, {eta:.0} s left",
            self.of_files(),
            size::show(done),
            size::show(all),
            size::show(rate as u64)
        );
    }
}
