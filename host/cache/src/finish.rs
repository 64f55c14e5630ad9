//! One thread syncs complete files, verifies those of which that is not known, and marks them: what is marked the kernel may read by itself.

use crate::cache::Shared;
use crate::entry::Disk;
use crate::file::{Entry, Trust};
use crate::format::{Mark, pages};
use crate::health::Health;
use crate::read::{Fail, Patience, fill};
use crate::stats::add;
use bytes::BytesMut;
use rustix::fs::Advice;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use wasmount_core::ports::CACHE_PAGE;

/// Every file that waits here is open, with two descriptors.
const WAITING_MAX: usize = 256;
/// Files that are complete within this time are synced together.
const GATHER: Duration = Duration::from_millis(100);
/// More files than this are synced with one call for the whole file system: a call for each would commit its journal each time.
const ONE_BY_ONE: usize = 4;
/// Bytes that are verified at a time.
const STEP: u64 = 1 << 20;
/// How long the writer waits for room here, at most; then the file is verified when it is opened next.
const ROOM: Duration = Duration::from_secs(10);
/// How often it looks whether it may wait on.
const LOOK: Duration = Duration::from_millis(20);

/// Something to be done for a file.
pub(crate) enum Task {
    /// Sync, verify if need be, and mark.
    Finish(Arc<Entry>),
    /// Note that it was used.
    Touch(Arc<Entry>),
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// Files that the thread has taken and has still to verify.
    unverified: usize,
    busy: bool,
    stopped: bool,
}

/// The way to the finishing thread.
#[derive(Default)]
pub(crate) struct Finisher {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Finisher {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues it; false if there is no room.
    pub(crate) fn push(&self, task: Task) -> bool {
        let mut queue = self.lock();
        if queue.stopped || queue.tasks.len() + queue.unverified >= WAITING_MAX {
            return false;
        }
        queue.tasks.push(task);
        drop(queue);
        self.changed.notify_all();
        true
    }

    /// Queues what the writer has completed, and waits for room if there is none, as long as it has nothing more `urgent` to do.
    pub(crate) fn push_patiently(&self, task: Task, urgent: impl Fn() -> bool) -> bool {
        let until = Instant::now() + ROOM;
        let mut queue = self.lock();
        while queue.tasks.len() >= WAITING_MAX && !queue.stopped && !urgent() && Instant::now() < until {
            queue = self.changed.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        if queue.stopped || queue.tasks.len() >= WAITING_MAX {
            return false;
        }
        queue.tasks.push(task);
        drop(queue);
        self.changed.notify_all();
        true
    }

    pub(crate) fn idle(&self) -> bool {
        let queue = self.lock();
        queue.tasks.is_empty() && !queue.busy
    }

    /// Ends the thread, in the middle of a verification too.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        let tasks = std::mem::take(&mut queue.tasks);
        drop(queue);
        drop(tasks);
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// What has come; waits for it unless there is something to verify meanwhile.
    fn next(&self, shared: &Shared, unverified: usize) -> Option<Vec<Task>> {
        let mut queue = self.lock();
        queue.busy = unverified > 0;
        queue.unverified = unverified;
        while !queue.busy && queue.tasks.is_empty() && !queue.stopped {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        // More may come, unless somebody waits for the end.
        let few = |queue: &mut Queue| {
            let enough = queue.busy || queue.tasks.len() >= WAITING_MAX / 2;
            !enough && !queue.stopped && !shared.stopping.load(Ordering::Relaxed)
        };
        queue = self.changed.wait_timeout_while(queue, GATHER, few).unwrap_or_else(PoisonError::into_inner).0;
        if queue.stopped {
            return None;
        }
        queue.busy = true;
        let tasks = std::mem::take(&mut queue.tasks);
        drop(queue);
        self.changed.notify_all();
        Some(tasks)
    }

    /// The thread.
    pub(crate) fn work(&self, shared: &Shared) {
        // Reading a file takes longer than syncing it, and nobody drops what he has read because of it.
        let mut unverified = VecDeque::new();
        while let Some(tasks) = self.next(shared, unverified.len()) {
            let mut files = Vec::new();
            for task in tasks {
                match task {
                    Task::Finish(entry) => files.push(entry),
                    Task::Touch(entry) => {
                        if let Some(disk) = entry.disk.get() {
                            entry.touch(disk);
                        }
                    }
                }
            }
            let together = files.len() > ONE_BY_ONE && rustix::fs::syncfs(shared.root.top().as_ref()).is_ok();
            for entry in files {
                if !entry.disk.get().is_some_and(|disk| needs_verifying(&entry, disk)) {
                    settle(shared, &entry, together);
                } else if unverified.len() < WAITING_MAX {
                    unverified.push_back((entry, together));
                } else {
                    entry.trust(Trust::No);
                }
            }
            let until = Instant::now() + GATHER;
            while let Some((entry, synced)) = unverified.pop_front() {
                settle(shared, &entry, synced);
                if Instant::now() >= until {
                    break;
                }
            }
        }
    }
}

fn needs_verifying(entry: &Entry, disk: &Disk) -> bool {
    !disk.made || entry.foreign.load(Ordering::Relaxed)
}

fn settle(shared: &Shared, entry: &Entry, synced: bool) {
    let Some(disk) = entry.disk.get() else { return };
    let trust = finish(shared, entry, disk, synced);
    entry.trust(trust.unwrap_or_else(|error| {
        tracing::debug!(object = %entry.header.key, %error, "cached file not marked");
        Trust::No
    }));
}

fn finish(shared: &Shared, entry: &Entry, disk: &Disk, synced: bool) -> Result<Trust, Errno> {
    if !entry.pages.complete() {
        return Ok(Trust::No);
    }
    let all = pages(entry.size());
    match if synced { Ok(()) } else { rustix::fs::fdatasync(disk.data.as_fd()) } {
        Ok(()) => {}
        // Nothing can be said about it until the file system can be written again.
        Err(Errno::ROFS) => return Err(Errno::ROFS),
        Err(error) => {
            // What was written did not reach the disk, and nobody knows which part.
            entry.damaged(disk, 0, all, "it could not be synced");
            return Err(error);
        }
    }
    if disk.direct.swap(false, Ordering::Relaxed) {
        // A page of the cache that was read while it was written around it would be served by the kernel, unchecked.
        let _ = rustix::fs::fadvise(disk.data.as_fd(), 0, None, Advice::DontNeed);
    }
    let mut before = disk.state()?;
    if let Some(rest) = before.unsettled(SystemTime::now()) {
        std::thread::sleep(rest);
        before = disk.state()?;
    }
    if before.size != entry.size() {
        entry.damaged(disk, before.size.min(entry.size()) / CACHE_PAGE, all, "its file was cut");
        return Ok(Trust::No);
    }
    // What this process has written it need not read, unless another one has found a page of it damaged and taken it away.
    if needs_verifying(entry, disk) || !disk.has_words(all)? {
        let bad = verify(entry, disk, || shared.finisher.stopped())?;
        if bad > 0 {
            add(&shared.counters.failed_verifications, 1);
            return Ok(Trust::No);
        }
        add(&shared.counters.verified_files, 1);
    }
    // Changed while it was read: it is read again when somebody asks for it.
    if disk.state()? != before || !entry.pages.complete() {
        return Ok(Trust::No);
    }
    // Takes no room, so a full disk does not matter. Where it cannot be written, it is known to this process alone.
    if let Some(boot) = shared.boot.filter(|_| shared.condition.get() != Health::Sick) {
        let _ = disk.write_mark(&shared.root, &Mark { boot, state: before });
    }
    add(&shared.counters.completed_files, 1);
    Ok(Trust::Yes(before))
}

/// Reads all of a file; how many pages are not what was written.
fn verify(entry: &Entry, disk: &Disk, stop: impl Fn() -> bool) -> Result<u64, Errno> {
    let (mut at, mut bad) = (0, 0);
    let mut buffer = BytesMut::with_capacity(STEP as usize);
    while at < entry.size() {
        if stop() {
            return Err(Errno::CANCELED);
        }
        buffer.clear();
        let to = (at + STEP).min(entry.size());
        match fill(disk, entry.size(), at, to, &mut buffer, Patience::Some) {
            Ok(()) => at = to,
            Err(fail) => {
                if let Fail::Io(error, _) = fail {
                    entry.failed(disk, &fail);
                    return Err(error);
                }
                let pages = match &fail {
                    Fail::Bad(pages) => pages.len() as u64,
                    _ => 1,
                };
                bad += pages;
                let last = match &fail {
                    Fail::Bad(pages) => pages.last().copied(),
                    Fail::Gone(page) => Some(*page),
                    _ => None,
                };
                entry.failed(disk, &fail);
                at = last.map_or(to, |page| ((page + 1) * CACHE_PAGE).min(entry.size()));
            }
        }
    }
    Ok(bad)
}
