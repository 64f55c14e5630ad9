//! A store of block images as a directory of files.
//!
//! An image is a file, and each of its snapshots is one beside it (`names`). What a name stands for is learned by asking for
//! it, or from the listing of all (`load`), as with an object store; the newest answer wins. A file whose bytes have a version is
//! like an object: a node for each version, kept in memory, on disk and by the kernel. One without is *live*: one node
//! for good, whose size and bytes are looked at again at each open (`live`).
//!
//! However many have a file open, the image behind it is opened once, and closed when nobody reads any more (`image`).

mod image;
mod live;
mod load;
mod lookup;
mod names;

pub(crate) use image::SharedImage;
pub(crate) use live::LiveImage;

use crate::context::MountContext;
use crate::inode::FileVersion;
use crate::objects::{Child, Flights, Known, KnownNames, Listed, Listing, ObjectFsConfig};
use crate::ports::{BlockCapabilities, BlockStore, CacheIdentity, Clock, Image, Snapshot, Spawn};
use crate::read::Reading;
use crate::wait::bounded;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use wasmount_types::{Error, Ino, MountId, RequestCtx, Version};

/// How long size and times of a live image hold, unless `attr-ttl` is shorter. Opening it looks anew in any case.
const LIVE_TTL: Duration = Duration::from_secs(5);

/// Entries of a table of open images below which it is never cleaned.
const CLEAN_AT: usize = 64;

/// A file of the mount: its name, and its version unless it is live.
type FileKey = (Arc<str>, Option<Version>);

/// An open block store as files.
pub struct ImageFs {
    id: MountId,
    store: Arc<dyn BlockStore>,
    cache: Option<CacheIdentity>,
    caps: BlockCapabilities,
    config: ObjectFsConfig,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    request_timeout: Duration,
    listing: Mutex<Option<Arc<Listing>>>,
    known: KnownNames,
    asking: Flights<Option<Listed>>,
    open: Mutex<HashMap<FileKey, Weak<SharedImage>>>,
    live: Mutex<HashMap<Arc<str>, Weak<LiveImage>>>,
}

impl ImageFs {
    /// Files over an open store.
    pub fn new(context: MountContext, store: Arc<dyn BlockStore>) -> Self {
        let MountContext { id, cache, config, request_timeout, clock, spawn } = context;
        Self {
            id,
            caps: store.capabilities(),
            store,
            cache,
            clock,
            spawn,
            request_timeout,
            listing: Mutex::default(),
            known: KnownNames::new(config.attr_ttl),
            asking: Flights::new(),
            open: Mutex::default(),
            live: Mutex::default(),
            config,
        }
    }

    /// Whose bytes these are in the block cache; `None`: they are not cached.
    pub fn cache(&self) -> Option<&CacheIdentity> {
        self.cache.as_ref()
    }

    /// Bytes and files in the last listing.
    pub fn totals(&self) -> (u64, u64) {
        lock(&self.listing).as_ref().map_or((0, 0), |listing| {
            let (files, bytes, ..) = listing.totals();
            (bytes, files as u64)
        })
    }

    /// All files, being listed or listed less than `attr-ttl` ago.
    pub fn list(self: &Arc<Self>) -> Arc<Listing> {
        let now = self.clock.now();
        let mut current = lock(&self.listing);
        if let Some(listing) = &*current {
            let young = now.saturating_duration_since(listing.started) < self.config.attr_ttl;
            if listing.is_loading() || (listing.is_complete() && young) {
                return listing.clone();
            }
        }
        let listing = Arc::new(Listing::new(String::new(), false, now));
        *current = Some(listing.clone());
        drop(current);
        self.spawn.spawn(Box::pin(load::load(self.clone(), listing.clone())));
        listing
    }

    /// How long the kernel may go on believing what a name stands for.
    pub fn ttl_left(&self, listed: &Listed) -> Duration {
        let age = self.clock.now().saturating_duration_since(listed.at);
        self.ttl(&listed.child).saturating_sub(age)
    }

    fn ttl(&self, child: &Child) -> Duration {
        match child {
            Child::Live(_) => self.config.attr_ttl.min(LIVE_TTL),
            Child::Directory | Child::File(_) => self.config.attr_ttl,
        }
    }

    /// The bytes of a file that has a version, the same for all who have it open.
    pub(crate) fn image(&self, path: &Arc<str>, version: Option<&Version>) -> Arc<SharedImage> {
        let key = (path.clone(), version.cloned());
        let mut open = lock(&self.open);
        if let Some(image) = open.get(&key).and_then(Weak::upgrade) {
            return image;
        }
        if open.len() >= CLEAN_AT {
            open.retain(|_, image| image.strong_count() > 0);
        }
        let (store, clock, spawn) = (self.store.clone(), self.clock.clone(), self.spawn.clone());
        let image = SharedImage::new(store, clock, spawn, path.clone(), version.cloned());
        open.insert(key, Arc::downgrade(&image));
        image
    }

    /// Opens a live image for one more reader, or looks at it again: what was read of it before does not count any more.
    ///
    /// # Errors
    /// `stale`: it is gone, or no longer live; else what the store says.
    pub(crate) async fn open_live(
        &self,
        ctx: RequestCtx,
        reading: &Arc<Reading>,
        ino: Ino,
        path: &Arc<str>,
    ) -> Result<Arc<LiveImage>, Error> {
        let image = self.image(path, None);
        let at = self.clock.now();
        let size = image.refresh(ctx).await?.size;
        if self.note_size(path, size, at) {
            reading.outdated(ino);
        }
        let open = self.begin_live(reading, ino, path, image, size);
        // Pages of before, and those that are still on their way to the kernel. It drops its own at each open, but not the latter.
        if let Some(kernel) = reading.page_cache() {
            let dropped = async { Ok(kernel.drop_pages(ino, None).await) };
            bounded(&*self.clock, ctx, "dropping the pages of a live image", dropped).await?;
        }
        Ok(open)
    }

    /// The live image for those who have it open, of whom there is one more.
    fn begin_live(
        &self,
        reading: &Arc<Reading>,
        ino: Ino,
        path: &Arc<str>,
        image: Arc<SharedImage>,
        size: u64,
    ) -> Arc<LiveImage> {
        let mut live = lock(&self.live);
        if let Some(open) = live.get(path).and_then(Weak::upgrade) {
            open.begin_anew(size);
            return open;
        }
        if live.len() >= CLEAN_AT {
            live.retain(|_, image| image.strong_count() > 0);
        }
        let open = Arc::new(LiveImage::new(image, reading.clone(), ino, path, size));
        live.insert(path.clone(), Arc::downgrade(&open));
        open
    }

    /// Remembers the size of a live image; true if another one was known.
    fn note_size(&self, path: &str, size: u64, at: Instant) -> bool {
        let before = match self.newest(path) {
            Some((Known::Found(Child::Live(file)), _)) => Some(file),
            _ => None,
        };
        let differs = before.as_ref().is_some_and(|file| file.size != size);
        let modified = before.and_then(|file| file.modified);
        let child = Child::Live(FileVersion { version: None, size, modified });
        self.known.set(path, Known::Found(child), at);
        differs
    }

    /// Remembers what a name stands for. Those who have a live image open learn that it has another size.
    fn remember(&self, path: &str, child: Child, at: Instant) {
        if let Child::Live(file) = &child
            && let Some(open) = lock(&self.live).get(path).and_then(Weak::upgrade)
            && open.size() != file.size
        {
            open.begin_anew(file.size);
        }
        self.known.set(path, Known::Found(child), at);
    }
}

/// An image as a file.
fn image_file(image: &Image) -> Child {
    let file = FileVersion { version: image.version.clone(), size: image.size, modified: image.modified };
    if file.version.is_some() { Child::File(file) } else { Child::Live(file) }
}

/// A snapshot as a file.
fn snapshot_file(snapshot: &Snapshot) -> Child {
    let version = Some(snapshot.version.clone());
    Child::File(FileVersion { version, size: snapshot.size, modified: snapshot.created })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
