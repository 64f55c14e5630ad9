//! Waits that end: for a condition, and for a call into a file system that may not answer.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a test waits for something that ought to happen soon, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// How long a test waits for a mount to recover by itself once the cause of its failure is gone.
pub const RECOVERY: Duration = Duration::from_secs(90);

/// Polls until `ready` returns `Some`, and returns what it found. Time in which the machine stands still does not count.
///
/// # Errors
/// When `bound` has passed; the message names `what`.
pub fn wait_for<T>(what: &str, bound: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let mut patience = Patience::new(bound);
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if patience.is_over() {
            bail!("{what}: not within {bound:?}");
        }
        patience.pause(std::thread::sleep);
    }
}

/// Time that passes while the machine runs. One that is shared may stand still for longer than anything here is to take.
struct Patience {
    start: Instant,
    stood_still: Duration,
    bound: Duration,
}

impl Patience {
    const PAUSE: Duration = Duration::from_millis(20);

    fn new(bound: Duration) -> Self {
        Self { start: Instant::now(), stood_still: Duration::ZERO, bound }
    }

    fn is_over(&self) -> bool {
        self.start.elapsed().saturating_sub(self.stood_still) > self.bound
    }

    /// A pause that takes much longer than it should is time in which the machine stood still.
    fn pause<T>(&mut self, wait: impl FnOnce(Duration) -> T) -> T {
        let pause = Instant::now();
        let result = wait(Self::PAUSE);
        self.stood_still += pause.elapsed().saturating_sub(5 * Self::PAUSE);
        result
    }
}

/// Runs `work` on a thread of its own and gives up waiting for it after `bound`.
///
/// A system call into a FUSE mount cannot be interrupted. The thread that hangs in one is left to its fate: it
/// ends with ENOTCONN when the test's mount is torn down.
///
/// # Errors
/// When `bound` has passed or `work` panicked; the message names `what`.
pub fn within<T: Send + 'static>(
    what: &str,
    bound: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone when the wait was given up: nobody wants the result then.
        let _ = sender.send(work());
    });
    let mut patience = Patience::new(bound);
    loop {
        match patience.pause(|pause| receiver.recv_timeout(pause)) {
            Ok(result) => return Ok(result),
            Err(mpsc::RecvTimeoutError::Timeout) if !patience.is_over() => {}
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("{what}: no answer within {bound:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("{what}: panicked"),
        }
    }
}

/// Reads a whole file, bounded by [`SOON`]. The inner result is the file system's own answer.
///
/// # Errors
/// When the file system does not answer in time.
pub fn read(path: impl Into<PathBuf>) -> Result<std::io::Result<Vec<u8>>> {
    let path = path.into();
    within(&format!("read {}", path.display()), SOON, move || std::fs::read(path))
}

/// The names in a directory, sorted, bounded by [`SOON`]. The inner result is the file system's own answer.
///
/// # Errors
/// When the file system does not answer in time.
pub fn names(path: impl Into<PathBuf>) -> Result<std::io::Result<Vec<String>>> {
    let path = path.into();
    within(&format!("list {}", path.display()), SOON, move || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    })
}

/// Waits until the file reads back as `expected`: the sign that a mount has recovered.
///
/// # Errors
/// When it does not within `bound`; the message carries the last answer.
pub fn reads_back(path: impl Into<PathBuf>, expected: &[u8], bound: Duration) -> Result<()> {
    let path = path.into();
    let mut last = String::new();
    wait_for(&format!("{} reads back", path.display()), bound, || match read(path.clone()) {
        Ok(Ok(bytes)) if bytes == expected => Some(()),
        other => {
            last = match other {
                Ok(Ok(bytes)) => format!("{} other bytes", bytes.len()),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            None
        }
    })
    .with_context(|| format!("last answer: {last}"))
}
