//! A case's load on files: of a mount, or local ones.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::data;
use crate::plan::{Outcome, Piece, Plan, in_parallel};

/// What a reader asks for at once, as `dd bs=1M` does.
const CHUNK: usize = 1 << 20;

/// Reads all pieces of a case below `directory`.
///
/// # Errors
/// When a file cannot be read, ends early, or has wrong bytes.
pub(crate) fn run(case: &str, directory: &Path) -> Result<Outcome> {
    let plan = Plan::of_files(case)?;
    // A buffer for each worker, touched before the clock starts: first use of fresh memory is slow and not the mount's fault.
    let buffers: Vec<_> = (0..plan.workers).map(|_| Mutex::new(vec![1_u8; CHUNK])).collect();
    let stall = Mutex::new(Duration::ZERO);
    let start = Instant::now();
    in_parallel(plan.workers, plan.pieces.len(), |worker, index| {
        let (Some(piece), Some(buffer)) = (plan.pieces.get(index), buffers.get(worker)) else {
            return Ok(());
        };
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = read(directory, piece, &mut buffer).with_context(|| piece.key.clone())?;
        let mut stall = stall.lock().unwrap_or_else(PoisonError::into_inner);
        *stall = stall.max(longest);
        Ok(())
    })?;
    Ok(Outcome {
        duration: start.elapsed(),
        count: plan.pieces.len() as u64,
        bytes: plan.pieces.iter().map(|piece| piece.len).sum(),
        stall: stall.into_inner().unwrap_or_else(PoisonError::into_inner),
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
