//! Fetches more of a file than was asked for, because scattered reads keep hitting it.
//!
//! What arrives is put into the kernel's page cache if it takes pages, which then answers later reads by itself, is offered to the disk cache
//! like all that is fetched, and is kept in memory while nobody needs that.

use super::blocks::BLOCK;
use super::content::Content;
use super::file::{Budget, File, State};
use super::kept::Worth;
use super::part::Part;
use super::stats::add;
use futures::StreamExt;
use futures::future::{AbortHandle, AbortRegistration, Abortable};
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

    /// Bytes of a part are there up to `filled`: if it was fetched without being asked for, others get its blocks. Returns how far they have them
    /// by now, which was `given`. Block by block, because the kernel takes no more at once than it writes in some milliseconds.
    pub(super) fn arrives(&self, content: &Content, given: u64, filled: u64) -> u64 {
        let whole = filled - (filled - content.start) % BLOCK;
        if given < whole {
            self.give_kernel(&self.lock(), content, given, whole);
        }
        whole.max(given)
    }

    /// All bytes of a part are there, and were given to others up to `given`.
    pub(super) fn arrived(&self, content: &Content, given: u64) {
        let mut state = self.lock();
        self.give_kernel(&state, content, given, content.end);
        let Some(part) = state.grown(content) else { return };
        if self.is_revoked() {
            return;
        }
        drop(state);
        self.reading.memory.keep(part, Worth::Again);
    }

    /// Under the lock of the file: whoever revokes finds all that was stored in the kernel's queue.
    fn give_kernel(&self, state: &State, content: &Content, from: u64, to: u64) {
        if from >= to || !state.is_growing(content) || self.is_revoked() {
            return;
        }
        let Some(kernel) = self.reading.page_cache() else { return };
        add(&self.reading.counters.bytes_stored, to - from);
        for (at, bytes, held) in content.slices(from, to) {
            kernel.store(self.ino, at, bytes, Some(held));
        }
    }

    /// A part will not be complete: if it was fetched without being asked for, nobody else would let go of its memory before the file is closed.
    pub(super) fn lost(&self, content: &Content) {
        let mut state = self.lock();
        let part = state.grown(content);
        if part.is_some() {
            state.scatter.not_filled(content.start, content.end);
        }
        drop(state);
        // Outside the lock, as everything that frees blocks.
        drop(part);
    }

    /// Whether the disk cache has the block at an offset.
    pub(super) fn blocks_on_disk(&self) -> impl Fn(u64) -> bool + use<> {
        let (cached, size) = (self.readable(), self.version.size);
        move |at| {
            let until = (at + BLOCK).min(size);
            cached.as_ref().is_some_and(|cached| cached.run(at, until) >= until)
        }
    }

    fn next_fill(self: &Arc<Self>) -> Next {
        let reading = &self.reading;
        let most = reading.config.part_max.min(reading.memory.limit() / 16).max(BLOCK);
        let mut state = self.lock();
        let state = &mut *state;
        let size = self.version.size;
        let stretch = state.scatter.next_fill(size, most, &reading.config, self.blocks_on_disk());
        let Some((start, end)) = stretch else { return Next::Nothing };
        let (parts, enough) = state.grow(self, start, end);
        if parts.is_empty() && !enough { Next::NoMemory } else { Next::Parts(parts) }
    }
}

impl State {
    /// Starts what is missing of `from..to`, as far as memory is free, and keeps it on its way, whoever goes on waiting for it, as long as the
    /// file is open. The new parts, and whether there was memory for all of them.
    pub(super) fn grow(&mut self, file: &Arc<File>, from: u64, to: u64) -> (Vec<Arc<Part>>, bool) {
        let before = self.overlapping(from, to);
        let mut parts = self.claim(file, from, to, Budget::Free);
        let got = parts.last().map_or(from, |part| part.end);
        if got < to {
            self.scatter.not_begun(got, to);
        }
        parts.retain(|part| !before.iter().any(|old| Arc::ptr_eq(old, part)));
        // Each leaves by itself, when it is complete or has failed.
        if file.is_open() {
            self.growing.extend(parts.iter().cloned());
        }
        (parts, got >= to)
    }

    /// Ends what is fetched without being asked for. The parts are for dropping outside the lock.
    pub(super) fn stop_growing(&mut self) -> Vec<Arc<Part>> {
        self.fill.take().inspect(AbortHandle::abort);
        let growing = std::mem::take(&mut self.growing);
        for part in growing.iter().filter(|part| part.is_in_flight()) {
            self.scatter.not_filled(part.start, part.end);
        }
        growing
    }

    /// Whether the block with this content is on its way, whoever waits for it.
    fn is_growing(&self, content: &Content) -> bool {
        self.growing.iter().any(|part| part.is_of(content))
    }

    /// Takes the block with this content out of those on their way. Not the one at its place: that may be its successor.
    fn grown(&mut self, content: &Content) -> Option<Arc<Part>> {
        let index = self.growing.iter().position(|part| part.is_of(content))?;
        Some(self.growing.swap_remove(index))
    }

    /// Marks the background fetch as running, if it is not.
    fn start_fill(&mut self, file: &File) -> Option<AbortRegistration> {
        if self.fill.is_some() || !file.is_open() {
            return None;
        }
        let (abort, registration) = AbortHandle::new_pair();
        self.fill = Some(abort);
        Some(registration)
    }

    /// Marks the background fetch as ended.
    fn end_fill(&mut self) {
        self.fill = None;
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
