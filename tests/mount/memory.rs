//! `--memory` holds, whatever the load.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::within;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Launch;

const BUCKET: &str = "memory";
const READERS: usize = 64;
const OBJECTS: usize = 8;
const SIZE: usize = 32 << 20;
/// What a process needs beside `--memory`: code, engine, threads.
const BESIDE: u64 = 64 << 20;

/// The most memory a process has had in RAM, in bytes (`VmHWM` in `proc(5)`).
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

#[test]
fn sixty_four_readers_fit_into_128_mib() -> Result<()> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    for object in 0..OBJECTS {
        client.put(BUCKET, &format!("{object}.bin"), &vec![object as u8; SIZE])?;
    }
    let scratch = tempfile::tempdir()?;
    let mount = Launch::mount(&format!("s3://{BUCKET}"), &scratch.path().join("mnt"), scratch.path())?
        .option("endpoint", &minio.endpoint())
        .option("access-key", "minioadmin")
        .option("secret-key", "minioadmin")
        .arg("--memory")
        .arg("128MiB")
        .start()?;
    let target = Arc::new(mount.target().to_owned());
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let target = target.clone();
            std::thread::spawn(move || -> Result<Duration> {
                let object = reader % OBJECTS;
                let file = File::open(target.join(format!("{object}.bin")))?;
                let (mut chunk, mut longest) = (vec![0; 1 << 20], Duration::ZERO);
                // From different places, so that they do not all wait for the same bytes.
                let first = (reader / OBJECTS) * (SIZE / (READERS / OBJECTS));
                for step in 0..SIZE >> 20 {
                    let at = (first + (step << 20)) % SIZE;
                    let begun = Instant::now();
                    file.read_exact_at(&mut chunk, at as u64)?;
                    longest = longest.max(begun.elapsed());
                    ensure!(chunk.iter().all(|byte| usize::from(*byte) == object), "wrong bytes at {at}");
                }
                Ok(longest)
            })
        })
        .collect();
    let longest = within("64 readers", Duration::from_secs(240), move || {
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|_| anyhow::bail!("panicked")))
            .collect::<Result<Vec<_>>>()
    })??;
    let peak = peak(mount.process.id())?;
    println!("peak {} MiB, longest wait for 1 MiB {:?}", peak >> 20, longest.iter().max());
    ensure!(peak <= (128 << 20) + BESIDE, "{} MiB", peak >> 20);
    Ok(())
}
