//! What Fluid and Kubernetes ask of a mount before they believe in it, and after.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::Signal;
use serde_json::json;
use wasmount_tests::bounded::{SOON, names, wait_for, within};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Launch;
use wasmount_tests::{mountinfo, paths};

/// `MOUNT` of `NodePublishVolume` of Fluid's CSI plugin and its script `check_mount.sh`: a line of the table of mounts has both, as they
/// are written; then `stat`; then a plain bind mount.
fn check_as_fluid(target: &Path, fs_type: &str) -> Result<()> {
    let both = [target.to_str().context("its name")?, fs_type];
    wait_for("a line with target and type", Duration::from_secs(30), || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        table.lines().any(|line| both.iter().all(|part| line.contains(part))).then_some(())
    })?;
    let stat = target.to_owned();
    within("stat of the target", Duration::from_secs(1), move || std::fs::metadata(stat))??;
    let bound = tempfile::tempdir()?;
    mount_bind(target, bound.path()).context("a plain bind mount")?;
    let seen = names(bound.path());
    unmount(bound.path(), UnmountFlags::DETACH)?;
    assert_eq!(seen??, ["testfile"]);
    Ok(())
}

fn demo(minio: &Minio) -> Result<FluidFiles> {
    let files = FluidFiles::new()?;
    minio.client()?.make_bucket("bucket")?;
    minio.client()?.put("bucket", "testfile", b"x")?;
    let options =
        json!({"endpoint": minio.endpoint(), "access-key": "minioadmin", "secret-key": "minioadmin"});
    files.write_mounts(&[json!({"mountPoint": "s3://bucket", "name": "a", "options": options})])?;
    Ok(files)
}

fn probe(question: &str, target: &Path) -> Result<Output> {
    Command::new(paths::wasmount()?).args(["probe", question]).arg(target).output().context("a probe")
}

fn passes(question: &str, target: &Path) -> Result<()> {
    // One may find the machine busy; who waits for a mount that opens would wait ten seconds.
    let passed = || probe(question, target).ok().filter(|output| output.status.success());
    let output = wait_for("a probe passes", Duration::from_secs(6), passed)?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    Ok(())
}

fn fails(question: &str, target: &Path, why: &str) -> Result<()> {
    let begin = Instant::now();
    let output = probe(question, target)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn fluids_check_passes_with_every_way_to_write_the_type() -> Result<()> {
    let minio = Minio::start()?;
    for fs_type in ["fuse.wasmount", "wasmount", "fuse"] {
        let files = demo(&minio)?;
        let launch = Launch::run(&files)?;
        // What a profile's args would say, if anything: `fuse` is part of every type.
        let launch = if fs_type == "fuse" { launch } else { launch.arg("--subtype").arg(fs_type) };
        let mount = launch.start()?;
        check_as_fluid(mount.target(), fs_type)?;
    }
    Ok(())
}

#[test]
fn the_root_answers_whatever_its_server_does_and_probes_tell_the_difference() -> Result<()> {
    let minio = Minio::start()?;
    let files = demo(&minio)?;
    fails("live", &files.target(), "nothing is mounted")?;
    let mut mount = minio.paused(|| -> Result<_> {
        let mount = Launch::run(&files)?.start()?;
        let target = mount.target().to_owned();
        within("stat of the root", Duration::from_secs(1), move || std::fs::metadata(target))??;
        passes("live", mount.target())?;
        fails("ready", mount.target(), "`a` is opening")?;
        Ok(mount)
    })?;
    wait_for("the mount is ready", SOON, || {
        probe("ready", mount.target()).ok().filter(|out| out.status.success())
    })?;
    passes("ready", mount.target())?;
    passes("live", mount.target())?;

    mount.process.signal(Signal::STOP);
    // Threads that were about to take a message may have taken it before they stop; whoever sent that can no more be killed.
    for _ in 0..3 {
        fails("live", mount.target(), "does not answer")?;
    }
    mount.process.signal(Signal::CONT);
    passes("live", mount.target())?;

    mount.process.kill();
    fails("live", mount.target(), "is dead")?;
    fails("ready", mount.target(), "is dead")?;
    Ok(())
}

#[test]
fn a_mount_that_failed_is_named() -> Result<()> {
    let files = FluidFiles::new()?;
    files.write_mounts(&[json!({"mountPoint": "nobody://x", "name": "bad"})])?;
    let mount = Launch::run(&files)?.start()?;
    mount.log().wait_for(&["mount failed", "bad"], SOON)?;
    passes("live", mount.target())?;
    fails("ready", mount.target(), "`bad` is failed")
}

#[test]
fn after_a_kill_it_is_mounted_again_within_a_second_and_nothing_is_stacked() -> Result<()> {
    let minio = Minio::start()?;
    let files = demo(&minio)?;
    let mut mount = Launch::run(&files)?.start()?;
    let mut times = Vec::new();
    for _ in 0..5 {
        // Applications hold the dead mount.
        let held = std::fs::File::open(mount.target())?;
        mount.process.kill();
        assert_eq!(mountinfo::at(&files.target())?.len(), 1, "a killed server leaves its mount");
        let begin = Instant::now();
        let next = Launch::run(&files)?.start()?;
        times.push(begin.elapsed());
        assert_eq!(mountinfo::at(&files.target())?.len(), 1, "nothing is stacked");
        drop(held);
        // Dropping the dead one takes away what is at its target, which is another's by now.
        std::mem::forget(std::mem::replace(&mut mount, next));
    }
    check_as_fluid(mount.target(), "fuse.wasmount")?;
    eprintln!("mounted again after {times:?}");
    // A busy machine may keep one of them.
    times.sort_unstable();
    let median = times.get(times.len() / 2).context("a time")?;
    assert!(*median < Duration::from_secs(1), "{times:?}");
    Ok(())
}

#[test]
fn the_binary_is_umount_when_it_is_called_so() -> Result<()> {
    let files = FluidFiles::new()?;
    let mut mount = Launch::run(&files)?.start()?;
    let dir = tempfile::tempdir()?;
    let umount = dir.path().join("umount");
    std::os::unix::fs::symlink(paths::wasmount()?, &umount)?;
    let run = |args: &[&str]| Command::new(&umount).args(args).arg(mount.target()).output();

    let held = std::fs::File::open(mount.target())?;
    let busy = run(&[])?;
    assert_eq!(busy.status.code(), Some(32));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("target is busy"));
    drop(held);
    assert!(run(&[])?.status.success());
    let again = run(&["-l"])?;
    assert_eq!(again.status.code(), Some(32));
    // What Fluid's controller takes for an answer it can live with.
    assert!(String::from_utf8_lossy(&again.stderr).contains("not mounted"));
    assert!(mount.process.wait(SOON)?.success(), "unmounted from outside, it ends with 0");
    Ok(())
}
