//! What is read in which case, by how many workers, and what came of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use wasmount_tests::prng::Prng;

use crate::data;

/// Part of an object.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// The object's key, which is also its path in a mount.
    pub(crate) key: String,
    /// The first byte.
    pub(crate) start: u64,
    /// How many bytes.
    pub(crate) len: u64,
}

/// The pieces of a case and how many workers share them, each taking the next.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Threads; of requests each has a connection.
    pub(crate) workers: usize,
    /// In the order in which they are begun.
    pub(crate) pieces: Vec<Piece>,
    /// What a reader of a file asks for at once.
    pub(crate) chunk: usize,
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// From the first call to the end of the last.
    pub(crate) duration: Duration,
    /// Files, parts, reads or names, as the case counts.
    pub(crate) count: u64,
    /// Bytes read.
    pub(crate) bytes: u64,
    /// The longest time that any worker waited for one call.
    pub(crate) stall: Duration,
}

impl Outcome {
    /// One line for `bench.py`.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "seconds": self.duration.as_secs_f64(),
            "count": self.count,
            "bytes": self.bytes,
            "stall_seconds": self.stall.as_secs_f64(),
        })
    }
}

/// Whole objects.
fn whole(count: usize, len: u64, key: impl Fn(usize) -> String) -> Vec<Piece> {
    (0..count).map(|index| Piece { key: key(index), start: 0, len }).collect()
}

impl Plan {
    /// The load of a case on files.
    ///
    /// # Errors
    /// When there is no such case.
    pub(crate) fn of_files(case: &str) -> Result<Self> {
        let large = |start, len| Piece { key: data::LARGE.to_owned(), start, len };
        let quarter = data::LARGE_LEN / 4;
        let (workers, pieces) = match case {
            "first" => (1, whole(1, 14, |_| data::FIRST.to_owned())),
            "sequential" => (1, vec![large(0, data::LARGE_LEN)]),
            "sequential-128" => (1, vec![large(0, data::LARGE_LEN)]),
            "parallel" => (4, (0..4).map(|part| large(part * quarter, quarter)).collect()),
            "small" => (16, whole(data::SMALL, data::SMALL_LEN, data::small)),
            "single" => (1, single()),
            "epoch1" => (4, shuffled(1)),
            "epoch2" => (4, shuffled(2)),
            "streams" => (64, whole(64, data::LARGE_LEN, data::many)),
            _ => bail!("there is no case '{case}' that reads files"),
        };
        // As `dd bs=1M` does, and as `cat` and `cp` do.
        let chunk = if case == "sequential-128" { 128 << 10 } else { 1 << 20 };
        Ok(Self { workers, pieces, chunk })
    }
}

/// One 4 KiB page of each of the 100 names in `many/`, somewhere.
fn single() -> Vec<Piece> {
    const PAGE: u64 = 4096;
    let mut prng = Prng::new(3);
    let pages = (data::LARGE_LEN / PAGE) as usize;
    (0..100)
        .map(|index| Piece { key: data::many(index), start: prng.below(pages) as u64 * PAGE, len: PAGE })
        .collect()
}

/// The files of `epoch/` in an order of the epoch's own, as a training job reads them.
fn shuffled(epoch: u64) -> Vec<Piece> {
    let mut pieces = whole(data::EPOCH, data::EPOCH_LEN, data::epoch);
    let mut prng = Prng::new(epoch);
    for last in (1..pieces.len()).rev() {
        pieces.swap(last, prng.below(last + 1));
    }
    pieces
}

/// Reads all pieces of a plan; `read` reads one and says how long its worker waited for a call at most.
///
/// # Errors
/// Those of `read`, with the piece's name.
pub(crate) fn read_all(
    plan: &Plan,
    start: Instant,
    read: impl Fn(usize, &Piece) -> Result<Duration> + Sync,
) -> Result<Outcome> {
    let stall = Mutex::new(Duration::ZERO);
    in_parallel(plan.workers, plan.pieces.len(), |worker, index| {
        let Some(piece) = plan.pieces.get(index) else { return Ok(()) };
        let waited = read(worker, piece).with_context(|| piece.key.clone())?;
        let mut stall = stall.lock().unwrap_or_else(PoisonError::into_inner);
        *stall = stall.max(waited);
        Ok(())
    })?;
    Ok(Outcome {
        duration: start.elapsed(),
        count: plan.pieces.len() as u64,
        bytes: plan.pieces.iter().map(|piece| piece.len).sum(),
        stall: stall.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// Runs `work(worker, index)` for each index below `count`, on some threads; the first error ends them all.
///
/// # Errors
/// That of `work`.
pub(crate) fn in_parallel(
    workers: usize,
    count: usize,
    work: impl Fn(usize, usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, work) = (AtomicUsize::new(0), &work);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let next = &next;
                scope.spawn(move || -> Result<()> {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            return Ok(());
                        }
                        if let Err(error) = work(worker, index) {
                            next.store(count, Ordering::Relaxed);
                            return Err(error);
                        }
                    }
                })
            })
            .collect();
        // Every thread is joined before an error is handed on.
        let ended: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.into_iter().try_for_each(|thread| thread.map_err(|_| anyhow!("a thread panicked"))?)
    })
}
