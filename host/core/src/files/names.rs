//! Names in directories.

use super::lease::{NAMES_TTL, Until};
use super::node::NodeState;
use super::{Asked, FileFs, Node};
use crate::fs::Entry;
use crate::ports::{Coherence, FileAttributes, NodeNumber, Resolution};
use crate::wait::bounded;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use wasmount_types::{Blame, Error, ErrorKind, Name, RequestCtx};

/// How long a directory in which names have changed gives the kernel none: to take them back costs it all names of the mount.
const CHANGING: Duration = Duration::from_secs(10);

/// What the store said about a name, for all who asked.
type Answer = Option<Result<Option<(Arc<Node>, FileAttributes)>, Error>>;
/// A name, and on whose behalf it is looked up.
type Question = (NodeNumber, Name, u32, u32);

/// Names that are being looked up.
#[derive(Default)]
pub(super) struct Asking(Mutex<HashMap<Question, watch::Receiver<Answer>>>);

/// Who looks a name up for others as well.
struct Leader<'a> {
    asking: &'a Asking,
    question: Question,
    tell: watch::Sender<Answer>,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.asking.lock().remove(&self.question);
    }
}

impl Asking {
    /// `Err`: somebody else is asking.
    fn lead(&self, question: Question) -> Result<Leader<'_>, watch::Receiver<Answer>> {
        let mut asking = self.lock();
        if let Some(answer) = asking.get(&question) {
            return Err(answer.clone());
        }
        let (tell, answer) = watch::channel(None);
        asking.insert(question.clone(), answer);
        Ok(Leader { asking: self, question, tell })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, watch::Receiver<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileFs {
    /// What a name in a directory leads to; counts a look-up.
    ///
    /// # Errors
    /// `not-found`, or what the store says.
    pub(crate) async fn look_up(
        &self,
        ctx: RequestCtx,
        parent: &Arc<Node>,
        name: &Name,
    ) -> Result<Entry, Error> {
        if name.as_bytes().len() > self.caps.max_name as usize {
            let message = format!("names have at most {} bytes here", self.caps.max_name);
            return Err(Error::new(ErrorKind::NameTooLong, Blame::Caller, message));
        }
        let looking = self.find(ctx, parent, name);
        let (node, attributes) = bounded(self.clock(), ctx, "looking up a name", looking).await?;
        Ok(self.entry(&node, &attributes, self.name_ttl(parent, name, &node)))
    }

    async fn find(
        &self,
        ctx: RequestCtx,
        parent: &Arc<Node>,
        name: &Name,
    ) -> Result<(Arc<Node>, FileAttributes), Error> {
        // Who finds somebody asking may have come after the store has answered him, and after a change of what it said. The next question is asked
        // after both have come.
        let mut later = self.caps.coherence == Coherence::Timed;
        loop {
            match self.remembered(parent, name) {
                Some(None) => return Err(Error::not_found(name)),
                Some(Some(node)) => {
                    let attributes = self.known_attributes(ctx, &node, None).await?;
                    if self.count(&node) {
                        return Ok((node, attributes));
                    }
                }
                None => {}
            }
            let question = (parent.of.number, name.clone(), ctx.uid, ctx.gid);
            match self.asking.lead(question) {
                Ok(leader) => {
                    let outcome = self.ask_name(ctx, parent, name).await;
                    leader.tell.send_replace(Some(outcome.clone()));
                    return outcome?.ok_or_else(|| Error::not_found(name));
                }
                Err(mut answer) => {
                    let outcome = answer.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
                    match outcome.filter(|_| later) {
                        Some(Ok(None)) => return Err(Error::not_found(name)),
                        Some(Ok(Some((node, attributes)))) if self.count(&node) => {
                            return Ok((node, attributes));
                        }
                        // Whose deadline is earlier than ours, who has gone, and what the kernel has forgotten again.
                        None | Some(Ok(Some(_))) => {}
                        Some(Err(error)) if error.kind == ErrorKind::TimedOut => {}
                        Some(Err(error)) => return Err(error),
                    }
                    later = true;
                }
            }
        }
    }

    /// Asks the store for a name; counts a look-up.
    async fn ask_name(
        &self,
        ctx: RequestCtx,
        parent: &Arc<Node>,
        name: &Name,
    ) -> Result<Option<(Arc<Node>, FileAttributes)>, Error> {
        let asked = self.ask();
        let resolution = self.store.resolve(ctx, parent.of.number, name.clone());
        match bounded(self.clock(), ctx, "looking up a name", resolution).await? {
            Resolution::Found(entry) => {
                let Some(node) = self.absorb(&entry, asked, true)? else { return Ok(None) };
                self.placed(parent, name, &node);
                self.keep_name(parent, name, Some(&node), entry.validity.entry_ms, asked);
                Ok(Some((node, entry.attributes)))
            }
            Resolution::Absent(ms) => {
                self.keep_name(parent, name, None, ms, asked);
                Ok(None)
            }
        }
    }

    /// What is known about a name; `Some(None)`: there is none.
    fn remembered(&self, parent: &Node, name: &Name) -> Option<Option<Arc<Node>>> {
        let state = parent.lock();
        let (node, until) = state.names.get(name)?;
        if !until.holds(self.clock()) {
            return None;
        }
        match node {
            None => Some(None),
            Some(node) => node.upgrade().map(Some),
        }
    }

    /// Keeps what a name leads to, if it may be.
    pub(super) fn keep_name(
        &self,
        parent: &Node,
        name: &Name,
        node: Option<&Arc<Node>>,
        ms: u32,
        asked: Asked,
    ) {
        let until = Until::new(ms, asked.at, self.caps.coherence);
        let mut state = parent.lock();
        if self.names.load(Ordering::Relaxed) >= self.most_names() {
            self.drop_names(&mut state, |_| true);
        }
        if state.names.remove(name).is_some() {
            self.names.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(until) = until.filter(|_| self.is_current(asked)) {
            state.names.insert(name.clone(), (node.map(Arc::downgrade), until));
            self.names.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long the kernel may believe that a name leads to a node.
    pub(super) fn name_ttl(&self, parent: &Node, name: &Name, node: &Arc<Node>) -> Duration {
        // What the store takes back the kernel must be able to give back.
        let pushed = self.caps.coherence == Coherence::Pushed;
        if pushed && !self.kernel().is_some_and(|kernel| kernel.keeps_entries()) {
            return Duration::ZERO;
        }
        let mut state = parent.lock();
        if state.names_change.is_some_and(|until| self.clock().now() < until) {
            return Duration::ZERO;
        }
        let ttl = match state.names.get(name) {
            Some((Some(known), until)) if std::ptr::eq(known.as_ptr(), Arc::as_ptr(node)) => {
                until.left(self.clock(), NAMES_TTL)
            }
            _ => Duration::ZERO,
        };
        state.names_given.give(self.clock(), ttl);
        ttl
    }

    /// Forgets names.
    pub(super) fn drop_names(&self, state: &mut NodeState, which: impl Fn(&Name) -> bool) {
        let before = state.names.len();
        state.names.retain(|name, _| !which(name));
        self.names.fetch_sub(before - state.names.len(), Ordering::Relaxed);
        if state.names.is_empty() {
            state.names = HashMap::new();
        }
    }

    /// Nobody believes anything about names of a directory any more: all of them, or these.
    pub(super) async fn lose_names(&self, node: &Node, names: Option<&[Name]>) {
        let given = {
            let mut state = node.lock();
            self.drop_names(&mut state, |name| names.is_none_or(|names| names.contains(name)));
            state.names_change = Some(self.clock().now() + CHANGING);
            state.names_given.take(self.clock())
        };
        let Some(kernel) = self.kernel() else { return };
        let listings = node.opened_listings().map(|listings| (listings, listings.coming()));
        if given {
            kernel.drop_entries();
        }
        if let Some((listings, coming)) = listings {
            listings.lose(self.clock(), kernel, node.ino, given, coming).await;
        }
    }
}
