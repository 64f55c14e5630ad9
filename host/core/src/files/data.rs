//! What is kept of a file's content, by us and by the kernel, and how it is lost.
//!
//! While the store allows it (*the right is held*) bytes are kept: in memory, on disk, in the kernel's page cache. When the right is lost all of
//! that has to be gone before the store is told so. The kernel drops a page only when the READ that fills it has been answered, so
//! READs must be answered meanwhile; and what is answered meanwhile has to be dropped too. Therefore, in this order:
//!
//! 1. From now on nothing that is read is kept here. The kernel drops all pages. READs are answered as ever, from the store, and their
//!    ranges noted.
//! 2. READs that newly arrive are held back. Those under way are awaited, then the noted ranges are dropped as well, but for what
//!    a held-back READ waits for: the kernel has no such pages yet, and would wait for ever. A READ that arrives for a range just being dropped
//!    may be what the kernel waits for: it is answered, and noted again.
//! 3. When nothing is noted any more the right is gone, and what was held back goes to the store.
//!
//! Without the right a file that was opened for the kernel to cache goes on being read: each range is noted, and dropped a moment
//! later. The store cannot see to it that nobody reads such a page meanwhile, and neither can we; it is a moment.

use super::ranges::{Ranges, overlap, pages};
use super::source::NodeSource;
use crate::inode::FileVersion;
use crate::ports::KernelPages;
use crate::read::File;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use wasmount_types::Ino;

/// How long a READ of a range that is just being dropped waits for that to end. If it does not, it may be waiting for this READ.
const GRACE: Duration = Duration::from_millis(1);

/// How long pages that were read without the right stay in the kernel, at least: the reader has to find them once.
const LAG: Duration = Duration::from_millis(1);

/// How long the right waits for what the kernel has from before it.
const SETTLE: Duration = Duration::from_millis(500);

/// How often a file that is open without the right asks for it.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A file's content.
///
/// # Locking
/// `drops` comes first, and is held by whoever tells the kernel to drop pages. `state` is a leaf.
pub(super) struct Data {
    pub(super) source: Arc<NodeSource>,
    state: Mutex<State>,
    changed: Notify,
    drops: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    /// Counts how often the right was lost.
    version: u64,
    /// Open files of it.
    opens: usize,
    /// What is read while the right is held.
    held: Option<Arc<File>>,
    /// What the pages are of that the kernel may have.
    label: Option<FileVersion>,
    /// The kernel may have pages.
    read: bool,
    /// READs being answered, and whether the right covers them.
    underway: HashMap<u64, (Range<u64>, Option<u64>)>,
    /// READs held back.
    waiting: HashMap<u64, Range<u64>>,
    /// What the kernel has got without the right, and has not dropped yet.
    noted: Ranges,
    /// Step 2: what the kernel is dropping at the moment.
    ending: Option<Ranges>,
    /// Somebody drops what is noted, a moment later.
    lagging: bool,
    /// When the right was asked for last.
    asked: Option<Instant>,
    next: u64,
}

impl Data {
    pub(super) fn new(source: Arc<NodeSource>) -> Self {
        Self { source, state: Mutex::default(), changed: Notify::new(), drops: AsyncMutex::new(()) }
    }

    /// How often the right was lost so far. To be asked before the store is asked for the right.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// What is to be read while the right is held.
    pub(super) fn held(&self) -> Option<Arc<File>> {
        self.lock().held.clone()
    }

    /// The store has given the right to keep `file`, and was asked for it when the right had been lost `version` times. `None`: it has been lost since.
    /// Otherwise whether the pages are of the same version that the kernel may have.
    ///
    /// Ends when nothing is left in the kernel that was read without the right.
    pub(super) async fn hold(&self, version: u64, file: &Arc<File>) -> Option<bool> {
        let label = {
            let mut state = self.lock();
            if state.version != version || state.ending.is_some() {
                return None;
            }
            file.hold();
            state.held = Some(file.clone());
            state.label.replace(file.version().clone())
        };
        let same = label.as_ref().is_none_or(|label| label == file.version());
        let mut settling = Settling { data: self, version, label, done: false };
        let settled = self.wait(|state| {
            let uncovered = state.underway.values().any(|(_, covered)| covered.is_none());
            (!uncovered && state.noted.is_empty() && !state.lagging).then_some(())
        });
        settling.done = tokio::time::timeout(SETTLE, settled).await.is_ok();
        (settling.done && self.version() == version).then_some(same)
    }

    /// Whether it is time to ask for the right again; if so, it has been asked for now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let due = state.held.is_none()
            && state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY);
        if due {
            state.asked = Some(now);
        }
        due
    }

    /// The right is being asked for.
    pub(super) fn asked(&self, now: Instant) {
        self.lock().asked = Some(now);
    }

    /// One more is about to have it open.
    pub(super) fn opened(&self) {
        self.lock().opens += 1;
    }

    /// One less has it open. When nobody has, pages may stay.
    pub(super) fn closed(&self) {
        let mut state = self.lock();
        state.opens = state.opens.saturating_sub(1);
        if state.opens == 0 {
            let held = state.held.take();
            drop(state);
            drop(held);
            self.source.set(None);
        }
    }

    /// Lets a READ through, as soon as it may be answered. `direct`: the kernel keeps nothing of it.
    pub(super) async fn admit(&self, range: Range<u64>, direct: bool) -> Admission<'_> {
        let range = pages(&range);
        let mut held_back = None;
        let mut patient = false;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let dropping = {
                let mut state = self.lock();
                let dropping = match &state.ending {
                    Some(dropping) if !direct => Some(dropping.iter().any(|other| overlap(other, &range))),
                    _ => None,
                };
                if dropping.is_none() || (dropping == Some(true) && patient) {
                    let id = state.take_number();
                    state.read |= !direct;
                    let covered = state.held.is_some().then_some(state.version);
                    if !direct {
                        state.underway.insert(id, (range.clone(), covered));
                    }
                    return Admission { data: self, id, range, direct, covered, failed: true };
                }
                if held_back.is_none() {
                    let id = state.take_number();
                    state.waiting.insert(id, range.clone());
                    held_back = Some(HeldBack { data: self, id });
                }
                dropping == Some(true)
            };
            if dropping {
                // While it is being dropped it must not count as held back: that would leave its pages out the next time.
                held_back = None;
                patient = tokio::time::timeout(GRACE, changed).await.is_err();
            } else {
                changed.await;
                patient = false;
            }
        }
    }

    /// The right is lost. Ends when nobody has anything that was covered by it.
    pub(super) async fn lose(&self, ino: Ino, kernel: Option<&Arc<dyn KernelPages>>) {
        let _alone = self.drops.lock().await;
        let nothing = {
            let mut state = self.lock();
            state.version += 1;
            if let Some(file) = state.held.take() {
                file.revoke();
            }
            state.label = None;
            !std::mem::take(&mut state.read) && state.noted.is_empty() && state.underway.is_empty()
        };
        let Some(kernel) = kernel else { return };
        if nothing {
            return;
        }
        kernel.drop_pages(ino, None).await;
        let ending = Ending::begin(self);
        loop {
            let ranges = self
                .wait(|state| {
                    state.underway.is_empty().then(|| {
                        let ranges = std::mem::take(&mut state.noted).without(state.waiting.values());
                        state.ending = Some(ranges.clone());
                        ranges
                    })
                })
                .await;
            if ranges.is_empty() {
                break;
            }
            for range in ranges.iter() {
                kernel.drop_pages(ino, Some(range.clone())).await;
            }
            ending.nothing_now();
        }
    }

    /// Whether something is noted that nobody else drops. Whoever is told so has to call [`drop_noted`](Self::drop_noted).
    pub(super) fn begin_lag(&self) -> bool {
        let mut state = self.lock();
        let begin = !state.lagging && state.ending.is_none() && !state.noted.is_empty();
        state.lagging |= begin;
        begin
    }

    /// Drops what was read without the right, until there is nothing more of it.
    pub(super) async fn drop_noted(&self, ino: Ino, kernel: Option<&Arc<dyn KernelPages>>) {
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

    /// Waits until there is something in the state.
    async fn wait<T>(&self, mut find: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = find(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A READ that is being answered.
pub(super) struct Admission<'a> {
    data: &'a Data,
    id: u64,
    range: Range<u64>,
    direct: bool,
    /// The right under which it is answered.
    covered: Option<u64>,
    failed: bool,
}

impl Admission<'_> {
    /// It is answered with bytes that were read under the right it came with, or without any (`uncovered`).
    pub(super) fn answered(&mut self, uncovered: bool) {
        self.failed = false;
        if uncovered {
            self.covered = None;
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let mut state = self.data.lock();
        state.underway.remove(&self.id);
        let kept = self.covered == Some(state.version) && state.held.is_some();
        // Of a READ that failed the kernel keeps nothing.
        if !self.failed && !kept {
            state.read |= self.direct;
            state.noted.add(self.range.clone());
        }
        drop(state);
        self.data.changed.notify_waiters();
    }
}

/// The right is being taken. If that does not succeed, it is not held.
struct Settling<'a> {
    data: &'a Data,
    version: u64,
    /// What the kernel's pages were of before.
    label: Option<FileVersion>,
    done: bool,
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let mut state = self.data.lock();
        if !self.done && state.version == self.version {
            state.version += 1;
            state.held = None;
            state.label = self.label.take();
        }
    }
}

/// A READ that is held back.
struct HeldBack<'a> {
    data: &'a Data,
    id: u64,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.data.lock().waiting.remove(&self.id);
    }
}

/// Step 2, for as long as it lives.
struct Ending<'a>(&'a Data);

impl<'a> Ending<'a> {
    fn begin(data: &'a Data) -> Self {
        data.lock().ending = Some(Ranges::default());
        Self(data)
    }

    /// Nothing is being dropped at the moment.
    fn nothing_now(&self) {
        self.0.lock().ending = Some(Ranges::default());
        self.0.changed.notify_waiters();
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lock().ending = None;
        self.0.changed.notify_waiters();
    }
}
