//! Not a test: what filling and reading cost. `cargo test --release -p wasmount-cache --test bench -- --ignored --nocapture`, with
//! `WASMOUNT_BENCH_DIR` on the disk that is meant.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod common;

use bytes::{Bytes, BytesMut};
use common::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_cache::{DiskCacheConfig, MinFree};

/// CPU seconds of this process, user and system.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn measure(what: &str, bytes: u64, work: impl FnOnce()) {
    let (begun, before) = (Instant::now(), cpu());
    work();
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu() - before);
    let gib = bytes as f64 / f64::from(1 << 30);
    println!("{what:44} {:7.2} GB/s {:7.3} CPU s/GiB", bytes as f64 / 1e9 / took, used / gib);
}

fn lab(queue_bytes: u64) -> (Lab, tempfile::TempDir) {
    let base = std::env::var("WASMOUNT_BENCH_DIR").unwrap_or_else(|_| "/var/tmp".into());
    let temp = tempfile::tempdir_in(base).unwrap();
    let dir = temp.path().join("c");
    (
        Lab::with(DiskCacheConfig { queue_bytes, min_free: MinFree::Bytes(0), ..DiskCacheConfig::new(dir) }),
        temp,
    )
}

/// One block of memory that begins at a page, as a block pool has it.
fn aligned(len: usize) -> Bytes {
    let memory = Bytes::from(body("block", 0, len as u64 + PAGE));
    let start = memory.as_ptr().align_offset(PAGE as usize);
    memory.slice(start..start + len)
}

#[test]
#[ignore = "a bench"]
fn large_files() {
    const FILE: u64 = 256 << 20;
    const BLOCK: u64 = 1 << 20;
    let (lab, _temp) = lab(64 << 20);
    let block = aligned(BLOCK as usize);
    let odd = block.slice(0..BLOCK as usize);
    for (what, piece) in [("write, aligned blocks of 1 MiB", &block), ("again", &odd)] {
        let files: Vec<_> = (0..4).map(|n| lab.open(&format!("{what}{n}"), FILE)).collect();
        measure(what, 4 * FILE, || {
            for file in &files {
                for at in (0..FILE).step_by(BLOCK as usize) {
                    while lab.stats().queued_bytes + BLOCK > (64 << 20) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    file.offer(at, vec![piece.clone()], Arc::new(()), BLOCK);
                }
            }
            lab.flush();
        });
        assert_eq!(lab.stats().dropped_offers, 0);
    }
    let unaligned = Bytes::from(body("block", 0, BLOCK + 7)).slice(7..);
    let file = lab.open("odd", 4 * FILE);
    measure("write, memory not aligned", 4 * FILE, || {
        for at in (0..4 * FILE).step_by(BLOCK as usize) {
            while lab.stats().queued_bytes + BLOCK > (64 << 20) {
                std::thread::sleep(Duration::from_millis(1));
            }
            file.offer(at, vec![unaligned.clone()], Arc::new(()), BLOCK);
        }
        lab.flush();
    });
    for what in ["read, 1 MiB, not in the page cache", "read, 1 MiB, in the page cache", "again"] {
        let mut buffer = BytesMut::with_capacity(BLOCK as usize);
        measure(what, 4 * FILE, || {
            lab.runtime.block_on(async {
                for at in (0..4 * FILE).step_by(BLOCK as usize) {
                    buffer.clear();
                    buffer = file.read(at, at + BLOCK, std::mem::take(&mut buffer)).await.unwrap();
                }
            });
        });
    }
    let mut buffer = BytesMut::with_capacity(4096);
    let begun = Instant::now();
    lab.runtime.block_on(async {
        for n in 0..200_000 {
            let at = mix(n) % (4 * FILE / PAGE) * PAGE;
            buffer.clear();
            buffer = file.read(at, at + PAGE, std::mem::take(&mut buffer)).await.unwrap();
        }
    });
    println!(
        "read, 4 KiB at random, in the page cache     {:7.2} µs each",
        begun.elapsed().as_secs_f64() * 5.0
    );
    println!("{:?}", lab.stats());
}

/// Files of a training set that are read side by side: their blocks come in turn.
#[test]
#[ignore = "a bench"]
fn files_side_by_side() {
    const FILES: u64 = 64;
    const FILE: u64 = 16 << 20;
    const BLOCK: u64 = 1 << 20;
    let (lab, _temp) = lab(64 << 20);
    let block = aligned(BLOCK as usize);
    for (what, together) in [("16 MiB files one by one", 1), ("8 at a time", 8), ("64 at a time", 64)] {
        let files: Vec<_> = (0..FILES).map(|n| lab.open(&format!("{what}{n}"), FILE)).collect();
        measure(what, FILES * FILE, || {
            for group in files.chunks(together) {
                for at in (0..FILE).step_by(BLOCK as usize) {
                    for file in group {
                        while lab.stats().queued_bytes + BLOCK > (64 << 20) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        file.offer(at, vec![block.clone()], Arc::new(()), BLOCK);
                    }
                }
            }
            lab.flush();
        });
        assert_eq!(lab.stats().dropped_offers, 0);
    }
}

#[test]
#[ignore = "a bench"]
fn small_files() {
    const FILES: u64 = 2000;
    const SIZE: u64 = 16 << 10;
    let (mut lab, _temp) = lab(64 << 20);
    let block = Bytes::from(body("block", 0, SIZE));
    lab.open("first", 1);
    eventually("index read", || {
        std::thread::sleep(Duration::from_millis(300));
        true
    });
    let per_file = |what: &str, work: &dyn Fn()| {
        let (begun, before) = (Instant::now(), cpu());
        work();
        println!(
            "{what:44} {:7.2} µs each, {:7.2} µs CPU",
            begun.elapsed().as_secs_f64() * 1e6 / FILES as f64,
            (cpu() - before) * 1e6 / FILES as f64
        );
    };
    per_file("2,000 × 16 KiB: open and offer", &|| {
        for n in 0..FILES {
            let file = lab.open(&format!("small-{n}"), SIZE);
            file.offer(0, vec![block.clone()], Arc::new(()), SIZE);
        }
    });
    per_file("written, synced, marked", &|| lab.flush());
    assert_eq!(lab.stats().completed_files, FILES);
    lab.restart();
    for what in ["opened and read after a restart", "again"] {
        per_file(what, &|| {
            for n in 0..FILES {
                let file = lab.open(&format!("small-{n}"), SIZE);
                let read = file.read(0, SIZE, BytesMut::with_capacity(SIZE as usize));
                assert!(lab.runtime.block_on(read).is_ok());
                assert!(lab.runtime.block_on(file.backing()).is_some());
            }
        });
    }
}
