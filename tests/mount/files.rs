//! A file system of its own behind a real mount: the SDK's example, which changes when a name in `control` is looked up, as
//! another client of a server would change it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::{SOON, names, within};
use wasmount_tests::mount::{Launch, Mount};

const EIO: i32 = 5;
const ENODATA: i32 = 61;
const EROFS: i32 = 30;

/// Changes that a file goes through while others read it.
const CHANGES: u64 = 12;

struct Mounted {
    mount: Mount,
    _scratch: tempfile::TempDir,
}

impl Mounted {
    fn path(&self, relative: &str) -> PathBuf {
        self.mount.path(relative)
    }

    /// Makes something happen, and returns when it has.
    fn command(&self, what: &str) -> Result<std::io::Result<()>> {
        let path = self.path(&format!("control/{what}"));
        within(what, SOON, move || fs::symlink_metadata(path).map(drop))
    }

    fn read(&self, file: &str) -> Result<Vec<u8>> {
        let path = self.path(file);
        Ok(within(file, SOON, move || fs::read(path))??)
    }
}

fn mounted(options: &[(&str, &str)]) -> Result<Mounted> {
    let scratch = tempfile::Builder::new().prefix("wasmount-test-").tempdir()?;
    let mut launch =
        Launch::mount_with("memory_tree", "tree://x", &scratch.path().join("mnt"), scratch.path())?;
    for (name, value) in options {
        launch = launch.option(name, value);
    }
    let mount = launch.start()?;
    names(mount.target())?.with_context(|| format!("list the root; the log:\n{}", mount.log().text()))?;
    Ok(Mounted { mount, _scratch: scratch })
}

/// The bytes of a version of `counter` and `slow`.
fn lines(version: u64) -> Vec<u8> {
    format!("{version:07}\n").repeat(1500 + usize::try_from(version % 3).unwrap_or(0) * 400).into_bytes()
}

/// Fails with what is different.
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let at = found.iter().zip(expected).position(|(one, other)| one != other);
    let shown = at.and_then(|at| found.get(at / 8 * 8..(at / 8 * 8 + 8).min(found.len())));
    let (length, right) = (found.len(), expected.len());
    assert!(
        found == expected,
        "{what}: {length} bytes of {right}, the first other one at {at:?} in {shown:?}"
    );
}

/// The bytes of `big.bin` and, without its hole, of `frozen`.
fn computed(from: u64, to: u64, hole: bool) -> Vec<u8> {
    let byte = |at: u64| match at {
        0x10_0000..0x30_0000 if hole => 0,
        at => (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[(at % 8) as usize],
    };
    (from..to).map(byte).collect()
}

fn xattr(path: &Path, name: &str) -> Result<Vec<u8>, i32> {
    let mut value = [0; 256];
    match rustix::fs::lgetxattr(path, name, &mut value) {
        Ok(length) => Ok(value[..length].to_vec()),
        Err(error) => Err(error.raw_os_error()),
    }
}

#[test]
fn the_tree_is_shown_as_it_is() -> Result<()> {
    let at = mounted(&[])?;
    for (path, mode, owner, links, size) in [
        ("hello.txt", 0o100_644, (1000, 100), 1, 13),
        ("empty", 0o100_644, (0, 0), 1, 0),
        ("big.bin", 0o100_640, (0, 0), 1, 5_000_001),
        ("program", 0o104_751, (0, 0), 1, 23),
        ("hard", 0o040_755, (0, 0), 2, 0),
        ("hard/first", 0o100_644, (0, 0), 2, 10),
        ("hard/second", 0o100_644, (0, 0), 2, 10),
        ("deep", 0o040_755, (0, 0), 3, 0),
        ("deep/deeper/leaf", 0o100_644, (0, 0), 1, 5),
        ("link", 0o120_777, (0, 0), 1, 9),
        ("pipe", 0o010_600, (0, 0), 1, 0),
        ("socket", 0o140_600, (0, 0), 1, 0),
        ("device", 0o020_600, (0, 0), 1, 0),
        ("many", 0o040_755, (0, 0), 2, 0),
        (".", 0o040_755, (0, 0), 7, 0),
    ] {
        let found = fs::symlink_metadata(at.path(path)).with_context(|| path.to_owned())?;
        let seen = (found.mode(), (found.uid(), found.gid()), found.nlink(), found.size());
        assert_eq!(seen, (mode, owner, links, size), "{path}");
    }
    let found = |path: &str| fs::symlink_metadata(at.path(path));
    assert_eq!(found("hard/first")?.ino(), found("hard/second")?.ino());
    assert_eq!((found("hello.txt")?.mtime(), found("hello.txt")?.mtime_nsec()), (1_000_000_000, 5));
    assert!(found("device")?.file_type().is_char_device());
    assert_eq!(found("device")?.rdev(), 0x103);
    assert_eq!(found("big.bin")?.blocks(), (5_000_001_u64 - (2 << 20)).next_multiple_of(4096) / 512);
    assert_eq!(at.read("hello.txt")?, b"hello, world\n");
    assert_eq!(at.read("link")?, b"hello, world\n");
    assert_eq!(fs::read_link(at.path("dangling"))?.as_os_str().as_bytes(), b"nowhere/\xff");
    assert!(at.read("big.bin")? == computed(0, 5_000_001, true), "big.bin has other bytes");
    assert!(at.read("frozen")? == computed(0, 300_000, false), "frozen has other bytes");
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe not text");
    assert_eq!(fs::read(at.mount.target().join(odd))?, b"bytes\n");
    assert_eq!(at.read(&"n".repeat(255))?, b"a long name\n");
    let all = names(at.path("many"))??;
    assert_eq!(all.len(), 5000);
    assert_eq!(at.read("many/file-04999")?, b"4999\n");
    let hello = at.path("hello.txt");
    assert_eq!(xattr(&hello, "user.note"), Ok(b"a\0b".to_vec()));
    assert_eq!(xattr(&hello, "user.empty"), Ok(vec![]));
    assert_eq!(xattr(&hello, "user.nobody"), Err(ENODATA));
    let mut list = [0_u8; 256];
    let length = rustix::fs::llistxattr(&hello, &mut list[..])?;
    assert_eq!(&list[..length], b"user.empty\0user.note\0");
    let space = rustix::fs::statvfs(&hello)?;
    assert_eq!((space.f_bsize, space.f_blocks, space.f_bavail), (4096, 1_000_000, 500_000));
    let refused = fs::write(at.path("hello.txt"), "no").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(EROFS));
    Ok(())
}

#[test]
fn holes_are_found_without_reading_them() -> Result<()> {
    use rustix::fs::{SeekFrom, seek};
    let at = mounted(&[])?;
    let big = File::open(at.path("big.bin"))?;
    assert_eq!(seek(&big, SeekFrom::Hole(0))?, 1 << 20);
    assert_eq!(seek(&big, SeekFrom::Data(1 << 20))?, 3 << 20);
    assert_eq!(seek(&big, SeekFrom::Hole(3 << 20))?, 5_000_001);
    Ok(())
}

#[test]
fn what_others_write_now_is_never_cached() -> Result<()> {
    let at = mounted(&[])?;
    let live = File::open(at.path("live"))?;
    let number = || -> Result<u64> {
        let mut bytes = [0; 9];
        live.read_exact_at(&mut bytes, 0)?;
        Ok(std::str::from_utf8(&bytes[..8])?.parse()?)
    };
    let mut last = 0;
    for _ in 0..10 {
        let now = number()?;
        assert!(now > last, "{now} after {last}: it came from a cache");
        last = now;
    }
    Ok(())
}

/// A process that maps a file and says what is at its beginning and in its second page, each time it is asked.
struct Mapped {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Mapped {
    fn new(path: &Path) -> Result<Self> {
        let program = "import mmap, sys\n\
            f = open(sys.argv[1], 'rb')\n\
            m = mmap.mmap(f.fileno(), 8192, prot=mmap.PROT_READ)\n\
            for line in sys.stdin:\n\
            \x20   print(m[0:7].decode(), m[4096:4103].decode(), flush=True)\n";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run python3")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Self { child, answers })
    }

    fn ask(&mut self) -> Result<String> {
        self.child.stdin.as_mut().context("a pipe")?.write_all(b"\n")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_change_is_seen_by_everybody_as_soon_as_it_is_made() -> Result<()> {
    let at = mounted(&[])?;
    let open = File::open(at.path("counter"))?;
    let mut mapped = Mapped::new(&at.path("counter"))?;
    let mut mode = 0o644;
    for version in 0..40_u64 {
        let expected = lines(version);
        assert_eq!(mapped.ask()?, format!("{version:07} {version:07}"), "through mmap");
        let mut bytes = vec![0; expected.len() + 100];
        let read = open.read_at(&mut bytes, 0)?;
        assert_same(
            &bytes[..read],
            &expected,
            &format!("version {version} through a file that was open before"),
        );
        assert_same(&at.read("counter")?, &expected, &format!("version {version} through a new open"));
        let found = fs::metadata(at.path("counter"))?;
        assert_eq!((found.size(), found.mtime()), (expected.len() as u64, 1_000_000_000 + version as i64));
        assert_eq!(found.mode() & 0o7777, mode);
        at.command("bump")??;
        if version % 4 == 0 {
            at.command("chmod")??;
            mode ^= 0o020;
            assert_eq!(fs::metadata(at.path("counter"))?.mode() & 0o7777, mode);
        }
    }
    for number in 0..20 {
        let (now, next) = (format!("moving/name-{number}"), format!("moving/name-{}", number + 1));
        assert_eq!(at.read(&now)?, b"it has moved\n");
        assert!(!at.path(&next).try_exists()?);
        assert_eq!(names(at.path("moving"))??, [format!("name-{number}")]);
        at.command("rename")??;
        assert!(!at.path(&now).try_exists()?, "{now} is still there");
        assert_eq!(names(at.path("moving"))??, [format!("name-{}", number + 1)]);
    }
    at.command("everything")??;
    at.command("shrink")??;
    assert_eq!(at.read("hello.txt")?, b"hello, world\n");
    Ok(())
}

/// A reader that holds the locks of pages while it waits for the plugin, in one thread, and a change of the same file in another: the kernel
/// waits for the page's lock before it lets go of the page, and nobody may wait for the kernel who has to answer that read.
#[test]
fn a_read_that_waits_and_an_invalidation_of_its_pages_do_not_wait_for_each_other() -> Result<()> {
    let at = Arc::new(mounted(&[("read-delay", "200ms")])?);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (path, stop) = (at.path("slow"), Arc::clone(&stop));
            std::thread::spawn(move || -> Result<u32> {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    // One read may see two versions, as with any writer, but nothing else.
                    for line in fs::read(&path)?.chunks(8) {
                        let number = line.strip_suffix(b"\n").unwrap_or_default();
                        let number: u64 = std::str::from_utf8(number)?.parse().context("half a line")?;
                        ensure!(number <= CHANGES, "a version that has never been");
                    }
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    for version in 1..=CHANGES {
        std::thread::sleep(Duration::from_millis(70));
        let begin = Instant::now();
        at.command("bump-slow")??;
        assert!(begin.elapsed() < SOON / 2, "a change took {:?}", begin.elapsed());
        assert!(at.read("slow")?.starts_with(format!("{version:07}").as_bytes()), "the old is seen still");
    }
    stop.store(true, Ordering::SeqCst);
    let mut reads = BTreeMap::new();
    for (index, reader) in readers.into_iter().enumerate() {
        let deadline = Instant::now() + SOON;
        while !reader.is_finished() {
            assert!(Instant::now() < deadline, "a reader hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
        reads.insert(index, reader.join().expect("a reader panicked")?);
    }
    assert!(reads.values().all(|count| *count > 0), "{reads:?}");
    Ok(())
}

#[test]
fn after_a_trap_nothing_old_is_seen_and_open_files_go_on() -> Result<()> {
    let at = mounted(&[])?;
    let open = File::open(at.path("counter"))?;
    for _ in 0..3 {
        at.command("bump")??;
    }
    assert!(at.read("counter")? == lines(3));
    let trapped = at.command("panic")?.unwrap_err();
    assert_eq!(trapped.raw_os_error(), Some(EIO));
    // A fresh instance has never changed anything. Nobody has asked for it yet: the kernel must have been told.
    let begin = Instant::now();
    loop {
        let (bytes, found) = (at.read("counter")?, fs::metadata(at.path("counter"))?);
        if bytes == lines(0) && found.mtime() == 1_000_000_000 {
            break;
        }
        assert!(begin.elapsed() < SOON, "what the instance before had said is seen still");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut bytes = [0; 8];
    open.read_exact_at(&mut bytes, 0)?;
    assert_eq!(&bytes, b"0000000\n");
    at.command("bump")??;
    open.read_exact_at(&mut bytes, 0)?;
    assert_eq!(&bytes, b"0000001\n");
    ensure!(at.mount.log().text().contains("control/panic"), "the log does not say what happened");
    Ok(())
}
