//! What is kept of a file's content, by us and by the kernel, and how it is lost.
//!
//! While the store allows it (*the right is held*) bytes are kept: in memory, on disk, in the kernel's page cache. When the right is lost all of
//! that has to be gone before the store is told so. The kernel drops a page only when the READ that fills it has been answered, so
//! READs must be answered meanwhile; and what is answered meanwhile has to be dropped too. Therefore, in this order:
//!
//! 1. From now on nothing that is read is kept here. READs are answered as ever, from the store, and their ranges noted. Those that were under way
//!    are awaited, and a moment more, so that their readers find the pages; then the kernel drops all.
//! 2. READs that newly arrive are held back. Those under way are awaited, then the noted ranges are dropped as well, but for what
//!    a held-back READ waits for: the kernel has no such pages yet, and would wait for ever. A READ that arrives for a range just being dropped
//!    may be what the kernel waits for: it is answered, and noted again.
//! 3. When nothing is noted any more the right is gone, and what was held back goes on.
//!
//! A page that the kernel keeps is seen by whoever comes later, and by those who have mapped it without asking anybody. So **a READ that fills pages is answered under the
//! right only**, also one through a file that was opened without it and is mapped (`ReadRequest::kept`). Where the right is not held it is asked for first (`acquire`), with
//! `keep`, so that a store has others let go of it who write; it may be had for no longer than until one of them wants it back. That does not matter, because a right
//! that is being lost is still held. Whichever comes first ends the waiting: the right is taken, or it is being lost, which is answered at once, since whoever takes it
//! back waits for the page of this READ; in both cases the page is gone before the store is told. A READ counts as under way from before it asks, so
//! nothing ends while it is between the two. One task asks for all READs; none of them waits for it for longer than a few seconds.
//!
//! A store may refuse the right for as long as others write. Then each range is noted, and dropped a moment later. Such a page may be old: the store
//! cannot see to it that nobody reads it meanwhile, and neither can we.

mod losing;
mod reads;

use super::ranges::Ranges;
use super::source::{NodeSource, Opening};
use crate::inode::FileVersion;
use crate::read::File;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant as Moment;

/// How long the right waits for what the kernel has from before it.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a file is read without the right when it was refused, before it is asked for again.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A file's content.
///
/// # Locking
/// `drops` comes first, and is held by whoever tells the kernel to drop pages. `state` comes last but for that of `source`.
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
    /// READs being answered.
    underway: HashMap<u64, Underway>,
    /// READs held back.
    waiting: HashMap<u64, Range<u64>>,
    /// What the kernel has got without the right, and has not dropped yet.
    noted: Ranges,
    /// Step 2: what the kernel is dropping at the moment.
    ending: Option<Ranges>,
    /// Somebody drops what is noted, a moment later.
    lagging: bool,
    /// How many times the right is being lost at the moment. Until that has ended, it is still held.
    losing: usize,
    /// Somebody asks for the right, for all READs that need it.
    asked_for: bool,
    /// When the right was refused last.
    refused: Option<Instant>,
    /// When it was asked for last on behalf of somebody for whom the kernel keeps nothing.
    asked: Option<Instant>,
    /// When a READ was answered last.
    answered: Option<Moment>,
    /// GETATTRs under way.
    asking: usize,
    /// When one was answered last.
    told: Option<Moment>,
    next: u64,
}

/// A READ under way.
struct Underway {
    /// It waits for the right, and has no bytes yet.
    asks: bool,
    /// The right under which it is answered.
    covered: Option<u64>,
}

impl Data {
    pub(super) fn new(source: Arc<NodeSource>) -> Self {
        Self { source, state: Mutex::default(), changed: Notify::new(), drops: AsyncMutex::default() }
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
    /// Otherwise whether the pages are of the same version that the kernel may have. `only_same`: it is not taken if they are not.
    ///
    /// Ends when nothing is left in the kernel that was read without the right.
    pub(super) async fn hold(&self, version: u64, file: &Arc<File>, only_same: bool) -> Option<bool> {
        let label = {
            let mut state = self.lock();
            let other = state.label.as_ref().is_some_and(|label| label != file.version());
            if state.version != version || state.losing > 0 || state.opens == 0 || (only_same && other) {
                return None;
            }
            file.hold();
            state.held = Some(file.clone());
            state.refused = None;
            // Who reads ahead gives pages to the kernel without any READ.
            state.read = true;
            state.label.replace(file.version().clone())
        };
        self.changed.notify_waiters();
        let same = label.as_ref().is_none_or(|label| label == file.version());
        let mut settling = Settling { data: self, version, label, done: false };
        let settled = self.wait(|state| {
            let uncovered = state.underway.values().any(|read| !read.asks && read.covered.is_none());
            (!uncovered && state.noted.is_empty() && !state.lagging).then_some(())
        });
        settling.done = tokio::time::timeout(SETTLE, settled).await.is_ok();
        (settling.done && self.version() == version).then_some(same)
    }

    /// The store does not give the right. Until it is asked again, readers of what the kernel keeps may see what others have changed, for a moment.
    pub(super) fn refused(&self, now: Instant) {
        self.lock().refused = Some(now);
        self.changed.notify_waiters();
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
            let unused = (state.held.take(), self.source.replace(None));
            drop(state);
            drop(unused);
        }
    }

    /// Whether anybody has it open.
    pub(super) fn is_open(&self) -> bool {
        self.lock().opens > 0
    }

    /// From now on it is read through this one, if anybody has it open: what was opened for somebody who has gone is not wanted, `false`.
    pub(super) fn adopt(&self, opening: Arc<Opening>) -> bool {
        let state = self.lock();
        if state.opens == 0 {
            return false;
        }
        let before = self.source.replace(Some(opening));
        drop(state);
        drop(before);
        true
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

    /// Whether a READ need not ask for the right.
    fn is_settled(&self, now: Instant) -> bool {
        let refused = |at: Instant| now.saturating_duration_since(at) < ASK_EVERY;
        self.held.is_some() || self.losing > 0 || self.refused.is_some_and(refused)
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
