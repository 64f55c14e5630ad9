//! Readers that go on while things break, and hold every byte against what it must be.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{Advice, fadvise};

use crate::prng::Prng;

/// Reads from one open file before it is closed and opened again.
const READS_PER_OPEN: usize = 48;

/// Several threads that read one file at random places until they are told to stop.
#[derive(Debug)]
pub struct Verifier {
    stop: Arc<AtomicBool>,
    shared: Arc<Mutex<Report>>,
    threads: Vec<JoinHandle<()>>,
    start: Instant,
}

/// What the readers have seen.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Bytes that were read and right, by second since the start.
    pub by_second: Vec<u64>,
    /// Reads and opens that failed, and bytes that were wrong.
    pub failures: Vec<String>,
    /// The longest time that one read or open took.
    pub slowest: Duration,
}

impl Report {
    /// Bytes per second in the middle of the given seconds: half of them were better, half were worse.
    pub fn median(&self, seconds: std::ops::Range<usize>) -> u64 {
        let mut values: Vec<u64> =
            seconds.map(|second| self.by_second.get(second).copied().unwrap_or(0)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }

    /// Fails when a read failed or a byte was wrong.
    ///
    /// # Errors
    /// With the first few failures.
    pub fn check(&self) -> Result<()> {
        if let Some(first) = self.failures.first() {
            bail!("{} reads failed or were wrong, first: {first}", self.failures.len());
        }
        Ok(())
    }
}

impl Verifier {
    /// Starts readers of `path`, whose bytes must be those of `expected`.
    ///
    /// # Errors
    /// When the expected bytes cannot be read.
    pub fn start(path: &Path, expected: &Path, threads: usize) -> Result<Self> {
        let expected: Arc<Vec<u8>> = Arc::new(std::fs::read(expected).context("the expected bytes")?);
        let (stop, shared, start) = (Arc::default(), Arc::default(), Instant::now());
        let threads = (0..threads)
            .map(|index| {
                let reader = Reader {
                    path: path.to_owned(),
                    expected: Arc::clone(&expected),
                    stop: Arc::clone(&stop),
                    shared: Arc::clone(&shared),
                    start,
                };
                std::thread::spawn(move || reader.run(Prng::new(index as u64)))
            })
            .collect();
        Ok(Self { stop, shared, threads, start })
    }

    /// Whole seconds since the start.
    pub fn second(&self) -> usize {
        usize::try_from(self.start.elapsed().as_secs()).unwrap_or(usize::MAX)
    }

    /// What has been seen so far.
    pub fn so_far(&self) -> Report {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until bytes have been read in a second that began after this call.
    ///
    /// # Errors
    /// When none are within `bound`.
    pub fn wait_progress(&self, bound: Duration) -> Result<()> {
        let from = self.second() + 1;
        crate::bounded::wait_for("readers get on", bound, || {
            let seen = self.so_far();
            (seen.by_second.iter().skip(from).any(|bytes| *bytes > 0) || !seen.failures.is_empty())
                .then_some(())
        })
        .with_context(|| format!("after second {from}: {:?}", self.so_far()))
    }

    /// Stops the readers. A read that hangs holds this up, up to the deadline that the mount gives it.
    pub fn stop(mut self) -> Report {
        self.finish();
        self.so_far()
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                let mut report = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                report.failures.push("a reader panicked".to_owned());
            }
        }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Reader {
    path: PathBuf,
    expected: Arc<Vec<u8>>,
    stop: Arc<AtomicBool>,
    shared: Arc<Mutex<Report>>,
    start: Instant,
}

impl Reader {
    fn run(self, mut prng: Prng) {
        while !self.stop.load(Ordering::Relaxed) {
            let opening = Instant::now();
            let opened = File::open(&self.path);
            match opened {
                Ok(file) => self.read_some(&file, &mut prng),
                Err(error) => {
                    self.note(opening, 0, Some(format!("open: {error}")));
                    // Not as fast as an error can be returned: the report is for people.
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    fn read_some(&self, file: &File, prng: &mut Prng) {
        // Whatever the kernel has kept would be read without anybody's help.
        if let Err(error) = fadvise(file, 0, None, Advice::DontNeed) {
            self.note(Instant::now(), 0, Some(format!("drop pages: {error}")));
        }
        let mut buffer = vec![0; 512 << 10];
        for _ in 0..READS_PER_OPEN {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let length = 512 * (1 + prng.below(buffer.len() / 512)).min(self.expected.len() / 512);
            let offset = 512 * prng.below((self.expected.len() - length) / 512 + 1);
            let (Some(chunk), Some(right)) =
                (buffer.get_mut(..length), self.expected.get(offset..offset + length))
            else {
                return;
            };
            let before = Instant::now();
            let failure = match file.read_exact_at(chunk, offset as u64) {
                Ok(()) if *chunk == *right => None,
                Ok(()) => Some(format!("wrong bytes in {length} at {offset}")),
                Err(error) => {
                    Some(format!("read {length} at {offset}: {error}, after {:?}", before.elapsed()))
                }
            };
            self.note(before, length as u64, failure);
        }
    }

    fn note(&self, before: Instant, bytes: u64, failure: Option<String>) {
        let second = usize::try_from(self.start.elapsed().as_secs()).unwrap_or(usize::MAX);
        let mut report = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        report.slowest = report.slowest.max(before.elapsed());
        match failure {
            Some(failure) => report.failures.push(format!("second {second}: {failure}")),
            None => {
                if report.by_second.len() <= second {
                    report.by_second.resize(second + 1, 0);
                }
                if let Some(sum) = report.by_second.get_mut(second) {
                    *sum += bytes;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Verifier;
    use crate::bounded::wait_for;

    #[test]
    fn a_wrong_byte_and_an_end_too_early_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
        let mut bytes: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&good, &bytes).unwrap();
        let verifier = Verifier::start(&good, &good, 2).unwrap();
        verifier.wait_progress(Duration::from_secs(10)).unwrap();
        let report = verifier.stop();
        report.check().unwrap();
        assert!(report.median(1..2) > 0);

        bytes[600_000] ^= 1;
        bytes.truncate(1 << 19 | 1 << 18);
        std::fs::write(&bad, &bytes).unwrap();
        let verifier = Verifier::start(&bad, &good, 1).unwrap();
        let seen = |what: &str| verifier.so_far().failures.iter().any(|failure| failure.contains(what));
        let both = || (seen("wrong bytes") && seen("read ")).then_some(());
        wait_for("both faults", Duration::from_secs(30), both).unwrap();
        verifier.stop();
    }
}
