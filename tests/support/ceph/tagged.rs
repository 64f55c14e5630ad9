//! Files that one client writes again and again while others read them, so that every stale or torn byte is seen.
//!
//! A file is nothing but records of 16 bytes: its number and a version. The writer announces a version before it writes, and
//! calls it complete after its close or fsync. Whoever reads notes the complete version before and the announced one
//! after: every record must be between the two.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::prng::Prng;

/// No multiple of a page: the last one is partly beyond the end.
const RECORDS: usize = 12_345;

/// Failures that are shown of many.
const FAILURES_SHOWN: usize = 50;

/// How the readers reach the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Opened for each look.
    Open,
    /// Opened once.
    Held,
    /// Mapped once.
    Mapped,
    /// Opened and mapped for each look, which may be while the writer has it open.
    Remapped,
}

/// What errors of reading are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// There must be none.
    Fail,
    /// They are counted, and the file is opened again: bytes must be right all the same.
    Count,
}

/// What readers and the writer have seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Looks at whole files that were right.
    pub looks: u64,
    /// Versions that were written.
    pub versions: u64,
    /// What is wrong: stale and torn bytes, errors.
    pub failures: Vec<String>,
    /// Errors that were to be counted only.
    pub errors: Vec<String>,
    /// The longest time that the writer waited for one open, write and close.
    pub slowest_write: Duration,
    /// The longest time that one look took.
    pub slowest_look: Duration,
}

/// A writer and its readers. Dropping it stops them.
#[derive(Debug)]
pub struct Tagged {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    announced: Vec<AtomicU64>,
    complete: Vec<AtomicU64>,
    stop: AtomicBool,
    seen: Mutex<Seen>,
    start: Instant,
}

impl Shared {
    fn seen(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn fail(&self, what: String) {
        let at = self.start.elapsed().as_secs_f64();
        self.seen(|seen| seen.failures.push(format!("after {at:.1} s: {what}")));
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether all versions in `low..=high` may be seen by one who looks between the calls of `since` and this.
    fn check(&self, number: usize, since: u64, (low, high): (u64, u64)) -> Result<()> {
        let announced = self.announced.get(number).map_or(0, |version| version.load(Ordering::SeqCst));
        ensure!(low >= since, "version {low} of file {number} is stale: {since} was complete before");
        ensure!(high <= announced, "version {high} of file {number} is not written yet: {announced}");
        Ok(())
    }

    fn since(&self, number: usize) -> u64 {
        self.complete.get(number).map_or(0, |version| version.load(Ordering::SeqCst))
    }
}

fn name(number: usize) -> String {
    format!("tagged-{number}")
}

fn bytes_of(number: usize, version: u64) -> Vec<u8> {
    let record = [(number as u64).to_le_bytes(), version.to_le_bytes()].concat();
    record.repeat(RECORDS)
}

/// The lowest and the highest version in a file's bytes.
fn versions_in(number: usize, bytes: &[u8]) -> Result<(u64, u64)> {
    let word = |record: &[u8]| record.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let (mut low, mut high) = (u64::MAX, 0);
    for record in bytes.chunks_exact(16) {
        let (of, version) = record.split_at(8);
        ensure!(word(of) == number as u64, "file {number} has a record of {}", word(of));
        (low, high) = (low.min(word(version)), high.max(word(version)));
    }
    Ok((low, high))
}

impl Tagged {
    /// Makes `count` files in the directory `writes`, and starts to write them there and to read them in `reads`, where another
    /// client shows the same directory.
    ///
    /// # Errors
    /// When the files cannot be made.
    pub fn start(writes: &Path, reads: &Path, count: usize, ways: &[Via], errors: Errors) -> Result<Self> {
        let versions = || (0..count).map(|_| AtomicU64::new(1)).collect();
        let shared = Arc::new(Shared {
            announced: versions(),
            complete: versions(),
            stop: AtomicBool::new(false),
            seen: Mutex::default(),
            start: Instant::now(),
        });
        for number in 0..count {
            std::fs::write(writes.join(name(number)), bytes_of(number, 1)).context("make a tagged file")?;
        }
        let mut tagged = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (index, via) in ways.iter().copied().enumerate() {
            let mut reader = Reader::new(&shared, reads, count, via, errors)?;
            tagged.threads.push(std::thread::spawn(move || reader.run(Prng::new(index as u64))));
        }
        let (shared, writes) = (Arc::clone(&shared), writes.to_owned());
        tagged.threads.push(std::thread::spawn(move || write(&shared, &writes)));
        Ok(tagged)
    }

    /// What has been seen so far.
    pub fn so_far(&self) -> Seen {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until versions that were announced after this call have been written and looked at.
    ///
    /// # Errors
    /// When that does not happen within `bound`.
    pub fn wait_progress(&self, bound: Duration) -> Result<()> {
        let before = self.so_far();
        crate::bounded::wait_for("writer and readers get on", bound, || {
            let now = self.so_far();
            let on = now.versions > before.versions + 2 && now.looks > before.looks + 20;
            (on || !now.failures.is_empty()).then_some(())
        })
        .with_context(|| format!("{:?}", self.so_far()))
    }

    /// Stops writer and readers.
    ///
    /// # Errors
    /// With the first failures that were seen.
    pub fn stop(mut self) -> Result<Seen> {
        self.finish();
        let seen = self.so_far();
        if !seen.failures.is_empty() {
            let some = seen.failures.iter().take(FAILURES_SHOWN).map(|failure| format!("\n  {failure}"));
            bail!("{} failures, first:{}", seen.failures.len(), some.collect::<String>());
        }
        Ok(seen)
    }

    fn finish(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.fail("a thread panicked".to_owned());
            }
        }
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write(shared: &Shared, directory: &Path) {
    let (mut prng, count) = (Prng::new(7), shared.announced.len());
    while !shared.stopped() {
        let number = prng.below(count);
        let (Some(announced), Some(complete)) = (shared.announced.get(number), shared.complete.get(number))
        else {
            return;
        };
        let version = announced.fetch_add(1, Ordering::SeqCst) + 1;
        let (before, bytes) = (Instant::now(), bytes_of(number, version));
        // Every third time the file stays open, so that its caps stay with the writer while the others look.
        let stays_open = prng.below(3) == 0;
        let written = || -> std::io::Result<File> {
            let file = File::options().write(true).open(directory.join(name(number)))?;
            // In two parts, so that the middle of a write is seen too.
            let (first, second) = bytes.split_at(16 * prng.below(RECORDS));
            file.write_all_at(first, 0)?;
            file.write_all_at(second, first.len() as u64)?;
            if stays_open {
                file.sync_all()?;
            }
            Ok(file)
        };
        let mut written = written;
        match written() {
            Ok(file) if stays_open => {
                complete.store(version, Ordering::SeqCst);
                shared.seen(|seen| seen.slowest_write = seen.slowest_write.max(before.elapsed()));
                std::thread::sleep(Duration::from_millis(30));
                drop(file);
            }
            Ok(file) => {
                drop(file);
                complete.store(version, Ordering::SeqCst);
                shared.seen(|seen| seen.slowest_write = seen.slowest_write.max(before.elapsed()));
            }
            Err(error) => shared.fail(format!("the writer: {error}")),
        }
        shared.seen(|seen| seen.versions += 1);
        // Long enough for caps to be given back and taken again.
        std::thread::sleep(Duration::from_millis(prng.below(40) as u64));
    }
}

struct Reader {
    shared: Arc<Shared>,
    files: Vec<PathBuf>,
    held: Vec<Option<File>>,
    mapped: Option<Mapped>,
    via: Via,
    errors: Errors,
}

impl Reader {
    fn new(shared: &Arc<Shared>, directory: &Path, count: usize, via: Via, errors: Errors) -> Result<Self> {
        let files: Vec<_> = (0..count).map(|number| directory.join(name(number))).collect();
        let maps = matches!(via, Via::Mapped | Via::Remapped);
        let mapped = if maps { Some(Mapped::start(&files)?) } else { None };
        let held = files.iter().map(|_| None).collect();
        Ok(Self { shared: Arc::clone(shared), files, held, mapped, via, errors })
    }

    fn run(&mut self, mut prng: Prng) {
        while !self.shared.stopped() {
            let number = prng.below(self.files.len());
            let (since, before) = (self.shared.since(number), Instant::now());
            let looked = self.look(number);
            let took = before.elapsed();
            self.shared.seen(|seen| seen.slowest_look = seen.slowest_look.max(took));
            match looked {
                Ok(versions) => match self.shared.check(number, since, versions) {
                    Ok(()) => self.shared.seen(|seen| seen.looks += 1),
                    Err(error) => self.shared.fail(format!("{:?}: {error}", self.via)),
                },
                Err(error) if self.errors == Errors::Count => {
                    let at = self.shared.start.elapsed().as_secs_f64();
                    self.shared.seen(|seen| seen.errors.push(format!("after {at:.1} s: {error:#}")));
                    self.held = self.files.iter().map(|_| None).collect();
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => {
                    self.shared.fail(format!("{:?} of file {number} after {took:?}: {error:#}", self.via));
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    fn look(&mut self, number: usize) -> Result<(u64, u64)> {
        let path = self.files.get(number).context("a file")?;
        let mut bytes = vec![0; 16 * RECORDS];
        match self.via {
            Via::Open => {
                let found = std::fs::read(path)?;
                ensure!(found.len() == bytes.len(), "{} bytes instead of {}", found.len(), bytes.len());
                bytes = found;
            }
            Via::Held => {
                let slot = self.held.get_mut(number).context("a file")?;
                let file = match slot {
                    Some(file) => file,
                    none => none.insert(File::open(path)?),
                };
                file.read_exact_at(&mut bytes, 0)?;
            }
            Via::Mapped => return self.mapped.as_mut().context("a mapping")?.look(number, ""),
            Via::Remapped => return self.mapped.as_mut().context("a mapping")?.look(number, " anew"),
        }
        versions_in(number, &bytes)
    }
}

/// A process that has mapped the files.
struct Mapped {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Mapped {
    fn start(files: &[PathBuf]) -> Result<Self> {
        let script = crate::paths::repository().join("tests/support/ceph/mapped.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run python3")?;
        let requests = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        let mut mapped = Self { child, requests, answers };
        ensure!(mapped.line()?.trim() == "ready", "mapped.py did not map its files");
        Ok(mapped)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.answers.read_line(&mut line)? > 0,
            "mapped.py has ended, perhaps by SIGBUS: {:?}",
            self.child.try_wait()
        );
        Ok(line)
    }

    fn look(&mut self, number: usize, how: &str) -> Result<(u64, u64)> {
        writeln!(self.requests, "{number}{how}")?;
        let line = self.line()?;
        let mut words = line.split_whitespace();
        let mut version = || words.next().and_then(|word| word.parse().ok()).context("a version");
        let versions = (version()?, version()?);
        ensure!(line.trim_end().ends_with("own"), "file {number} has records of another");
        Ok(versions)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // It holds nothing but mappings; those of a mount that hangs would keep it from ending by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Errors, RECORDS, Tagged, Via, bytes_of, versions_in};

    const WAYS: &[Via] = &[Via::Open, Via::Held, Via::Mapped, Via::Remapped];

    #[test]
    fn one_file_system_is_coherent_with_itself() {
        let dir = tempfile::tempdir().unwrap();
        let tagged = Tagged::start(dir.path(), dir.path(), 3, WAYS, Errors::Fail).unwrap();
        tagged.wait_progress(Duration::from_secs(20)).unwrap();
        let seen = tagged.stop().unwrap();
        assert!(seen.looks > 20 && seen.versions > 2, "{seen:?}");
    }

    #[test]
    fn a_copy_that_stays_behind_is_stale() {
        let (writes, reads) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..2 {
            std::fs::write(reads.path().join(super::name(number)), bytes_of(number, 1)).unwrap();
        }
        for via in WAYS {
            let tagged = Tagged::start(writes.path(), reads.path(), 2, &[*via], Errors::Fail).unwrap();
            crate::bounded::wait_for("a failure", Duration::from_secs(20), || {
                tagged.so_far().failures.first().cloned()
            })
            .unwrap();
            assert!(tagged.stop().unwrap_err().to_string().contains("stale"), "{via:?}");
        }
    }

    #[test]
    fn torn_files_show_two_versions_and_foreign_records_are_noticed() {
        let mut bytes = bytes_of(3, 8);
        bytes[16 * 100 + 8] = 9;
        assert_eq!(versions_in(3, &bytes).unwrap(), (8, 9));
        assert!(versions_in(4, &bytes).is_err());
        assert_eq!(bytes.len(), 16 * RECORDS);
    }
}
