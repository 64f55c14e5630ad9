//! A case's load on files: of a mount, or local ones.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wasmount_tests::prng::Prng;

use crate::data;
use crate::plan::{Outcome, Piece, Plan, read_all};

/// Reads all pieces of a case below `directory`.
///
/// # Errors
/// When a file cannot be read, ends early, or has wrong bytes.
pub(crate) fn run(case: &str, directory: &Path) -> Result<Outcome> {
    let plan = Plan::of_files(case)?;
    // A buffer for each worker, touched before the clock starts: first use of fresh memory is slow and not the mount's fault.
    let buffers: Vec<_> = (0..plan.workers).map(|_| Mutex::new(vec![1_u8; plan.chunk])).collect();
    read_all(&plan, Instant::now(), |worker, piece| {
        let Some(buffer) = buffers.get(worker) else { return Ok(Duration::ZERO) };
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        read(directory, piece, &mut buffer)
    })
}

/// Reads one piece and returns the longest time a call took, opening included.
fn read(directory: &Path, piece: &Piece, buffer: &mut [u8]) -> Result<Duration> {
    let mut before = Instant::now();
    let file = File::open(directory.join(&piece.key))?;
    let (mut at, end, mut longest) = (piece.start, piece.start + piece.len, Duration::ZERO);
    while at < end {
        let want = buffer.len().min((end - at) as usize);
        let free = buffer.get_mut(..want).unwrap_or_default();
        let got = file.read_at(free, at)?;
        ensure!(got > 0, "ends at {at} instead of {end}");
        let now = Instant::now();
        longest = longest.max(now - before);
        before = now;
        data::check(&piece.key, at, buffer.get(..got).unwrap_or_default())?;
        at += got as u64;
    }
    Ok(longest)
}

/// Reads 4 KiB at random places of one open file, by so many readers at once and for so long.
///
/// # Errors
/// When the file cannot be opened or a read fails.
pub(crate) fn scatter(path: &Path, readers: u64, bound: Duration) -> Result<Outcome> {
    const BLOCK: usize = 4096;
    let file = File::open(path)?;
    let blocks = usize::try_from(file.metadata()?.len())? / BLOCK;
    ensure!(blocks > 0, "{} is smaller than one read", path.display());
    let start = Instant::now();
    let read = |seed: u64| -> Result<(u64, Duration)> {
        let (mut prng, mut buffer, mut count, mut longest) = (Prng::new(seed), [0; BLOCK], 0, Duration::ZERO);
        while start.elapsed() < bound {
            let before = Instant::now();
            file.read_exact_at(&mut buffer, (prng.below(blocks) * BLOCK) as u64)?;
            longest = longest.max(before.elapsed());
            count += 1;
        }
        Ok((count, longest))
    };
    let read = &read;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers).map(|seed| scope.spawn(move || read(seed))).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut all = Outcome { duration: start.elapsed(), ..Outcome::default() };
    for outcome in outcomes {
        let (count, longest) = outcome.map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        all.count += count;
        all.bytes += count * BLOCK as u64;
        all.stall = all.stall.max(longest);
    }
    Ok(all)
}
