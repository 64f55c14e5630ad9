//! Opens a mount's provider in the background, and again whenever that is needed.
//!
//! A mount is *opening*, *ready* or *failed*. A failed one tries again by itself, after 1 to 30 seconds, and after an
//! access once the last failure is a second old: it recovers without anybody's help. Its directory exists all the time.

use super::Place;
use super::config::MountConfig;
use super::volume::{Opened, Volume};
use crate::blocks::ImageFs;
use crate::context::MountContext;
use crate::files::FileFs;
use crate::inode::InodeTable;
use crate::objects::{ObjectFs, ObjectFsConfig};
use crate::ports::{Clock, Provider, ProviderInfo, ProviderSource, Spawn};
use crate::read::Reading;
use crate::wait::{bounded, jittered};
use futures::future::{AbortHandle, Abortable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wasmount_types::{Blame, Error, ErrorKind, Ino, MountId, RequestCtx, Retry};

/// How long an operation waits for a mount that is being opened.
const OPENING_WAIT: Duration = Duration::from_secs(10);
/// Pause after the first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A provider that works for less than this before it asks to be opened again has not recovered: it is opened again after a pause, which doubles.
const STEADY: Duration = Duration::from_secs(10);
/// Youngest failure after which an access leads to another attempt.
const ACCESS_PAUSE: Duration = Duration::from_secs(1);

/// How far a mount is.
#[derive(Clone)]
pub(super) enum State {
    /// The first attempt, or one after the provider asked to be opened again, is under way.
    Opening,
    /// It works.
    Ready(Opened),
    /// The last attempt failed.
    Failed(Error),
    /// It belongs to the table no more. Nothing follows.
    Ended,
}

/// One mount of the table.
pub(super) struct Mount {
    pub(super) id: MountId,
    pub(super) place: Place,
    pub(super) config: ObjectFsConfig,
    /// It was opened as a store of block images.
    images: AtomicBool,
    /// It was opened as a store that numbers its nodes itself.
    nodes: AtomicBool,
    /// Its number in the table.
    number: usize,
    /// Its directory in the table.
    root: Ino,
    surroundings: Surroundings,
    source: Arc<dyn ProviderSource>,
    state: watch::Sender<State>,
    /// Somebody needs it, or needs it anew.
    wanted: Notify,
    /// How often it was to be opened again. Counted under the lock of the state, so that an attempt that is under way misses none.
    reopens: AtomicU64,
    /// Stops what keeps it open.
    opener: OnceLock<AbortHandle>,
}

/// What all mounts of a table have in common.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) request_timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) reading: Arc<Reading>,
    pub(super) inodes: Arc<InodeTable>,
}

impl Mount {
    /// A mount that is to be the one with this `number` in the table, and whose directory has the number `root`.
    pub(super) fn new(config: MountConfig, number: usize, root: Ino, surroundings: Surroundings) -> Self {
        Self {
            id: config.id,
            place: config.place,
            config: config.objects,
            images: AtomicBool::new(false),
            nodes: AtomicBool::new(false),
            number,
            root,
            surroundings,
            source: config.source,
            state: watch::Sender::new(State::Opening),
            wanted: Notify::new(),
            reopens: AtomicU64::new(0),
            opener: OnceLock::new(),
        }
    }

    /// Opens it in the background from now on.
    pub(super) fn start(self: &Arc<Self>) {
        let (abort, registration) = AbortHandle::new_pair();
        let task = Abortable::new(self.clone().keep_open(), registration);
        self.surroundings.spawn.spawn(Box::pin(async move {
            let _stopped = task.await;
        }));
        // Called once.
        let _first = self.opener.set(abort);
    }

    /// Stops opening it; what is open stays.
    pub(super) fn stop(&self) {
        if let Some(opener) = self.opener.get() {
            opener.abort();
        }
    }

    /// Takes it out of use for good: whoever waits for it, or asks later, gets `stale`, and its provider ends.
    pub(super) fn end(&self) {
        self.stop();
        self.state.send_replace(State::Ended);
        self.source.end();
    }

    /// Opens it again although it works, or without a pause if it does not: something that it read when it was opened is no longer true.
    /// What an attempt that is under way finds out does not count.
    pub(super) fn open_again(&self, why: &str) {
        let reopen = self.state.send_if_modified(|state| {
            self.reopens.fetch_add(1, Ordering::Relaxed);
            let ready = matches!(state, State::Ready(_));
            if ready {
                *state = State::Opening;
            }
            ready
        });
        if reopen {
            tracing::info!(mount = %self.id, why, "the mount is opened again");
        }
        self.wanted.notify_one();
    }

    /// Its next state, found out by an attempt that began after so many `reopens`, unless it has ended. False: it was to be opened again
    /// meanwhile, and what the attempt has found out may be no longer true.
    fn becomes(&self, next: State, reopens: u64) -> bool {
        let mut current = true;
        self.state.send_if_modified(|state| {
            current = self.reopens.load(Ordering::Relaxed) == reopens;
            let follows = current && !matches!(state, State::Ended);
            if follows {
                *state = next;
            }
            follows
        });
        current
    }

    /// What is behind the mount.
    ///
    /// # Errors
    /// While it is failed, at once why; while it is opening, `timed-out` after ten seconds.
    pub(super) async fn ready(&self, ctx: RequestCtx) -> Result<Opened, Error> {
        // Nearly always, and every request comes by here.
        if let State::Ready(opened) = &*self.state.borrow() {
            return Ok(opened.clone());
        }
        let mut state = self.state.subscribe();
        let settled = async {
            match state.wait_for(|state| !matches!(state, State::Opening)).await.map(|state| state.clone()) {
                Ok(State::Ready(opened)) => Ok(opened),
                Ok(State::Failed(error)) => {
                    self.wanted.notify_one();
                    Err(error)
                }
                Ok(State::Ended) => {
                    Err(Error::stale(format_args!("mount `{}`, which was taken away or changed", self.id)))
                }
                Ok(State::Opening) | Err(_) => {
                    Err(Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping"))
                }
            }
        };
        let clock = &*self.surroundings.clock;
        let deadline = ctx.deadline.min(clock.now() + OPENING_WAIT);
        bounded(clock, RequestCtx { deadline, ..ctx }, &format!("opening mount `{}`", self.id), settled).await
    }

    /// What is behind the mount, where that is found by paths.
    ///
    /// # Errors
    /// Those of [`ready`](Self::ready); `stale`: it was opened as another kind of store since.
    pub(super) async fn volume(&self, ctx: RequestCtx) -> Result<Volume, Error> {
        match self.ready(ctx).await? {
            Opened::Paths(volume) => Ok(volume),
            Opened::Nodes(_) => Err(Error::stale(format_args!("mount `{}`", self.id))),
        }
    }

    /// What is behind the mount, where that has nodes of its own.
    ///
    /// # Errors
    /// Those of [`ready`](Self::ready); `stale`: it was opened as another kind of store since.
    pub(super) async fn nodes(&self, ctx: RequestCtx) -> Result<Arc<FileFs>, Error> {
        match self.ready(ctx).await? {
            Opened::Nodes(fs) => Ok(fs),
            Opened::Paths(_) => Err(Error::stale(format_args!("mount `{}`", self.id))),
        }
    }

    /// What is behind the mount at the moment, if that has nodes of its own.
    pub(super) fn open_nodes(&self) -> Option<Arc<FileFs>> {
        match &*self.state.borrow() {
            State::Ready(Opened::Nodes(fs)) => Some(fs.clone()),
            _ => None,
        }
    }

    /// Whether its nodes have been those of a store that numbers them itself.
    pub(super) fn has_nodes(&self) -> bool {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Permission bits of its files.
    pub(super) fn file_mode(&self) -> u16 {
        // Who writes to an image needs more than a file: a lock, and a client that others wait for.
        let possible = if self.images.load(Ordering::Relaxed) { 0o444 } else { 0o7777 };
        self.config.file_mode & possible
    }

    /// How far it is.
    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Takes note of an error of what `is` behind it: some mean that the provider has to be opened again.
    pub(super) fn report(&self, error: &Error, is: impl Fn(&Opened) -> bool) {
        if error.retry != Retry::Reopen {
            return;
        }
        let reopen = self.state.send_if_modified(|state| {
            let current = matches!(state, State::Ready(now) if is(now));
            if current {
                *state = State::Opening;
            }
            current
        });
        if reopen {
            tracing::warn!(mount = %self.id, %error, "the mount is opened again");
            self.wanted.notify_one();
        }
    }

    /// Opens the mount and keeps it open; never ends by itself.
    pub(super) async fn keep_open(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let (mut before, mut again) = (false, false);
        loop {
            let reopens = self.reopens.load(Ordering::Relaxed);
            match self.open().await {
                Ok((opened, info)) => {
                    let nodes = match &opened {
                        Opened::Nodes(fs) => Some(fs.clone()),
                        Opened::Paths(_) => None,
                    };
                    if !self.becomes(State::Ready(opened), reopens) {
                        continue;
                    }
                    let since = Instant::now();
                    tracing::info!(mount = %self.id, place = %self.place, title = %info.title, "mount is ready");
                    for warning in &info.warnings {
                        tracing::warn!(mount = %self.id, "{warning}");
                    }
                    if let Some(fs) = nodes {
                        // Only now: the kernel lets go of a page when somebody answers for it.
                        self.taken_over(fs, std::mem::replace(&mut before, true));
                    }
                    while matches!(*self.state.borrow(), State::Ready(_)) {
                        self.wanted.notified().await;
                    }
                    if since.elapsed() >= STEADY {
                        (pause, again) = (FIRST_PAUSE, false);
                    } else if self.reopens.load(Ordering::Relaxed) == reopens
                        && std::mem::replace(&mut again, true)
                    {
                        // The provider wants it, not whoever runs the mount; and the first time at once, as sessions do end.
                        tokio::time::sleep(jittered(pause)).await;
                        pause = (pause * 2).min(LAST_PAUSE);
                    }
                }
                Err(error) => {
                    let again_in = jittered(pause);
                    if !self.failed(error, again_in, reopens) {
                        continue;
                    }
                    pause = (pause * 2).min(LAST_PAUSE);
                    let access = async {
                        tokio::time::sleep(ACCESS_PAUSE).await;
                        self.wanted.notified().await;
                    };
                    tokio::select! {
                        () = tokio::time::sleep(again_in) => {}
                        () = access => {}
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<(Opened, ProviderInfo), Error> {
        let Surroundings { request_timeout, clock, spawn, reading, inodes } = self.surroundings.clone();
        let ctx = RequestCtx::internal(clock.now() + request_timeout);
        let (provider, info) = bounded(&*clock, ctx, "opening the mount", self.source.open(ctx)).await?;
        let (id, cache, config) = (self.id.clone(), info.cache.clone(), self.config.clone());
        let context = MountContext { id, cache, config, request_timeout, clock, spawn };
        let opened = match provider {
            Provider::Objects(store) => {
                Opened::Paths(Volume::Objects(Arc::new(ObjectFs::new(context, store))))
            }
            Provider::Blocks(store) => {
                self.images.store(true, Ordering::Relaxed);
                Opened::Paths(Volume::Images(Arc::new(ImageFs::new(context, store))))
            }
            Provider::Files(store) => {
                self.nodes.store(true, Ordering::Relaxed);
                Opened::Nodes(FileFs::new(context, self.number, self.root, store, reading, inodes))
            }
        };
        Ok((opened, info))
    }

    /// A store with nodes of its own is there: what the kernel believes about the mount's directory was made up until now. If there was one
    /// `before`, all that it believes about the mount is suspect.
    fn taken_over(&self, fs: Arc<FileFs>, before: bool) {
        let (root, reading) = (self.root, self.surroundings.reading.clone());
        self.surroundings.spawn.spawn(Box::pin(async move {
            if before {
                fs.begin_anew().await;
            } else if let Some(kernel) = reading.kernel() {
                kernel.drop_attributes(root).await;
            }
        }));
    }

    /// Takes note of a failure; false as for [`becomes`](Self::becomes).
    fn failed(&self, error: Error, again_in: Duration, reopens: u64) -> bool {
        let seen = as_seen_inside(&self.id, &error);
        let news = !matches!(&*self.state.borrow(), State::Failed(last) if *last == seen);
        if !self.becomes(State::Failed(seen), reopens) {
            return false;
        }
        if news {
            tracing::error!(
                mount = %self.id, place = %self.place, kind = ?error.kind, %error,
                "mount failed; it is tried again by itself, and the other mounts are not affected"
            );
        } else {
            tracing::debug!(mount = %self.id, %error, again_in_ms = again_in.as_millis() as u64, "mount still failed");
        }
        true
    }
}

/// What an application gets for everything inside a mount that could not be opened.
///
/// A bucket that does not exist is not a file that does not exist: `ENOENT` for a name that `ls` shows would send people
/// looking in the wrong place. Only errors about rights and time keep their kind.
fn as_seen_inside(id: &MountId, error: &Error) -> Error {
    let kind = match error.kind {
        ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::TimedOut => error.kind,
        _ => ErrorKind::Unavailable,
    };
    Error {
        kind,
        retry: Retry::AfterMs(1000),
        ..error.clone().context(format_args!("mount `{id}` is not available"))
    }
}
