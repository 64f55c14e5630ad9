//! One thread writes what is offered. Nobody waits for it: what does not fit in its queue is dropped.
//!
//! Whole pages go around the page cache: copying them into it and having the kernel write them back costs three to ten times the CPU, and
//! would push out what applications use. A page's word is written only when its bytes are.

use crate::cache::Shared;
use crate::entry::{self, Disk, Pen, fixed_bytes, page_bytes, write_all};
use crate::file::{Entry, Trust};
use crate::finish::Task;
use crate::format::word;
use crate::health::Health;
use crate::pens::Pens;
use crate::stats::add;
use bytes::{Buf, Bytes};
use rustix::io::{Errno, ReadWriteFlags};
use std::any::Any;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use wasmount_core::ports::{CACHE_PAGE, Offer};

const PAGE: usize = CACHE_PAGE as usize;
/// Consecutive offers are written together up to this: the disk is fastest with a few large writes.
const BATCH: u64 = 8 << 20;
/// Among so many of those that wait, what continues a file is looked for.
const LOOK_THROUGH: usize = 128;
/// Less than this goes through the page cache: waiting for the disk would take longer than copying.
const DIRECT_MIN: u64 = 64 << 10;
/// What is not aligned in memory is copied in pieces of this size on its way around the page cache.
const BOUNCE: usize = 1 << 20;
/// Memory that a disk reads from must be aligned to this.
const ALIGN: usize = 512;
/// The most slices that one call takes.
const SLICES: usize = 1024;
/// After its queue is empty the writer looks again this much later before it has to be woken: waking costs the reader that offers.
const NAP: Duration = Duration::from_millis(5);

/// Bytes to be written at `at..end`.
pub(crate) struct Job {
    pub entry: Arc<Entry>,
    pub at: u64,
    pub end: u64,
    pub pieces: Vec<Bytes>,
    /// Stands for the memory of the pieces.
    pub _held: Arc<dyn Any + Send + Sync>,
    /// Bytes of that memory.
    pub charge: u64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    asleep: bool,
    busy: bool,
    stopped: bool,
}

/// The way to the writing thread.
#[derive(Default)]
pub(crate) struct Writer {
    queue: Mutex<Queue>,
    wake: Condvar,
    queued: AtomicU64,
}

impl Writer {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of memory that wait.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Queues it, or drops it.
    pub(crate) fn push(&self, shared: &Shared, job: Job) -> Offer {
        let charge = job.charge;
        if self.queued().saturating_add(charge) > shared.config.queue_bytes {
            shared.dropped(job.end - job.at);
            return Offer::NoRoom;
        }
        let mut queue = self.lock();
        if queue.stopped {
            return Offer::Unwanted;
        }
        self.queued.fetch_add(charge, Ordering::Relaxed);
        queue.jobs.push_back(job);
        let asleep = queue.asleep;
        drop(queue);
        if asleep {
            self.wake.notify_one();
        }
        Offer::Queued
    }

    /// Whether nothing is left to do.
    pub(crate) fn idle(&self) -> bool {
        let queue = self.lock();
        queue.jobs.is_empty() && !queue.busy
    }

    /// Ends the thread; what waits is dropped.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(jobs);
        self.wake.notify_one();
    }

    /// The next job and those that continue it; `None` when the thread is to end.
    fn next(&self, pens: &mut Pens) -> Option<Vec<Job>> {
        let mut queue = self.lock();
        queue.busy = false;
        let mut napped = false;
        while queue.jobs.is_empty() && !queue.stopped {
            queue.asleep = napped;
            if napped {
                pens.clear();
            }
            queue = if napped {
                self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.wake.wait_timeout(queue, NAP).unwrap_or_else(PoisonError::into_inner).0
            };
            napped = true;
        }
        queue.asleep = false;
        if queue.stopped {
            return None;
        }
        queue.busy = true;
        let mut batch: Vec<Job> = queue.jobs.pop_front().into_iter().collect();
        // Those of files that are read side by side come in turn.
        let mut at = 0;
        while at < queue.jobs.len().min(LOOK_THROUGH) {
            let continues = |next: &Job| {
                let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return false };
                Arc::ptr_eq(&last.entry, &next.entry) && last.end == next.at && next.end - first.at <= BATCH
            };
            if queue.jobs.get(at).is_some_and(continues) {
                batch.extend(queue.jobs.remove(at));
            } else {
                at += 1;
            }
        }
        Some(batch)
    }

    /// The thread.
    pub(crate) fn work(&self, shared: &Shared) {
        let (mut pens, mut bounce) = (Pens::default(), Vec::new());
        while let Some(batch) = self.next(&mut pens) {
            let bytes = batch.iter().map(|job| job.end - job.at).sum();
            if let Err(error) = write_batch(shared, &batch, &mut pens, &mut bounce) {
                pens.clear();
                failed(shared, error, bytes);
            }
            let charge = batch.iter().map(|job| job.charge).sum();
            drop(batch);
            self.queued.fetch_sub(charge, Ordering::Relaxed);
            if shared.space.batch_full() {
                let _ = shared.space.sync(&shared.root);
            }
            if shared.space.excess() > 0 {
                shared.keeper.wake();
            }
        }
    }
}

fn failed(shared: &Shared, error: Errno, bytes: u64) {
    shared.dropped(bytes);
    match error {
        // Being evicted or removed at this moment.
        Errno::AGAIN => {}
        // Says nothing about the disk.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => add(&shared.counters.write_errors, 1),
        Errno::NOSPC | Errno::DQUOT => {
            add(&shared.counters.write_errors, 1);
            shared.condition.worsen(Health::Full, &error);
            shared.keeper.no_space();
        }
        error => {
            add(&shared.counters.write_errors, 1);
            shared.condition.worsen(Health::Sick, &error);
            shared.keeper.wake();
        }
    }
}

fn write_batch(shared: &Shared, batch: &[Job], pens: &mut Pens, bounce: &mut Vec<u8>) -> Result<(), Errno> {
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
    let (entry, at, end) = (&first.entry, first.at, last.end);
    if !shared.condition.writes() || !shared.space.allows(end - at) {
        shared.dropped(end - at);
        shared.keeper.wake();
        return Ok(());
    }
    let disk = disk_of(shared, entry, pens)?;
    let (from, to) = (at / CACHE_PAGE, end.div_ceil(CACHE_PAGE));
    // Another process may have been faster.
    if !disk.made || entry.foreign.load(Ordering::Relaxed) {
        entry.learn(disk, from, to, ReadWriteFlags::empty())?;
    }
    let from = entry.pages.run(from, to);
    if from < to {
        let at = from * CACHE_PAGE;
        let mut slices = cut(batch, at, end);
        let words = words(&slices);
        let mut pen = match pens.take(entry.hash, disk) {
            Some(pen) => pen,
            None => disk.pen(&shared.root)?,
        };
        if write_data(shared, &mut pen, at, end, &mut slices, bounce)? {
            disk.direct.store(true, Ordering::Relaxed);
        }
        entry.writing((from, to));
        let written = pen.write_words(from, &words);
        let new = if written.is_ok() { entry.pages.set(from, to) } else { 0 };
        entry.writing((0, 0));
        written?;
        add(&shared.counters.written_bytes, end - at);
        shared.space.add(page_bytes(new) as i64, 0);
        if !entry.pages.complete() {
            pens.put(entry.hash, pen);
        }
    }
    if entry.pages.complete() {
        entry.trust(Trust::Pending);
        // What was read must not be dropped because of it.
        let urgent = || shared.writer.queued() > shared.config.queue_bytes / 2;
        if !shared.finisher.push_patiently(Task::Finish(entry.clone()), urgent) {
            entry.trust(Trust::No);
        }
    }
    Ok(())
}

/// The entry's files, made if there are none.
fn disk_of<'a>(shared: &Shared, entry: &'a Arc<Entry>, pens: &mut Pens) -> Result<&'a Disk, Errno> {
    if let Some(disk) = entry.disk.get() {
        return if entry.is_orphan() { Err(Errno::AGAIN) } else { Ok(disk) };
    }
    let _once = entry.loading.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(disk) = entry.disk.get() {
        return Ok(disk);
    }
    let (disk, pen) = match entry::make(&shared.root, &entry.identity, entry.hash, &entry.header) {
        // The directory has been removed.
        Err(Errno::NOENT) => {
            shared.root.heal().map_err(|_| Errno::NOENT)?;
            entry::make(&shared.root, &entry.identity, entry.hash, &entry.header)?
        }
        made => made?,
    };
    if disk.made {
        shared.space.add(fixed_bytes(entry.size()) as i64, 1);
    }
    shared.index.insert(&entry.identity, entry.hash);
    pens.put(entry.hash, pen);
    Ok(entry.disk.get_or_init(|| disk))
}

/// The slices of the jobs that make up `from..end`.
fn cut(batch: &[Job], from: u64, end: u64) -> Vec<Bytes> {
    let mut out = Vec::new();
    for job in batch {
        let mut at = job.at;
        for piece in &job.pieces {
            let next = at + piece.len() as u64;
            let (a, b) = (from.clamp(at, next), end.min(job.end).clamp(at, next));
            if a < b {
                out.push(piece.slice((a - at) as usize..(b - at) as usize));
            }
            at = next;
        }
    }
    out
}

/// The words of the pages that the slices make up.
fn words(slices: &[Bytes]) -> Vec<u8> {
    let len: usize = slices.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(len.div_ceil(PAGE) * 4);
    let (mut crc, mut filled) = (0, 0);
    for slice in slices {
        let mut rest = &slice[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PAGE - filled));
            crc = crc32c::crc32c_append(crc, now);
            filled += now.len();
            rest = later;
            if filled == PAGE {
                out.extend(word(crc).to_le_bytes());
                (crc, filled) = (0, 0);
            }
        }
    }
    if filled > 0 {
        out.extend(word(crc).to_le_bytes());
    }
    out
}

/// Whether any of it went around the page cache.
fn write_data(
    shared: &Shared,
    pen: &mut Pen,
    at: u64,
    end: u64,
    slices: &mut Vec<Bytes>,
    bounce: &mut Vec<u8>,
) -> Result<bool, Errno> {
    let whole = end / CACHE_PAGE * CACHE_PAGE;
    let mut done = at;
    if whole >= at + DIRECT_MIN
        && let Some(fd) = pen.direct(&shared.root)
    {
        match write_direct(fd, at, (whole - at) as usize, slices, bounce) {
            Ok(()) => {
                done = whole;
                advance(slices, (whole - at) as usize);
            }
            // The file system or its disk wants another alignment, or does not do this after all.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => pen.no_direct(),
            Err(error) => return Err(error),
        }
    }
    let mut rest = done;
    // The rest: small pieces, and the page in which the file ends, which would make it longer if it were written as a whole.
    for slice in slices.iter() {
        write_all(&pen.data, slice, rest)?;
        rest += slice.len() as u64;
    }
    Ok(done > at)
}

fn advance(slices: &mut Vec<Bytes>, mut by: usize) {
    slices.retain_mut(|slice| {
        let now = by.min(slice.len());
        slice.advance(now);
        by -= now;
        !slice.is_empty()
    });
}

fn write_direct(
    fd: &OwnedFd,
    mut at: u64,
    len: usize,
    slices: &[Bytes],
    bounce: &mut Vec<u8>,
) -> Result<(), Errno> {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(slices.len());
    let mut left = len;
    for slice in slices {
        let now = left.min(slice.len());
        if now > 0 {
            parts.push(&slice[..now]);
        }
        left -= now;
    }
    let aligned =
        |part: &&[u8]| part.as_ptr().addr().is_multiple_of(ALIGN) && part.len().is_multiple_of(ALIGN);
    if parts.iter().all(aligned) {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let now = rest.len().min(SLICES);
            match rustix::io::pwritev(fd, &rest[..now], at) {
                Ok(0) => return Err(Errno::IO),
                // In parts of whole pages, or the next call is refused and all is written through the page cache.
                Ok(n) => {
                    IoSlice::advance_slices(&mut rest, n);
                    at += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(());
    }
    if bounce.is_empty() {
        bounce.resize(BOUNCE + PAGE, 0);
    }
    let start = bounce.as_ptr().align_offset(PAGE).min(PAGE);
    let (mut filled, mut left) = (0, len);
    for part in parts {
        let mut part = part;
        while !part.is_empty() {
            let now = part.len().min(BOUNCE - filled);
            bounce[start + filled..start + filled + now].copy_from_slice(&part[..now]);
            (filled, left, part) = (filled + now, left - now, &part[now..]);
            if filled == BOUNCE || left == 0 {
                write_all(fd, &bounce[start..start + filled], at)?;
                at += filled as u64;
                filled = 0;
            }
        }
    }
    Ok(())
}
