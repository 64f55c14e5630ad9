//! fio as a reader that holds every block against what fio itself has written.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bounded::wait_for;

/// What both jobs are told. A block carries its offset and a checksum, so that one from elsewhere in the file is as wrong as one that is
/// damaged.
const JOB: &[&str] = &["--bs=64k", "--ioengine=psync", "--verify=crc32c", "--verify_fatal=1"];

/// Writes a file of this size for [`Fio::start`].
///
/// # Errors
/// When fio is not installed, or fails.
pub fn write(path: &Path, size: usize) -> Result<()> {
    let directory = path.parent().context("a file in a directory")?;
    let mut command = job("write", path, directory);
    command.args(["--rw=write", "--do_verify=0", &format!("--size={size}")]);
    ran(&mut command).map(drop)
}

/// fio reads a file at random places, every block once, and begins anew, until it is told to stop.
#[derive(Debug)]
pub struct Fio {
    stop: Arc<AtomicBool>,
    passes: Arc<AtomicUsize>,
    failure: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Fio {
    /// Starts to read `path`, which [`write()`] has made. `scratch` is a directory for what fio leaves behind.
    pub fn start(path: &Path, scratch: &Path) -> Self {
        let (stop, passes, failure) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<Mutex<_>>::default());
        let (path, scratch) = (path.to_owned(), scratch.to_owned());
        let (stopped, passed, failed) = (stop.clone(), passes.clone(), failure.clone());
        let thread = std::thread::spawn(move || {
            // Each pass opens the file again, which drops what the kernel has kept of a file that others may write.
            while !stopped.load(Ordering::Relaxed) {
                match pass(&path, &scratch) {
                    Ok(()) => {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
                        return;
                    }
                }
            }
        });
        Self { stop, passes, failure, thread: Some(thread) }
    }

    /// Whole files that were read and right.
    pub fn passes(&self) -> usize {
        self.passes.load(Ordering::Relaxed)
    }

    /// Waits until the whole file has been read once more, from its beginning after this call.
    ///
    /// # Errors
    /// When that takes longer than `bound`, or something was wrong.
    pub fn wait_progress(&self, bound: Duration) -> Result<()> {
        let until = self.passes() + 2;
        wait_for("fio gets on", bound, || (self.passes() >= until || self.failed().is_some()).then_some(()))?;
        self.check()
    }

    fn failed(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self) -> Result<()> {
        let failed = self.failed();
        ensure!(failed.is_none(), "after {} passes: {}", self.passes(), failed.unwrap_or_default());
        Ok(())
    }

    /// Stops after the pass that is under way.
    ///
    /// # Errors
    /// When a read failed or a block was wrong.
    pub fn stop(mut self) -> Result<usize> {
        self.finish();
        self.check()?;
        Ok(self.passes())
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                Some("its thread panicked".to_owned());
        }
    }
}

impl Drop for Fio {
    fn drop(&mut self) {
        self.finish();
    }
}

fn pass(path: &Path, scratch: &Path) -> Result<()> {
    let mut command = job("verify", path, scratch);
    let said = ran(command.args(["--rw=randread", "--readonly", "--invalidate=1", "--output-format=terse"]))?;
    ensure!(!said.trim().is_empty(), "fio says nothing");
    Ok(())
}

fn job(name: &str, path: &Path, directory: &Path) -> Command {
    let mut command = Command::new("fio");
    command.arg(format!("--name={name}")).arg(format!("--filename={}", path.display()));
    command.args(JOB).current_dir(directory).stdin(Stdio::null());
    command
}

/// Runs fio; its status tells of errors and of blocks that are wrong.
fn ran(command: &mut Command) -> Result<String> {
    let output = command.output().context("run fio: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "fio ended with {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fio, write};

    #[test]
    fn a_wrong_byte_is_seen() {
        // Whoever has no cluster needs no fio.
        if crate::ceph::left_out() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, 1 << 20).unwrap();
        let fio = Fio::start(&path, dir.path());
        fio.wait_progress(Duration::from_secs(30)).unwrap();
        assert!(fio.stop().unwrap() >= 2);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[300_000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let fio = Fio::start(&path, dir.path());
        let error = fio.wait_progress(Duration::from_secs(30)).unwrap_err();
        assert!(format!("{error:#}").contains("verify failed"), "{error:#}");
        assert!(fio.stop().is_err());
    }
}
