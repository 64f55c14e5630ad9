//! `make demo` shows what it promises and leaves nothing behind, also when it is interrupted.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use wasmount_tests::bounded::SOON;
use wasmount_tests::paths::repository;
use wasmount_tests::process::{Process, processes_that_name};

const BOUND: Duration = Duration::from_secs(120);

fn demo(scratch: &Path) -> Result<Process> {
    Process::start(&repository().join("tests/demo/run.sh"), |command| {
        command.env("TMPDIR", scratch);
    })
}

/// Nothing of the demo is left: no mount, no file, no process with the directory among its arguments.
fn nothing_is_left(scratch: &Path) -> Result<()> {
    let text = scratch.to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&text), "a mount is left");
    assert_eq!(std::fs::read_dir(scratch)?.count(), 0, "files are left");
    assert_eq!(processes_that_name(scratch)?, [], "a process is left");
    Ok(())
}

#[test]
fn it_prints_the_line_and_leaves_nothing() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("wasmount-test-").tempdir()?;
    let mut demo = demo(scratch.path())?;
    let status = demo.wait(BOUND)?;
    let text = demo.log.text();
    assert!(status.success(), "{text}");
    assert!(text.lines().any(|line| line == "fluid-minio-test"), "{text}");
    assert!(text.contains("fuse.wasmount"), "{text}");
    nothing_is_left(scratch.path())
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing() -> Result<()> {
    for _ in 0..5 {
        let scratch = tempfile::Builder::new().prefix("wasmount-test-").tempdir()?;
        let mut demo = demo(scratch.path())?;
        demo.log.wait_for(&["== wasmount run"], SOON)?;
        demo.signal(Signal::TERM);
        let interrupted = !demo.wait(BOUND)?.success();
        nothing_is_left(scratch.path())?;
        // One that had ended before the signal came shows nothing.
        if interrupted {
            return Ok(());
        }
    }
    anyhow::bail!("five times it was not interrupted")
}
