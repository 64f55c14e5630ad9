//! How the right is lost, and what was read without it.

use super::{Data, State};
use crate::files::ranges::Ranges;
use crate::ports::KernelPages;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::Ino;

/// How long pages that were read without the right stay in the kernel, at least: the reader has to find them once.
const LAG: Duration = Duration::from_millis(1);

/// Longest wait for GETATTRs under way before pages are dropped. An answer that the kernel takes in after that has no effect on the size it knows
/// (`fuse_change_attributes`), so that `read(2)` would end where the file ended before. One that waits for the store is not waited for.
const ASKING: Duration = Duration::from_millis(5);

impl Data {
    /// The right is lost. Ends when nobody has anything that was covered by it.
    pub(in crate::files) async fn lose(&self, ino: Ino, kernel: Option<&Arc<dyn KernelPages>>) {
        self.drop_all(ino, kernel).await;
        // As long as it is being lost once more READs do not ask for it, and may still find what is there before the store is told of this time.
        self.wait(|state| (state.losing == 0).then_some(())).await;
    }

    async fn drop_all(&self, ino: Ino, kernel: Option<&Arc<dyn KernelPages>>) {
        // Before anything is waited for: a READ that asks for the right must not be waited for by whoever takes it back.
        let mut losing = Losing::begin(self);
        let _alone = self.drops.lock().await;
        let Some(kernel) = kernel else { return };
        let before = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.read) && state.noted.is_empty() && state.underway.is_empty() {
                return losing.end(&mut state);
            }
            state.next
        };
        self.wait(|state| state.underway.keys().all(|id| *id > before).then_some(())).await;
        self.linger().await;
        kernel.drop_pages(ino, None).await;
        losing.drop_noted();
        loop {
            self.wait(|state| state.underway.is_empty().then_some(())).await;
            self.linger().await;
            let ranges = {
                let mut state = self.lock();
                let ranges = std::mem::take(&mut state.noted).without(state.waiting.values());
                if ranges.is_empty() {
                    return losing.end(&mut state);
                }
                state.ending = Some(ranges.clone());
                ranges
            };
            for range in ranges.iter() {
                kernel.drop_pages(ino, Some(range.clone())).await;
            }
            losing.drop_noted();
        }
    }

    /// Waits until the kernel has taken in what it was answered so far, as far as a moment is enough for that.
    async fn linger(&self) {
        let quiet = self.wait(|state| (state.asking == 0).then_some(()));
        let _in_time = tokio::time::timeout(ASKING, quiet).await;
        let last = {
            let state = self.lock();
            state.answered.max(state.told)
        };
        if let Some(last) = last {
            tokio::time::sleep_until(last + LAG).await;
        }
    }

    /// Whether something is noted that nobody else drops. Whoever is told so has to call [`drop_noted`](Self::drop_noted).
    pub(in crate::files) fn begin_lag(&self) -> bool {
        let mut state = self.lock();
        let begin = !state.lagging && state.losing == 0 && !state.noted.is_empty();
        state.lagging |= begin;
        begin
    }

    /// Drops what was read without the right, until there is nothing more of it.
    pub(in crate::files) async fn drop_noted(&self, ino: Ino, kernel: Option<&Arc<dyn KernelPages>>) {
        loop {
            tokio::time::sleep(LAG).await;
            let _alone = self.drops.lock().await;
            let ranges = {
                let mut state = self.lock();
                if state.noted.is_empty() {
                    state.lagging = false;
                    break;
                }
                std::mem::take(&mut state.noted)
            };
            if let Some(kernel) = kernel {
                for range in ranges.iter() {
                    kernel.drop_pages(ino, Some(range.clone())).await;
                }
            }
        }
        self.changed.notify_waiters();
    }
}

/// The right is being lost, until it is over or nobody sees to it any more.
struct Losing<'a> {
    data: &'a Data,
    /// It is in step 2.
    dropping: bool,
    over: bool,
}

impl<'a> Losing<'a> {
    /// Step 1.
    fn begin(data: &'a Data) -> Self {
        let mut state = data.lock();
        state.losing += 1;
        state.version += 1;
        state.label = None;
        // Who takes it back has had it to give.
        state.refused = None;
        let held = state.held.take();
        drop(state);
        if let Some(file) = held {
            file.revoke();
        }
        data.changed.notify_waiters();
        Self { data, dropping: false, over: false }
    }

    /// Step 2: nothing is being dropped at the moment.
    fn drop_noted(&mut self) {
        self.dropping = true;
        self.data.lock().ending = Some(Ranges::default());
        self.data.changed.notify_waiters();
    }

    /// Step 3. Under the lock under which it was seen that nothing is left: a READ that came between the two would be answered under a right that is gone.
    fn end(&mut self, state: &mut State) {
        self.over = true;
        state.losing -= 1;
        if self.dropping {
            state.ending = None;
        }
        self.data.changed.notify_waiters();
    }
}

impl Drop for Losing<'_> {
    fn drop(&mut self) {
        if !self.over {
            let data = self.data;
            let mut state = data.lock();
            // What the kernel still has is to be dropped by whoever tries again.
            state.read = true;
            self.end(&mut state);
        }
    }
}
