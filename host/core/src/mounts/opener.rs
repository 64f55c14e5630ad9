//! Opens a mount's provider in the background, and again whenever that is needed.
//!
//! A mount is *opening*, *ready* or *failed*. A failed one tries again by itself, after 1 to 30 seconds, and after an
//! access once the last failure is a second old: it recovers without anybody's help. Its directory exists all the time.

use super::Place;
use super::config::MountConfig;
use super::volume::Volume;
use crate::blocks::ImageFs;
use crate::objects::{ObjectFs, ObjectFsConfig};
use crate::ports::{Clock, Provider, ProviderInfo, ProviderSource, Spawn};
use crate::wait::{bounded, jittered};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use wasmount_types::{Blame, Error, ErrorKind, MountId, RequestCtx, Retry};

/// How long an operation waits for a mount that is being opened.
const OPENING_WAIT: Duration = Duration::from_secs(10);
/// Pause after the first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// Youngest failure after which an access leads to another attempt.
const ACCESS_PAUSE: Duration = Duration::from_secs(1);

/// How far a mount is.
#[derive(Clone)]
pub(super) enum State {
    /// The first attempt, or one after the provider asked to be opened again, is under way.
    Opening,
    /// It works.
    Ready(Volume),
    /// The last attempt failed.
    Failed(Error),
}

/// One mount of the table.
pub(super) struct Mount {
    pub(super) id: MountId,
    pub(super) place: Place,
    pub(super) config: ObjectFsConfig,
    /// It was opened as a store of block images.
    images: AtomicBool,
    source: Arc<dyn ProviderSource>,
    state: watch::Sender<State>,
    /// Somebody needs it, or needs it anew.
    wanted: Notify,
    request_timeout: Duration,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
}

impl Mount {
    pub(super) fn new(
        config: MountConfig,
        request_timeout: Duration,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
    ) -> Self {
        Self {
            id: config.id,
            place: config.place,
            config: config.objects,
            images: AtomicBool::new(false),
            source: config.source,
            state: watch::Sender::new(State::Opening),
            wanted: Notify::new(),
            request_timeout,
            clock,
            spawn,
        }
    }

    /// What is behind the mount.
    ///
    /// # Errors
    /// While it is failed, at once why; while it is opening, `timed-out` after ten seconds.
    pub(super) async fn ready(&self, ctx: RequestCtx) -> Result<Volume, Error> {
        let mut state = self.state.subscribe();
        let settled = async {
            match state.wait_for(|state| !matches!(state, State::Opening)).await.map(|state| state.clone()) {
                Ok(State::Ready(volume)) => Ok(volume),
                Ok(State::Failed(error)) => {
                    self.wanted.notify_one();
                    Err(error)
                }
                Ok(State::Opening) | Err(_) => {
                    Err(Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping"))
                }
            }
        };
        let deadline = ctx.deadline.min(self.clock.now() + OPENING_WAIT);
        bounded(
            &*self.clock,
            RequestCtx { deadline, ..ctx },
            &format!("opening mount `{}`", self.id),
            settled,
        )
        .await
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

    /// Takes note of an error: some mean that the provider has to be opened again.
    pub(super) fn report(&self, volume: &Volume, error: &Error) {
        if error.retry != Retry::Reopen {
            return;
        }
        let reopen = self.state.send_if_modified(|state| {
            let current = matches!(state, State::Ready(now) if now.is(volume));
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
        loop {
            match self.open().await {
                Ok((volume, info)) => {
                    pause = FIRST_PAUSE;
                    tracing::info!(mount = %self.id, place = %self.place, title = %info.title, "mount is ready");
                    for warning in &info.warnings {
                        tracing::warn!(mount = %self.id, "{warning}");
                    }
                    self.state.send_replace(State::Ready(volume));
                    while matches!(*self.state.borrow(), State::Ready(_)) {
                        self.wanted.notified().await;
                    }
                }
                Err(error) => {
                    let again_in = jittered(pause);
                    self.failed(error, again_in);
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

    async fn open(&self) -> Result<(Volume, ProviderInfo), Error> {
        let ctx = RequestCtx::internal(self.clock.now() + self.request_timeout);
        let (provider, info) = bounded(&*self.clock, ctx, "opening the mount", self.source.open(ctx)).await?;
        let (id, cache, config) = (self.id.clone(), info.cache.clone(), self.config.clone());
        let (timeout, clock, spawn) = (self.request_timeout, self.clock.clone(), self.spawn.clone());
        let volume = match provider {
            Provider::Objects(store) => {
                Volume::Objects(Arc::new(ObjectFs::new(id, store, cache, config, timeout, clock, spawn)))
            }
            Provider::Blocks(store) => {
                self.images.store(true, Ordering::Relaxed);
                Volume::Images(Arc::new(ImageFs::new(id, store, cache, config, timeout, clock, spawn)))
            }
        };
        Ok((volume, info))
    }

    fn failed(&self, error: Error, again_in: Duration) {
        let seen = as_seen_inside(&self.id, &error);
        let news = !matches!(&*self.state.borrow(), State::Failed(last) if *last == seen);
        if news {
            tracing::error!(
                mount = %self.id, place = %self.place, kind = ?error.kind, %error,
                "mount failed; it is tried again by itself, and the other mounts are not affected"
            );
        } else {
            tracing::debug!(mount = %self.id, %error, again_in_ms = again_in.as_millis() as u64, "mount still failed");
        }
        self.state.send_replace(State::Failed(seen));
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
