//! What a request costs on its way through the kernel and this crate, with a file system behind it that answers from memory.
//! Needs root and `/dev/fuse`: `cargo run --release -p wasmount-fuse --example round_trips`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement")]

#[path = "../tests/changing/mod.rs"]
mod changing;

use changing::{Changing, SIZE, file};
use rustix::fs::{AtFlags, Mode, OFlags, open, openat, statat};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wasmount_types::Ino;

const DIRS: u64 = 100;
const FILES: u64 = 100;
const ROUNDS: u32 = 20_000;

/// Microseconds for one of `ROUNDS`.
fn each<T>(mut round: impl FnMut(u32) -> T) -> f64 {
    let started = Instant::now();
    for n in 0..ROUNDS {
        round(n);
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

/// What was asked so far.
fn counts(fs: &Changing) -> [u64; 3] {
    ["lookup", "getattr", "readdir"].map(|op| fs.asked_in_all(op))
}

/// Lists all with `ls -lR`, the median of five times, and says what it asked.
fn list(what: &str, fs: &Changing, target: &Path, before: impl Fn()) {
    let mut runs = Vec::new();
    for _ in 0..5 {
        before();
        let asked = counts(fs);
        let started = Instant::now();
        let status =
            Command::new("ls").args(["-lR", "--color=never"]).arg(target).stdout(Stdio::null()).status();
        let took = started.elapsed();
        assert!(status.unwrap().success());
        let now = counts(fs);
        runs.push((took, [0, 1, 2].map(|op| now[op] - asked[op])));
    }
    runs.sort();
    let (took, [lookups, getattrs, readdirs]) = runs[2];
    println!("ls -lR, {what}: {took:.1?}, {lookups} LOOKUP, {getattrs} GETATTR, {readdirs} READDIR(PLUS)");
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fs = Changing::new(DIRS, FILES);
    let target = dir.path().join("mnt");
    let mounted = fs.mount(&target, &runtime, |_| {});
    let kept = *fs.ttl.lock().unwrap();
    let keep = |names: bool, attributes: bool| {
        let time = |keep: bool, kept: Duration| if keep { kept } else { Duration::ZERO };
        *fs.ttl.lock().unwrap() = (time(names, kept.0), time(attributes, kept.1));
    };
    let forget = || std::fs::write("/proc/sys/vm/drop_caches", "2").unwrap();

    keep(false, true);
    let flags = OFlags::RDONLY;
    let inside = open(target.join("dir-0"), flags, Mode::empty()).unwrap();
    let lookup = each(|_| statat(&inside, "file-0", AtFlags::empty()).unwrap());
    keep(false, false);
    let one = openat(&inside, "file-0", flags, Mode::empty()).unwrap();
    let getattr = each(|_| rustix::fs::fstat(&one).unwrap());
    println!("LOOKUP {lookup:.1} us, GETATTR {getattr:.1} us");
    let mut page = [0; 4096];
    let direct = openat(&inside, "file-1", flags, Mode::empty()).unwrap();
    let read = each(|round| {
        runtime.block_on(fs.kernel().drop_pages(Ino(file(0, 1)), None));
        let offset = u64::from(round) * 4096 % SIZE;
        assert_eq!(rustix::io::pread(&direct, &mut page, offset).unwrap(), 4096);
    });
    let told = each(|_| runtime.block_on(fs.kernel().drop_pages(Ino(file(0, 1)), None)));
    let at_once = each(|_| runtime.block_on(fs.kernel().drop_attributes(Ino(file(0, 1)))));
    let epoch = each(|_| fs.kernel().drop_entries());
    println!("drop_pages {told:.1} us, then a READ of a page {:.1} us", read - told);
    println!("drop_attributes {at_once:.2} us, drop_entries {epoch:.2} us");

    keep(true, true);
    println!("{} entries:", DIRS * FILES);
    list("cold", &fs, &target, forget);
    list("again, names and attributes kept", &fs, &target, || {});
    fs.keep_listings.store(true, Ordering::Relaxed);
    list("again, listings kept too", &fs, &target, || {});
    list("after a new epoch, listings kept", &fs, &target, || assert!(fs.kernel().drop_entries()));
    fs.keep_listings.store(false, Ordering::Relaxed);
    list("after a new epoch", &fs, &target, || assert!(fs.kernel().drop_entries()));
    keep(false, true);
    forget();
    list("names not kept", &fs, &target, || {});
    mounted.unmount().unwrap();
}
