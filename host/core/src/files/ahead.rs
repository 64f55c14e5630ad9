//! Small files that are opened before anybody asks, because those before them in the same directory just were.
//!
//! A program that reads a directory file by file waits for the store twice per file. When it goes through the files by name, or in the order in which the
//! directory lists them, the next few are opened here and their bytes fetched while it reads: its own opens and reads then find everything there. They are open as
//! if the kernel had opened them, so what others change is taken back as from any open file ([`data`](super::data)). What is not asked for is closed after a while.

use super::data::Data;
use super::open::{Purpose, Right};
use super::{FileFs, Node, OpenNode};
use crate::ports::Coherence;
use crate::walk::{Reach, Runs};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use wasmount_types::{FileKind, Ino, RequestCtx};

/// Directories whose readers are remembered.
const DIRECTORIES: usize = 16;
/// Files of all of these together; a directory that has more is not gone through with anybody.
const FILES: usize = 128 * 1024;
/// How long a file stays open for somebody who does not come.
const KEPT: Duration = Duration::from_secs(10);
/// Time after which a directory is looked at again in which a file was opened that had not been there.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who goes through which directory, and what is open for him.
///
/// # Locking
/// Before the state of a node. Nothing waits while holding it, and no file is closed.
#[derive(Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    /// The one that was used last comes last.
    directories: Vec<Directory>,
    open: HashMap<Ino, (OpenNode, Instant)>,
    /// Somebody closes what is not asked for.
    closing: bool,
}

/// A directory of which files are opened.
struct Directory {
    ino: Ino,
    /// The first files that were opened: before there are a few it is not worth a look at all that it has.
    opened: Vec<Ino>,
    walk: Option<Walk>,
}

/// The files of a directory in the two orders in which programs go through them, as far as the kernel knows them.
struct Walk {
    at: Instant,
    orders: [Vec<Weak<Node>>; 2],
    /// Places in these.
    places: HashMap<Ino, [u32; 2]>,
    runs: [Runs; 2],
}

impl Walk {
    fn new(directory: &Node, at: Instant) -> Self {
        let mut files: Vec<_> = {
            let state = directory.lock();
            if state.names.len() > FILES {
                return Self {
                    at,
                    orders: Default::default(),
                    places: HashMap::new(),
                    runs: Default::default(),
                };
            }
            let files = state.names.iter().filter_map(|(name, (node, _))| Some((name, node.as_ref()?)));
            let files = files.filter_map(|(name, node)| Some((name.clone(), node.upgrade()?)));
            files.filter(|(_, node)| node.of.kind == FileKind::Regular).collect()
        };
        let mut places = HashMap::<Ino, [u32; 2]>::with_capacity(files.len());
        let mut order = |which: usize, files: &[(_, Arc<Node>)]| {
            for (place, (_, node)) in (0..).zip(files) {
                if let Some(place_in) = places.entry(node.ino).or_default().get_mut(which) {
                    *place_in = place;
                }
            }
            files.iter().map(|(_, node)| Arc::downgrade(node)).collect()
        };
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let by_name = order(0, &files);
        files.sort_by_cached_key(|(_, node)| node.lock().listed);
        let as_listed = order(1, &files);
        Self { at, orders: [by_name, as_listed], places, runs: Default::default() }
    }

    /// Takes note of an open and says which files to expect next.
    fn opened(&mut self, file: Ino, reach: Reach) -> Vec<Arc<Node>> {
        let Some(places) = self.places.get(&file) else { return Vec::new() };
        let mut next = Vec::new();
        for ((runs, place), order) in self.runs.iter_mut().zip(places).zip(&self.orders) {
            let range = runs.opened(*place as usize, reach);
            let range = range.start.min(order.len())..range.end.min(order.len());
            if next.is_empty() {
                next.extend(order.get(range).unwrap_or_default().iter().filter_map(Weak::upgrade));
            }
        }
        next
    }
}

impl Ahead {
    /// The file as it was opened ahead, if it was.
    pub(super) fn take(&self, node: &Arc<Node>) -> Option<OpenNode> {
        let (open, _) = self.lock().open.remove(&node.ino)?;
        Arc::ptr_eq(&open.node, node).then_some(open)
    }

    /// Closes what was not asked for; whether something is left.
    fn close(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let over: Vec<_> = state.open.extract_if(|_, (_, until)| *until <= now).collect();
        let left = !state.open.is_empty();
        state.closing = left;
        drop(state);
        drop(over);
        left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileFs {
    /// A file was opened: opens what will be opened next.
    pub(super) fn open_ahead(&self, node: &Node) {
        // Where answers hold for a time only, opening a file is what looks again.
        if self.caps.coherence != Coherence::Pushed || !self.reading.is_expecting() {
            return;
        }
        let place = node.lock().place.clone();
        let Some(directory) = place.and_then(|(directory, _)| directory.upgrade()) else { return };
        let closed = |next: Arc<Node>| {
            let size = next.lock().attributes.as_ref().map(|(attributes, _)| attributes.size)?;
            let open = next.opened_data().is_some_and(Data::is_open);
            (!open).then_some((next, size))
        };
        let files = self.next_to(&directory, node).into_iter().filter_map(closed);
        for next in self.reading.worth_fetching(files) {
            let Some(fs) = self.me.upgrade() else { return };
            self.context.spawn.spawn(Box::pin(async move { fs.open_for_later(next).await }));
        }
    }

    /// Files of a directory that will be opened next, as one of them just was.
    fn next_to(&self, directory: &Node, node: &Node) -> Vec<Arc<Node>> {
        let (now, reach) = (self.clock().now(), self.reading.config().reach());
        let mut state = self.ahead.lock();
        let index = state.directories.iter().position(|known| known.ino == directory.ino);
        let mut known = match index {
            Some(index) => state.directories.remove(index),
            None => Directory { ino: directory.ino, opened: Vec::new(), walk: None },
        };
        let next = match &mut known.walk {
            Some(walk) => {
                let later = || now.saturating_duration_since(walk.at) >= LOOK_AGAIN;
                if !walk.places.contains_key(&node.ino) && later() {
                    *walk = Walk::new(directory, now);
                }
                walk.opened(node.ino, reach)
            }
            None => {
                known.opened.push(node.ino);
                if known.opened.len() < reach.sure {
                    Vec::new()
                } else {
                    let walk = known.walk.insert(Walk::new(directory, now));
                    let so_far = std::mem::take(&mut known.opened);
                    so_far.into_iter().map(|file| walk.opened(file, reach)).last().unwrap_or_default()
                }
            }
        };
        state.directories.push(known);
        let files = |directory: &Directory| directory.walk.as_ref().map_or(0, |walk| walk.places.len());
        while state.directories.len() > DIRECTORIES
            || (state.directories.len() > 1 && state.directories.iter().map(files).sum::<usize>() > FILES)
        {
            state.directories.remove(0);
        }
        next
    }

    /// Opens a file for whoever opens it next, and fetches it.
    async fn open_for_later(self: Arc<Self>, node: Arc<Node>) {
        let ctx = RequestCtx::internal(self.clock().now() + self.context.request_timeout);
        let open = self.open_again(&node, false);
        let data = self.data_of(&node);
        let begun = match self.begin(ctx, &node, data, Purpose::Later).await {
            Ok(Right::Held(begun)) => begun,
            Ok(Right::Lost | Right::Refused) => return,
            Err(error) => {
                tracing::debug!(mount = %self.context.id, node = node.ino.0, %error, "a file was not opened ahead");
                return;
            }
        };
        let now = self.clock().now();
        let close = {
            let nodes = self.lock();
            // The kernel may have forgotten it meanwhile.
            if !nodes.get(&node.of.number).is_some_and(|known| Arc::ptr_eq(known, &node)) {
                return;
            }
            let mut state = self.ahead.lock();
            let before = state.open.insert(node.ino, (open, now + KEPT));
            let close = !std::mem::replace(&mut state.closing, true);
            drop(state);
            drop(nodes);
            drop(before);
            close
        };
        begun.file.fetch_ahead();
        if close {
            self.close_what_nobody_wants();
        }
    }

    fn close_what_nobody_wants(&self) {
        let fs = self.me.clone();
        self.context.spawn.spawn(Box::pin(async move {
            loop {
                tokio::time::sleep(KEPT / 2).await;
                let Some(fs) = fs.upgrade() else { return };
                if !fs.ahead.close(fs.clock().now()) {
                    return;
                }
            }
        }));
    }
}
