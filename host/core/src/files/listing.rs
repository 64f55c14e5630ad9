//! Open directories, and what the kernel keeps of their listings.
//!
//! What is in an answer to READDIR or READDIRPLUS the kernel takes into its caches some time after the answer was sent, and nothing tells
//! when it has done so, but for the next request on the same open directory: it makes one at a time. So what has to be taken back is taken
//! back a second time when that request has come, or a while has passed.
//!
//! For an answer of the store nobody waits: the store may itself wait until the right is given back before it lists. Names that it lists then
//! are given to the kernel without a lifetime, because they were asked for before the right was lost, and the listing is dropped before anybody opens it again.

use crate::ports::{CachePolicy, Clock, FileStore, KernelPages, StoreHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use wasmount_types::Ino;

use super::Node;

/// How long after an answer the kernel may still be about to take it in. It takes microseconds, unless the thread is not given a
/// processor.
const TAKING_IN: Duration = Duration::from_secs(1);

/// Entries of a directory's table of open listings below which it is never cleaned.
const CLEAN_AT: usize = 16;

/// What the kernel may have of the listing of a directory.
#[derive(Default)]
pub(super) struct Listings(Mutex<State>);

#[derive(Default)]
struct State {
    /// Counts how often the right to keep the listing was lost.
    version: u64,
    /// The kernel may keep some of it.
    kept: bool,
    /// Some of what it keeps was read without the right, the how-manieth time this happened.
    dirty: Option<u64>,
    /// How often that happened so far.
    dirtied: u64,
    open: Vec<Weak<OpenListing>>,
}

impl Listings {
    /// How often the right to keep the listing was lost so far. To be asked before the store is asked for the right.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// One more has it open. Whether the kernel may keep what it lists, and whether it may go on keeping what it has.
    pub(super) fn opened(&self, open: &Arc<OpenListing>, allowed: bool) -> (bool, bool) {
        let mut state = self.lock();
        if state.open.len() >= CLEAN_AT {
            state.open.retain(|open| open.strong_count() > 0);
        }
        // The kernel keeps one listing for all, and one that was opened under a right that is lost still adds to it.
        let now = state.version;
        let outdated = |open: Arc<OpenListing>| open.version != now && open.state().cached;
        let outdated = state.open.iter().filter_map(Weak::upgrade).any(outdated);
        state.open.push(Arc::downgrade(open));
        let cache = allowed && open.version == now && !outdated;
        // Without the flag the kernel drops what it has before anything is listed.
        // It does so some time after the answer, so whoever opens it meanwhile must not go on with what it has either.
        let keep = cache && state.dirty.is_none();
        state.kept |= cache;
        let mut opened = open.state();
        opened.cached = cache;
        opened.cleans = state.dirty.filter(|_| cache);
        (cache, keep)
    }

    /// Answers on their way to the kernel. To be asked before it is told to drop anything: what it takes in after that it has to drop again.
    pub(super) fn coming(&self) -> Coming {
        let open = self.lock().open.clone();
        let coming = |open: Arc<OpenListing>| {
            let state = open.state();
            let request = matches!(state.last, Last::Coming | Last::Given(_)).then_some(state.requests)?;
            drop(state);
            Some((open, request))
        };
        Coming(open.iter().filter_map(Weak::upgrade).filter_map(coming).collect())
    }

    /// The right to keep names and listing is lost. Ends when nobody has any of them. `names`: the kernel had been given names.
    pub(super) async fn lose(
        &self,
        clock: &dyn Clock,
        kernel: &Arc<dyn KernelPages>,
        ino: Ino,
        names: bool,
        coming: Coming,
    ) {
        let kept = {
            let mut state = self.lock();
            state.version += 1;
            std::mem::take(&mut state.kept)
        };
        if kept {
            kernel.drop_pages(ino, None).await;
        }
        let mut again = false;
        for (open, request) in coming.0 {
            again |= open.taken_in(clock, request).await;
        }
        if again && kept {
            kernel.drop_pages(ino, None).await;
        }
        if again && names {
            kernel.drop_entries();
        }
    }

    /// The kernel has dropped what it had when it was dirty for that time.
    fn cleaned(&self, time: u64) {
        let mut state = self.lock();
        state.dirty.take_if(|dirty| *dirty == time);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Open directories with an answer that the kernel may be taking in, and the request that it answers.
pub(super) struct Coming(Vec<(Arc<OpenListing>, u64)>);

/// A directory that is open at the store. Dropping it closes it.
pub(super) struct ListingHandle {
    store: Arc<dyn FileStore>,
    pub(super) handle: StoreHandle,
    pub(super) cache: CachePolicy,
}

impl ListingHandle {
    pub(super) fn new(store: Arc<dyn FileStore>, handle: StoreHandle, cache: CachePolicy) -> Arc<Self> {
        Arc::new(Self { store, handle, cache })
    }
}

impl Drop for ListingHandle {
    fn drop(&mut self) {
        self.store.release_directory(self.handle);
    }
}

/// An open directory.
pub(crate) struct OpenListing {
    pub(super) node: Arc<Node>,
    /// How often the right to keep the listing had been lost when it was opened.
    version: u64,
    state: Mutex<OpenState>,
    changed: Notify,
}

struct OpenState {
    handle: Arc<ListingHandle>,
    /// The kernel keeps what is listed.
    cached: bool,
    /// Before it lists anything the kernel drops what it has, which was dirty.
    cleans: Option<u64>,
    /// Requests so far.
    requests: u64,
    last: Last,
}

/// The last answer.
#[derive(Clone, Copy)]
enum Last {
    /// The store was asked for it.
    Asked,
    /// The store has answered, and the kernel is told.
    Coming,
    /// The kernel may be taking it in.
    Given(Instant),
    /// The kernel keeps nothing of it.
    Nothing,
}

impl OpenListing {
    pub(super) fn new(node: Arc<Node>, version: u64, handle: Arc<ListingHandle>) -> Arc<Self> {
        let state = OpenState { handle, cached: false, cleans: None, requests: 0, last: Last::Nothing };
        Arc::new(Self { node, version, state: Mutex::new(state), changed: Notify::new() })
    }

    /// Its handle at the store.
    pub(super) fn handle(&self) -> Arc<ListingHandle> {
        self.state().handle.clone()
    }

    /// It was opened again.
    pub(super) fn reopened(&self, handle: Arc<ListingHandle>) {
        let before = std::mem::replace(&mut self.state().handle, handle);
        drop(before);
    }

    /// A request has come: what was answered before the kernel has taken in.
    pub(super) fn begin(&self) -> Answering<'_> {
        let mut state = self.state();
        state.requests += 1;
        state.last = Last::Asked;
        let cleans = state.cleans.take();
        drop(state);
        if let (Some(time), Some(listings)) = (cleans, self.node.opened_listings()) {
            listings.cleaned(time);
        }
        self.changed.notify_waiters();
        Answering { open: self, given: None }
    }

    /// The kernel will make no request any more.
    pub(crate) fn end(&self) {
        drop(self.begin());
    }

    /// Waits until the kernel has taken in the answer to a request. Whether it has taken in anything of it.
    async fn taken_in(&self, clock: &dyn Clock, request: u64) -> bool {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let (requests, last) = {
                let state = self.state();
                (state.requests, state.last)
            };
            let rest = match last {
                _ if requests != request => return true,
                Last::Nothing | Last::Asked => return false,
                Last::Coming => None,
                Last::Given(at) => {
                    let rest = TAKING_IN.saturating_sub(clock.now().saturating_duration_since(at));
                    if rest.is_zero() {
                        return true;
                    }
                    Some(rest)
                }
            };
            match rest {
                Some(rest) => drop(tokio::time::timeout(rest, changed).await),
                None => changed.await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, OpenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listing request that is being answered.
pub(super) struct Answering<'a> {
    open: &'a OpenListing,
    given: Option<Instant>,
}

impl Answering<'_> {
    /// The store has answered. To be said before anything of the answer is prepared for the kernel: whoever takes something back from here on
    /// waits for it.
    pub(super) fn coming(&self) {
        self.open.state().last = Last::Coming;
    }

    /// It is answered. `names`: the kernel is given names to keep.
    pub(super) fn answered(&mut self, now: Instant, names: bool) {
        let cached = self.open.state().cached;
        if cached && let Some(listings) = self.open.node.opened_listings() {
            let mut state = listings.lock();
            state.kept = true;
            if state.version != self.open.version {
                state.dirtied += 1;
                state.dirty = Some(state.dirtied);
            }
        }
        self.given = (cached || names).then_some(now);
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.open.state().last = self.given.map_or(Last::Nothing, Last::Given);
        self.open.changed.notify_waiters();
    }
}
