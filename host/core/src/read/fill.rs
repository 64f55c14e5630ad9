//! Fetches more of a file than was asked for, because scattered reads keep hitting it.
//!
//! What arrives is put into the kernel's page cache if it takes pages, which then answers later reads by itself, is offered to the disk cache
//! like all that is fetched, and is kept in memory while nobody needs that.

use super::blocks::BLOCK;
use super::content::Content;
use super::file::{Budget, File};
use super::kept::Worth;
use super::part::Part;
use super::stats::add;
use futures::StreamExt;
use futures::future::Abortable;
use futures::stream::FuturesUnordered;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Pause when there is no memory for more.
const PAUSE: Duration = Duration::from_millis(5);

/// What comes next.
enum Next {
    Parts(Vec<Arc<Part>>),
    NoMemory,
    Nothing,
}

impl File {
    /// Starts the background fetch if the file, which has just missed `from..to`, has been hit often enough and can be kept.
    pub(super) fn consider_fill(self: &Arc<Self>, from: u64, to: u64) {
        let (room, config) = (self.room(from, to), &self.reading.config);
        let registration = {
            let mut state = self.lock();
            if !self.source.ranges() || !state.scatter.wants_fill(self.version.size, room, config) {
                return;
            }
            state.start_fill(self)
        };
        if let Some(registration) = registration {
            let fill = fill(Arc::downgrade(self), config.parallel);
            self.reading.spawn.spawn(Box::pin(async move {
                let _closed = Abortable::new(fill, registration).await;
            }));
        }
    }

    /// All bytes of a part are there: if it was fetched without being asked for, others get it too.
    pub(super) fn arrived(&self, content: &Content) {
        let mut state = self.lock();
        let Some(part) = state.grown(content) else { return };
        if self.is_revoked() {
            return;
        }
        if let Some(kernel) = self.reading.page_cache() {
            add(&self.reading.counters.bytes_stored, content.end - content.start);
            for (at, bytes, held) in content.slices(content.start, content.end) {
                kernel.store(self.ino, at, bytes, Some(held));
            }
        }
        // Under the lock up to here: whoever revokes finds all that was stored in the kernel's queue.
        drop(state);
        self.reading.memory.keep(part, Worth::Again);
    }

    /// A part will not be complete: if it was fetched without being asked for, nobody else would let go of its memory before the file is closed.
    pub(super) fn lost(&self, content: &Content) {
        let part = self.lock().grown(content);
        // Outside the lock, as everything that frees blocks.
        drop(part);
    }

    fn next_fill(self: &Arc<Self>) -> Next {
        let reading = &self.reading;
        let most = reading.config.part_max.min(reading.memory.limit() / 16).max(BLOCK);
        let mut state = self.lock();
        let state = &mut *state;
        let size = self.version.size;
        let cached = self.readable();
        let on_disk = |at: u64| {
            let until = (at + BLOCK).min(size);
            cached.as_ref().is_some_and(|cached| cached.run(at, until) >= until)
        };
        let stretch = state.scatter.next_fill(size, most, &reading.config, on_disk);
        let Some((start, end)) = stretch else { return Next::Nothing };
        let before = state.overlapping(start, end);
        let parts = state.claim(self, start, end, Budget::Free);
        let got = parts.last().map_or(start, |part| part.end);
        if got < end {
            state.scatter.not_begun(got, end);
        }
        let new = |part: &Arc<Part>| !before.iter().any(|old| Arc::ptr_eq(old, part));
        let parts = parts.into_iter().filter(new).collect::<Vec<_>>();
        state.grow(self, &parts);
        if parts.is_empty() && got < end { Next::NoMemory } else { Next::Parts(parts) }
    }
}

/// Fetches the rest of the file, several parts at a time, until it is there, the bound is reached or the file is closed.
async fn fill(file: Weak<File>, parallel: usize) {
    let mut running = FuturesUnordered::new();
    loop {
        let mut pause = false;
        {
            let Some(file) = file.upgrade() else { return };
            while running.len() < parallel && !pause {
                match file.next_fill() {
                    Next::Parts(parts) => running.extend(parts.into_iter().map(settled)),
                    Next::NoMemory => pause = true,
                    Next::Nothing => break,
                }
            }
        }
        match running.next().await {
            Some(None) => {}
            Some(Some((start, end))) => {
                // A failed fetch has tried several times already. The next scattered read begins anew.
                if let Some(file) = file.upgrade() {
                    let mut state = file.lock();
                    state.scatter.not_filled(start, end);
                    state.end_fill();
                }
                return;
            }
            None if pause => tokio::time::sleep(PAUSE).await,
            None => {
                if let Some(file) = file.upgrade() {
                    file.lock().end_fill();
                }
                return;
            }
        }
    }
}

/// Waits for a part; the stretch it was for if it failed.
async fn settled(part: Arc<Part>) -> Option<(u64, u64)> {
    part.settled().await;
    part.is_failed().then_some((part.start, part.end))
}
