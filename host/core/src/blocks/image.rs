//! An image as all who read it share it: opened when it is needed, and again when what it was opened in is gone.

use super::names::Spec;
use crate::fs::Seek;
use crate::ports::{BlockStore, BoxFuture, Clock, ExtentKind, Geometry, ImageHandle, Spawn};
use crate::read::{Fetched, PIECE, Source, Wanted};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Mutex as AsyncMutex;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx, Version};

/// An image that nobody has used for so long is closed; whoever needs it opens it again.
const IDLE: Duration = Duration::from_secs(60);

/// Handles tried for one request: the one that is there, and a fresh one if that turns out to be stale.
const ATTEMPTS: u32 = 2;

/// One version of an image, or a live one.
///
/// # Locking
/// `current` is held while the image is being opened, so that many who need it open it once. `seen` is a leaf.
pub(crate) struct SharedImage {
    me: Weak<Self>,
    store: Arc<dyn BlockStore>,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    /// Name of its file.
    shown: Arc<str>,
    /// `None`: it is live.
    version: Option<Version>,
    current: AsyncMutex<Option<Arc<dyn ImageHandle>>>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Its shape, as of the last time that somebody looked.
    geometry: Geometry,
    used: Instant,
}

impl SharedImage {
    /// The image behind the file `shown`, which must be of this version; not opened yet.
    pub(super) fn new(
        store: Arc<dyn BlockStore>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
        shown: Arc<str>,
        version: Option<Version>,
    ) -> Arc<Self> {
        let geometry = Geometry { size: 0, sector: 1, optimal: 1 };
        let seen = Mutex::new(Seen { geometry, used: clock.now() });
        let current = AsyncMutex::new(None);
        Arc::new_cyclic(|me| Self { me: me.clone(), store, clock, spawn, shown, version, current, seen })
    }

    /// Makes sure that it can be opened.
    pub(crate) async fn open(&self, ctx: RequestCtx) -> Result<(), Error> {
        self.handle(ctx).await.map(drop)
    }

    /// Looks at its shape now. Its size is what it is known to have from then on.
    pub(super) async fn refresh(&self, ctx: RequestCtx) -> Result<Geometry, Error> {
        let fresh = |handle: Arc<dyn ImageHandle>| async move { handle.refresh(ctx).await };
        let geometry = self.with_handle(ctx, fresh).await?;
        self.seen().geometry = geometry;
        Ok(geometry)
    }

    /// Where data or a hole is next, at or after `offset`, in the first `size` bytes: `lseek(2)`.
    ///
    /// # Errors
    /// `out-of-range`: at or beyond the end, or no data up to there.
    pub(crate) async fn seek(
        &self,
        ctx: RequestCtx,
        size: u64,
        offset: u64,
        what: Seek,
    ) -> Result<u64, Error> {
        let beyond = || {
            let message = format!("nothing to be found at or after byte {offset} of {}", self.shown);
            Error::new(ErrorKind::OutOfRange, Blame::Caller, message)
        };
        if offset >= size {
            return Err(beyond());
        }
        let known = self.store.capabilities().extents;
        let mut at = offset;
        while at < size {
            // What is not known to be a hole is data.
            let (kind, end) =
                if known { self.extent(ctx, at, size).await? } else { (ExtentKind::Data, size) };
            match (kind, what) {
                (ExtentKind::Data, Seek::Data) | (ExtentKind::Hole, Seek::Hole) => return Ok(at),
                (ExtentKind::Data, Seek::Hole) | (ExtentKind::Hole, Seek::Data) => at = end,
            }
        }
        match what {
            Seek::Data => Err(beyond()),
            // There is a hole behind every file.
            Seek::Hole => Ok(size),
        }
    }

    /// What is at `at`, and where that ends.
    async fn extent(&self, ctx: RequestCtx, at: u64, size: u64) -> Result<(ExtentKind, u64), Error> {
        let ask = |handle: Arc<dyn ImageHandle>| async move {
            let geometry = self.seen().geometry;
            let start = down(at, geometry.sector);
            let until = up(size, geometry.sector).min(geometry.size);
            if until <= at {
                return Err(self.shrunk(geometry.size));
            }
            let extent = handle.next_extent(ctx, start, until - start).await?;
            Ok((extent.kind, start.saturating_add(extent.length)))
        };
        let (kind, end) = self.with_handle(ctx, ask).await?;
        if end <= at {
            let message = format!("an extent of {} that ends where it begins", self.shown);
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        Ok((kind, end.min(size)))
    }

    /// Does something with an open handle; once more with a fresh one if that was stale: the plugin was started again.
    async fn with_handle<R, F>(
        &self,
        ctx: RequestCtx,
        work: impl Fn(Arc<dyn ImageHandle>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<R, Error>>,
    {
        let mut attempt = 1;
        loop {
            let handle = self.handle(ctx).await?;
            match work(handle.clone()).await {
                Err(error) if error.kind == ErrorKind::Stale && attempt < ATTEMPTS => {
                    tracing::debug!(image = %self.shown, %error, "the image is opened again");
                    attempt += 1;
                    self.close_if(|current| Arc::ptr_eq(current, &handle)).await;
                }
                // It was removed under the open file.
                Err(error) if error.kind == ErrorKind::NotFound => return Err(Error::stale(&self.shown)),
                outcome => return outcome,
            }
        }
    }

    /// The open image.
    async fn handle(&self, ctx: RequestCtx) -> Result<Arc<dyn ImageHandle>, Error> {
        let mut current = self.current.lock().await;
        self.seen().used = self.clock.now();
        if let Some(handle) = &*current {
            return Ok(handle.clone());
        }
        for Spec { image, snapshot } in Spec::of(&self.shown) {
            match self.store.open_image(ctx, image, snapshot).await {
                Ok(handle) if handle.version() == self.version.as_ref() => {
                    self.seen().geometry = handle.geometry();
                    *current = Some(handle.clone());
                    self.close_when_idle();
                    return Ok(handle);
                }
                // Another one of the same name.
                Ok(_) => {}
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error.context(&self.shown)),
            }
        }
        Err(Error::stale(&self.shown))
    }

    async fn close_if(&self, which: impl FnOnce(&Arc<dyn ImageHandle>) -> bool) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(which) {
            *current = None;
        }
    }

    fn close_when_idle(&self) {
        let (me, clock) = (self.me.clone(), self.clock.clone());
        self.spawn.spawn(Box::pin(async move {
            loop {
                let Some(image) = me.upgrade() else { return };
                let idle = clock.now().saturating_duration_since(image.seen().used);
                if idle >= IDLE {
                    return image.close_if(|_| true).await;
                }
                drop(image);
                tokio::time::sleep(IDLE - idle).await;
            }
        }));
    }

    async fn get(&self, ctx: RequestCtx, wanted: Wanted<'_>) -> Result<Fetched, Error> {
        let most = self.store.capabilities().max_transfer;
        let ask = |handle: Arc<dyn ImageHandle>| async move {
            let geometry = self.seen().geometry;
            if geometry.size < wanted.until {
                return Err(self.shrunk(geometry.size));
            }
            let offset = down(wanted.from, geometry.sector);
            let until = up(wanted.until, geometry.sector).min(geometry.size);
            let length = (until - offset).min(down(most.into(), geometry.sector));
            let length = u32::try_from(length).unwrap_or(most);
            let content = handle.read(ctx, offset, length).await.map_err(|error| match error.kind {
                ErrorKind::OutOfRange => self.shrunk(geometry.size).context(error),
                _ => error,
            })?;
            let until = offset.saturating_add(length.into());
            Ok(Fetched { offset, until, content, pinned: self.version.is_some() })
        };
        self.with_handle(ctx, ask).await
    }

    /// It does not have as many bytes as it had, which was `size` when somebody looked last: a live image may get shorter.
    fn shrunk(&self, size: u64) -> Error {
        let kind = if self.version.is_some() { ErrorKind::Corrupt } else { ErrorKind::OutOfRange };
        Error::new(kind, Blame::Origin, format!("{} had {size} bytes and is shorter by now", self.shown))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn down(at: u64, sector: u32) -> u64 {
    at - at % u64::from(sector.max(1))
}

fn up(at: u64, sector: u32) -> u64 {
    at.checked_next_multiple_of(sector.max(1).into()).unwrap_or(at)
}

impl Source for SharedImage {
    fn ranges(&self) -> bool {
        true
    }

    fn piece(&self) -> Option<u64> {
        Some(PIECE.min(self.store.capabilities().max_transfer.into()))
    }

    fn fetch<'a>(&'a self, ctx: RequestCtx, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.get(ctx, wanted))
    }
}
