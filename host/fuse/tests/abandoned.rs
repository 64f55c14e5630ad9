//! When nobody answers the kernel any more it ends the mount, and never before. Through real mounts; each test takes as long as the
//! kernel's shortest patience, which is 15 seconds, and the 15 after which it looks again.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod changing;

use bytes::Bytes;
use changing::{Changing, SIZE, file};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use wasmount_fuse::Mounted;
use wasmount_types::Ino;

/// Where the process that is killed mounts.
const TARGET: &str = "WASMOUNT_TEST_TARGET";

const PATIENCE: Duration = Duration::from_secs(15);
/// Of requests, as long as that patience allows.
const DEADLINE: Duration = Duration::from_secs(7);
/// Until the kernel has looked, and a busy machine got around to what follows.
const ENDED: Duration = Duration::from_secs(45);

const STUCK: u64 = file(0, 0);

/// Not a test: the process that [`a_killed_process_with_a_message_under_way_is_gone_in_time`] kills.
#[test]
#[ignore = "serves until it is killed; started by the test that kills it"]
fn serve() {
    let Some(target) = std::env::var_os(TARGET) else { return };
    let runtime = Runtime::new().unwrap();
    let fs = Changing::new(1, 1);
    fs.hold([STUCK]);
    let mounted = fs.mount(Path::new(&target), &runtime, |options| {
        options.request_timeout = DEADLINE;
        options.unanswered = Some(PATIENCE);
    });
    assert_eq!(mounted.unanswered(), Some(PATIENCE), "this test wants Linux 6.14 or later");
    loop {
        // It waits for the page that the READ holds, as soon as there is one.
        if fs.asked("read", STUCK) == 1 {
            fs.kernel().store(Ino(STUCK), 0, Bytes::from(vec![1; SIZE as usize]), None);
        }
        sleep(Duration::from_millis(20));
    }
}

/// Taken away at the end of the test, whatever happens.
struct TakenAway(Mounted);

impl Drop for TakenAway {
    fn drop(&mut self) {
        self.0.unmount().unwrap();
    }
}

/// Killed at the end of the test, whatever happens; the mount is taken by force.
struct Victim {
    process: Child,
    target: PathBuf,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = Command::new("umount").args(["-f", "-l"]).arg(&self.target).stderr(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

/// The state (`proc_pid_stat(5)`) of a thread with this name.
fn state(process: u32, name: &str) -> Option<char> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (before, after) = stat.split_once(") ")?;
        before.ends_with(&format!("({name}")).then(|| after.chars().next())?
    })
}

fn eventually(what: &str, within: Duration, mut so: impl FnMut() -> bool) {
    let patience = Instant::now() + within;
    while !so() {
        assert!(Instant::now() < patience, "{what}: not within {within:?}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_process_with_a_message_under_way_is_gone_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("mnt");
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "serve"])
        .env(TARGET, &target)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut victim = Victim { process, target: target.clone() };
    let path = target.join("dir-0/file-0");
    eventually("a mount", ENDED, || fs::metadata(&path).is_ok());
    let reader = thread::spawn(move || fs::read(path).map(|bytes| bytes.len() as u64));
    let id = victim.process.id();
    eventually("a message that waits for the page", DEADLINE, || state(id, "fuse-pages") == Some('D'));

    let killed = Instant::now();
    victim.process.kill().unwrap();
    eventually("the process is gone", ENDED, || victim.process.try_wait().unwrap().is_some());
    // It gets an error, or the bytes that were on their way when the READ gave up its page.
    let outcome = reader.join().unwrap();
    assert!(outcome.as_ref().is_ok_and(|length| *length == SIZE) || outcome.is_err(), "{outcome:?}");
    assert!(killed.elapsed() > Duration::from_secs(5), "it was never stuck: {:?}", killed.elapsed());
    let dead = fs::read_dir(&target).unwrap_err();
    assert_eq!(dead.raw_os_error(), Some(107), "ENOTCONN: {dead}");
    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).expect("nobody uses it any more");
}

/// The kernel has at most 128 read-aheads under way. With 600 readers of files that nobody answers for, the last are asked for when four
/// times as many have failed; that their turn comes so late must not count.
#[test]
fn requests_that_are_merely_slow_never_end_the_mount() {
    const READERS: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let changing = Changing::new(1, READERS + 1);
    changing.hold((0..READERS).map(|n| file(0, n)));
    let target = dir.path().join("mnt");
    let mounted = changing.mount(&target, &runtime, |options| {
        options.request_timeout = DEADLINE;
        options.unanswered = Some(PATIENCE);
    });
    let mounted = TakenAway(mounted);
    assert_eq!(mounted.0.unanswered(), Some(PATIENCE), "this test wants Linux 6.14 or later");
    let started = Instant::now();
    let readers: Vec<_> = (0..READERS)
        .map(|n| {
            let path = target.join(format!("dir-0/file-{n}"));
            // A single byte: of a larger read the kernel does not read ahead when much is under way.
            let read = move || File::open(path)?.read_exact_at(&mut [0], 0);
            thread::Builder::new().stack_size(64 << 10).spawn(read).unwrap()
        })
        .collect();
    for reader in readers {
        let error = reader.join().unwrap().unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(110 | 5)), "ETIMEDOUT or EIO: {error}");
    }
    assert!(started.elapsed() > 2 * PATIENCE, "{:?} is too short to have tried anything", started.elapsed());
    let alive = fs::read(target.join(format!("dir-0/file-{READERS}"))).unwrap();
    assert_eq!(alive.len() as u64, SIZE);
}
