//! Files that somebody has changed: never a wrong byte, and everything else stays.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use std::fs::{self, File};
use wasmount_cache::{Health, admin};

const SIZE: u64 = (1 << 20) + 50;

#[test]
fn bits_flipped_between_runs_are_found_before_the_kernel_may_read_the_file() {
    let mut lab = Lab::new();
    assert!(lab.backing(&*lab.fill("x", SIZE)).is_some());
    lab.restart();
    // Unchanged and of this boot: at once, without reading it again.
    let file = lab.open("x", SIZE);
    assert!(lab.runtime.block_on(file.backing()).is_some());
    assert_eq!(lab.stats().verified_files, 0);
    drop(file);
    lab.restart();
    flip(&lab.only("data"), 5 * PAGE + 17);
    let file = lab.open("x", SIZE);
    assert_eq!(file.run(0, SIZE), SIZE);
    assert!(lab.runtime.block_on(file.backing()).is_none(), "its times say that it was changed");
    lab.flush();
    assert!(lab.runtime.block_on(file.backing()).is_none());
    assert_eq!((file.run(0, SIZE), file.run(6 * PAGE, SIZE)), (5 * PAGE, SIZE));
    let stats = lab.stats();
    assert_eq!((stats.failed_verifications, stats.damaged_pages), (1, 1));
    assert!(lab.read(&*file, "x", 6 * PAGE, SIZE));

    // Fetched again, it is whole again.
    assert!(file.wants(5 * PAGE, 6 * PAGE));
    lab.offer(&*file, "x", 5 * PAGE, 6 * PAGE, 4096);
    lab.flush();
    assert!(lab.read(&*file, "x", 0, SIZE));
    assert!(lab.backing(&*file).is_some());
}

#[test]
fn a_flipped_bit_is_found_by_the_read_that_meets_it() {
    let mut lab = Lab::new();
    let file = lab.fill("x", SIZE);
    flip(&lab.only("data"), 9 * PAGE);
    assert!(lab.runtime.block_on(file.backing()).is_none());
    assert!(lab.read(&*file, "x", 0, 9 * PAGE));
    assert!(!lab.read(&*file, "x", 9 * PAGE + 100, 9 * PAGE + 101));
    assert_eq!(file.run(0, SIZE), 9 * PAGE, "nobody is told that it is here");
    assert!(!lab.read(&*file, "x", 0, SIZE));
    assert!(lab.read(&*file, "x", 10 * PAGE, SIZE));
    assert_eq!((lab.stats().damaged_pages, lab.stats().health), (1, Health::Healthy));
    drop(file);
    lab.restart();
    let file = lab.open("x", SIZE);
    assert_eq!((file.run(0, SIZE), file.run(10 * PAGE, SIZE)), (9 * PAGE, SIZE), "nor after a restart");
}

#[test]
fn a_file_cut_between_runs_keeps_what_is_left() {
    let mut lab = Lab::new();
    drop(lab.fill("x", SIZE));
    lab.restart();
    File::options().write(true).open(lab.only("data")).unwrap().set_len(100_000).unwrap();
    let file = lab.open("x", SIZE);
    let left = 100_000 / PAGE * PAGE;
    assert_eq!(file.run(0, SIZE), left);
    assert!(lab.read(&*file, "x", 0, left));
    assert!(lab.runtime.block_on(file.backing()).is_none());
    assert!(lab.stats().damaged_pages > 0);
    lab.offer(&*file, "x", left, SIZE, 1 << 20);
    lab.flush();
    assert!(lab.read(&*file, "x", 0, SIZE));
    assert!(lab.backing(&*file).is_some());
    assert_eq!(fs::metadata(lab.only("data")).unwrap().len(), SIZE);
}

#[test]
fn a_file_cut_while_it_is_open_is_fetched_again() {
    let lab = Lab::new();
    let file = lab.fill("x", SIZE);
    File::options().write(true).open(lab.only("data")).unwrap().set_len(10_000).unwrap();
    assert!(lab.runtime.block_on(file.backing()).is_none());
    assert!(!lab.read(&*file, "x", 0, SIZE));
    lab.flush();
    let mut at = 0;
    while at < SIZE {
        let end = file.run(at, SIZE);
        if end > at && lab.read(&*file, "x", at, end) {
            at = end;
        } else if end == at {
            lab.offer(&*file, "x", at, (at + PAGE).min(SIZE), 4096);
            lab.flush();
        }
    }
    assert_eq!(fs::metadata(lab.only("data")).unwrap().len(), SIZE);
    assert!(lab.backing(&*file).is_some());
}

#[test]
fn damaged_or_half_written_meta_files_mean_that_nothing_is_there() {
    for damage in 0..5 {
        let mut lab = Lab::new();
        drop(lab.fill("x", SIZE));
        lab.restart();
        let meta = lab.only("meta");
        let writable = File::options().write(true).open(&meta).unwrap();
        let words_are_lost = match damage {
            0 => (writable.set_len(0).unwrap(), true).1,
            1 => (writable.set_len(77).unwrap(), true).1,
            2 => (flip(&meta, 20), true).1,
            3 => (fs::write(&meta, vec![0xff; 9000]).unwrap(), true).1,
            _ => (fs::remove_file(&meta).unwrap(), true).1,
        };
        let file = lab.open("x", SIZE);
        assert_eq!(file.run(0, SIZE) == 0, words_are_lost, "damage {damage}");
        lab.offer(&*file, "x", 0, SIZE, 1 << 20);
        lab.flush();
        assert!(lab.read(&*file, "x", 0, SIZE), "damage {damage}");
        drop(file);
        lab.restart();
        let file = lab.open("x", SIZE);
        assert!(lab.read(&*file, "x", 0, SIZE), "damage {damage}, after a restart");
        assert!(lab.backing(&*file).is_some());
    }
}

#[test]
fn flipped_words_and_marks_never_lead_to_a_wrong_byte() {
    let mut lab = Lab::new();
    let mut dice = Dice::new();
    drop(lab.fill("x", SIZE));
    for _ in 0..20 {
        lab.restart();
        let meta = lab.only("meta");
        flip(&meta, dice.below(fs::metadata(&meta).unwrap().len()));
        let file = lab.open("x", SIZE);
        let mut at = 0;
        while at < SIZE {
            let end = file.run(at, SIZE);
            // `read` compares with the truth.
            if end == at || !lab.read(&*file, "x", at, end) {
                at += PAGE;
            } else {
                at = end;
            }
        }
        lab.offer(&*file, "x", 0, SIZE, 1 << 20);
        lab.flush();
    }
    // A data file that is replaced by another one of the same size, its meta file left as it was.
    lab.restart();
    let data = lab.only("data");
    fs::remove_file(&data).unwrap();
    File::create(&data).unwrap().set_len(SIZE).unwrap();
    let file = lab.open("x", SIZE);
    assert!(lab.runtime.block_on(file.backing()).is_none());
    lab.flush();
    assert!(lab.runtime.block_on(file.backing()).is_none());
    assert_eq!(file.cached_bytes(), 0);
    assert!(!lab.read(&*file, "x", 0, 1));
}

#[test]
fn the_verifier_takes_away_exactly_what_is_damaged() {
    let mut lab = Lab::new();
    drop(lab.fill("x", SIZE));
    drop(lab.fill("y", SIZE));
    lab.restart();
    let data = lab.files("data");
    for page in [0, 3, 4, 200] {
        flip(&data[0], page * PAGE + 1);
    }
    let mut seen = 0;
    let result = admin::verify(&lab.dir, &admin::Filter::default(), |_, _| {
        seen += 1;
        true
    })
    .unwrap();
    assert_eq!((seen, result.entries, result.damaged_pages, result.damaged_entries), (2, 2, 4, 1));
    assert_eq!(result.bytes, 2 * SIZE - 4 * PAGE);
    let again = admin::verify(&lab.dir, &admin::Filter::default(), |_, _| true).unwrap();
    assert_eq!((again.damaged_pages, again.bytes), (0, 2 * SIZE - 4 * PAGE));
}
