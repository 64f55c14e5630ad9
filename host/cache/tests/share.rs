//! Several caches of one directory, as the processes of a node have them, and a process that is killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wasmount_cache::{DiskCacheConfig, MinFree, admin};

const CHILD: &str = "WASMOUNT_CACHE_TEST_CHILD";
const SIZE: u64 = (1 << 20) + 9;
/// Where the words and the mark are in the meta file of `x`.
const WORDS: u64 = 192;
const MARK: Range<usize> = 64..144;

#[test]
fn what_one_writes_the_other_reads() {
    let one = Lab::new();
    let two = Lab::at(&one.dir);
    let size = (1 << 20) + 9;
    let (a, b) = (one.open("x", size), two.open("x", size));
    one.offer(&*a, "x", 0, 512 << 10, 1 << 20);
    one.flush();
    // The other one has not been told; it notices when it is about to write.
    two.offer(&*b, "x", 0, size, 1 << 20);
    two.flush();
    assert!(two.read(&*b, "x", 0, size));
    // The first one knew nothing of the second half, and looks.
    assert_eq!(a.run(600 << 10, size), size);
    assert!(one.read(&*a, "x", 0, size));
    assert!(two.backing(&*b).is_some());
    assert!(one.backing(&*a).is_some());
    assert_eq!(one.files("data").len(), 1);
    assert_eq!((one.stats().damaged_pages, two.stats().damaged_pages), (0, 0));
    // A third one, from the start.
    let three = Lab::at(&one.dir);
    let c = three.open("x", size);
    assert!(three.runtime.block_on(c.backing()).is_some());
}

#[test]
fn what_one_finds_damaged_the_other_gives_to_nobody() {
    let one = Lab::new();
    let two = Lab::at(&one.dir);
    let a = one.fill("x", SIZE);
    assert!(one.backing(&*a).is_some());
    let b = two.open("x", SIZE);
    assert!(two.runtime.block_on(b.backing()).is_some());
    let meta = one.only("meta");
    let before = fs::read(&meta).unwrap();
    // As if a bit of the page had flipped on the disk: nothing about the data file shows it.
    flip(&meta, WORDS + 5 * 4);
    assert!(one.runtime.block_on(a.backing()).is_some(), "nobody knows yet");
    assert!(!one.read(&*a, "x", 5 * PAGE, 6 * PAGE));
    for (lab, file) in [(&one, &a), (&two, &b)] {
        assert!(lab.backing(&**file).is_none());
        assert_eq!((file.run(0, SIZE), file.run(6 * PAGE, SIZE)), (5 * PAGE, SIZE));
    }
    // A mark that was about to be written when the page was taken away.
    let writable = File::options().write(true).open(&meta).unwrap();
    writable.write_all_at(&before[MARK], MARK.start as u64).unwrap();
    let three = Lab::at(&one.dir);
    let c = three.open("x", SIZE);
    assert!(three.runtime.block_on(c.backing()).is_none());
    assert!(three.backing(&*c).is_none());
    assert_eq!(c.run(0, SIZE), 5 * PAGE);

    // Fetched again, it is whole again, for all.
    one.offer(&*a, "x", 5 * PAGE, 6 * PAGE, 4096);
    one.flush();
    for (lab, file) in [(&one, &a), (&two, &b), (&three, &c)] {
        assert!(lab.backing(&**file).is_some());
    }
}

#[test]
fn what_one_finds_damaged_before_the_other_has_finished_it_is_not_finished() {
    let one = Lab::new();
    let two = Lab::at(&one.dir);
    let a = one.open("x", SIZE);
    one.offer(&*a, "x", 0, SIZE, 1 << 20);
    // It waits a tenth of a second for more before it marks what is complete.
    eventually("written", || a.run(0, SIZE) == SIZE);
    flip(&one.only("meta"), WORDS + 5 * 4);
    let b = two.open("x", SIZE);
    assert!(!two.read(&*b, "x", 5 * PAGE, 6 * PAGE));
    one.flush();
    assert!(one.backing(&*a).is_none());
    assert_eq!(a.run(0, SIZE), 5 * PAGE);
}

#[test]
fn what_the_verifier_finds_damaged_nobody_gives_to_the_kernel() {
    let lab = Lab::new();
    let file = lab.fill("x", SIZE);
    assert!(lab.backing(&*file).is_some());
    flip(&lab.only("meta"), WORDS + 7 * 4);
    let found = admin::verify(&lab.dir, &admin::Filter::default(), |_, _| true).unwrap();
    assert_eq!((found.damaged_pages, found.damaged_entries), (1, 1));
    assert!(lab.backing(&*file).is_none());
}

#[test]
fn two_that_make_the_same_entries_at_once_both_end_with_valid_ones() {
    let one = Lab::new();
    let two = Lab::at(&one.dir);
    let size = 40_000;
    std::thread::scope(|scope| {
        for lab in [&one, &two] {
            scope.spawn(move || {
                for n in 0..200 {
                    let key = format!("{n}");
                    let file = lab.open(&key, size);
                    lab.offer(&*file, &key, 0, size, 10_000);
                }
                lab.flush();
            });
        }
    });
    for lab in [&one, &two] {
        for n in 0..200 {
            let key = format!("{n}");
            let file = lab.open(&key, size);
            assert!(
                lab.read(&*file, &key, 0, size),
                "{key}: {} bytes, {:?}",
                file.cached_bytes(),
                lab.stats()
            );
        }
        assert_eq!(lab.stats().damaged_pages, 0);
    }
}

#[test]
fn what_any_of_them_has_open_is_not_evicted() {
    let temp = tempfile::tempdir().unwrap();
    let config = DiskCacheConfig {
        max_bytes: 8 << 20,
        min_free: MinFree::Bytes(0),
        ..DiskCacheConfig::new(temp.path().join("c"))
    };
    let one = Lab::with(config.clone());
    let two = Lab::with(config);
    let size = 1 << 20;
    let held = two.fill("held", size);
    let fd = two.backing(&*held).unwrap();
    // Only the descriptor, as the kernel has it for a file that is open by passthrough.
    drop(held);
    for n in 0..40 {
        let key = format!("{n}");
        let file = one.open(&key, size);
        one.offer(&*file, &key, 0, size, 1 << 20);
        one.flush();
    }
    let mut more = 40..;
    eventually("evicted", || {
        let key = format!("{}", more.next().unwrap());
        let file = one.open(&key, size);
        one.offer(&*file, &key, 0, size, 1 << 20);
        one.flush();
        one.stats().evicted_files > 3
    });
    let file = one.open("held", size);
    assert!(one.read(&*file, "held", 0, size));
    drop(fd);
}

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "a part of killed_at_any_moment"]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (dir, seed) = dir.rsplit_once('|').unwrap();
    let lab = Lab::at(Path::new(dir));
    let mut dice = Dice::seeded(seed.parse().unwrap());
    println!("ready");
    loop {
        let (key, size) = object(&mut dice);
        let file = lab.open(&key, size);
        if file.run(0, size) == size {
            continue;
        }
        let from = dice.below(size) / PAGE * PAGE;
        for (from, to) in [(0, from), (from, size)] {
            if from < to {
                lab.offer(&*file, &key, from, to, 1 + dice.below(1 << 20) as usize);
            }
        }
        if dice.below(4) == 0 {
            lab.flush();
            if file.run(0, size) == size {
                println!("done {key} {size}");
            }
        }
    }
}

fn object(dice: &mut Dice) -> (String, u64) {
    let n = dice.below(400);
    (format!("o{n}"), 1 + mix(n) % if n.is_multiple_of(10) { 3 << 20 } else { 60_000 })
}

#[test]
fn killed_at_any_moment_nothing_is_wrong_and_what_was_there_is_there() {
    let rounds: u64 = std::env::var("WASMOUNT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("c");
    let mut dice = Dice::new();
    let mut kept = 0;
    let mut done = std::collections::BTreeMap::new();
    for round in 0.. {
        if round >= rounds && kept > 0 {
            break;
        }
        assert!(round < rounds + 20, "no object was ever finished: the test tests nothing");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CHILD, format!("{}|{}", dir.display(), dice.next()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect::<Vec<_>>());
        // A slow machine gets longer.
        let longer = (round + 1).saturating_sub(rounds) * 500;
        std::thread::sleep(Duration::from_millis(60 + dice.below(240) + longer));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            // The last line may be cut.
            if let [_, key, size] = line
                .split("done ")
                .last()
                .map_or(vec![], |l| std::iter::once("done").chain(l.split(' ')).collect::<Vec<_>>())[..]
                && let Ok(size) = size.parse::<u64>()
            {
                done.insert(key.to_owned(), size);
            }
        }

        let begun = Instant::now();
        let lab = Lab::at(&dir);
        assert!(begun.elapsed() < Duration::from_secs(5), "start-up waits for nothing");
        for n in 0..400 {
            let key = format!("o{n}");
            let size = 1 + mix(n) % if n.is_multiple_of(10) { 3 << 20 } else { 60_000 };
            let file = lab.open(&key, size);
            let mut at = 0;
            while at < size {
                let end = file.run(at, size);
                // `read` compares with the truth.
                at = if end > at && lab.read(&*file, &key, at, end) { end } else { at + PAGE };
            }
            if done.get(&key) == Some(&size) {
                assert_eq!(file.cached_bytes(), size, "{key} was written and is not there, round {round}");
                kept += 1;
            }
        }
        assert_eq!(lab.stats().damaged_pages, 0, "a killed process damages nothing, round {round}");
    }
}
