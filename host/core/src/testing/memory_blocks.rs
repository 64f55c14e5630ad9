//! A store of block images in memory.

use super::memory_body::{MemoryBody, OpenBody};
use crate::ports::{
    BlockCapabilities, BlockStore, Body, BoxFuture, Extent, ExtentKind, Geometry, Image, ImageHandle,
    ImagePage, Snapshot,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx, Retry, Timestamp, Version};

/// Smallest unit of reads.
const SECTOR: u32 = 512;
/// What is never written in a stretch of so many bytes is a hole.
const CHUNK: usize = 64 * 1024;

/// Bytes with holes.
#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Content {
    fn resize(&mut self, size: usize) {
        self.bytes.resize(size, 0);
        self.written.resize(size.div_ceil(CHUNK), false);
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        for chunk in at / CHUNK..(at + bytes.len()).div_ceil(CHUNK) {
            self.written[chunk] = true;
        }
    }
}

#[derive(Clone)]
struct Taken {
    name: String,
    version: Version,
    created: Timestamp,
    content: Arc<Content>,
}

#[derive(Default)]
struct Stored {
    content: Content,
    modified: Option<Timestamp>,
    snapshots: Vec<Taken>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Stored>,
    /// Counts changes: versions and times come from it.
    tick: i64,
    /// Handles of earlier ones are stale.
    instance: u64,
    opens: usize,
    reads: usize,
}

/// A store of block images with snapshots, as a plugin with `block-operations` `snapshots` and `extents` is one.
pub struct MemoryBlocks {
    state: Mutex<State>,
    open: Arc<AtomicUsize>,
    bodies: Arc<AtomicUsize>,
    extents: bool,
    max_transfer: u32,
}

impl MemoryBlocks {
    /// An empty store, whose reads are of at most `max_transfer` bytes. Without `extents` nobody knows of its holes.
    pub fn new(max_transfer: u32, extents: bool) -> Arc<Self> {
        let (state, open, bodies) = (Mutex::default(), Arc::default(), Arc::default());
        Arc::new(Self { state, open, bodies, extents, max_transfer })
    }

    /// Makes an image of zeros, or gives one another size.
    pub fn resize(&self, image: &str, size: usize) {
        self.change(image, |stored| stored.content.resize(size));
    }

    /// Writes into an image, which must be as long.
    pub fn write(&self, image: &str, at: usize, bytes: &[u8]) {
        self.change(image, |stored| stored.content.write(at, bytes));
    }

    /// Takes a snapshot.
    pub fn snapshot(&self, image: &str, name: &str) {
        let mut state = self.lock();
        state.tick += 1;
        let (version, created) = (Version::new(format!("snap:{}", state.tick)), time(state.tick));
        if let Some(stored) = state.images.get_mut(image) {
            let content = Arc::new(stored.content.clone());
            stored.snapshots.retain(|taken| taken.name != name);
            stored.snapshots.push(Taken { name: name.to_owned(), version, created, content });
        }
    }

    /// Removes a snapshot.
    pub fn remove_snapshot(&self, image: &str, name: &str) {
        if let Some(stored) = self.lock().images.get_mut(image) {
            stored.snapshots.retain(|taken| taken.name != name);
        }
    }

    /// Removes an image with its snapshots.
    pub fn remove(&self, image: &str) {
        self.lock().images.remove(image);
    }

    /// Whoever has an image open has to open it again: the plugin was started anew.
    pub fn restart(&self) {
        self.lock().instance += 1;
    }

    /// Bytes of an image, or of a snapshot, as they are now.
    pub fn content(&self, image: &str, snapshot: Option<&str>) -> Option<Vec<u8>> {
        self.find(image, snapshot).ok().map(|(content, ..)| content.bytes.clone())
    }

    /// Handles that are open.
    pub fn open_handles(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Times an image was opened, and reads, so far.
    pub fn requests(&self) -> (usize, usize) {
        let state = self.lock();
        (state.opens, state.reads)
    }

    fn change(&self, image: &str, change: impl FnOnce(&mut Stored)) {
        let mut state = self.lock();
        state.tick += 1;
        let now = time(state.tick);
        let stored = state.images.entry(image.to_owned()).or_default();
        change(stored);
        stored.modified = Some(now);
    }

    /// The bytes of an image or a snapshot now, and its version.
    fn find(&self, image: &str, snapshot: Option<&str>) -> Result<(Arc<Content>, Option<Version>), Error> {
        let state = self.lock();
        let stored = state.images.get(image).ok_or_else(|| Error::not_found(image))?;
        let Some(name) = snapshot else { return Ok((Arc::new(stored.content.clone()), None)) };
        let taken = stored.snapshots.iter().find(|taken| taken.name == name);
        let taken = taken.ok_or_else(|| Error::not_found(format_args!("{image}@{name}")))?;
        Ok((taken.content.clone(), Some(taken.version.clone())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn time(tick: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + tick, nanoseconds: 0 }
}

fn shown(name: &str, stored: &Stored) -> Image {
    let size = stored.content.bytes.len() as u64;
    Image { name: name.to_owned(), size, modified: stored.modified, version: None }
}

impl MemoryBlocks {
    /// A page of two images, so that few are enough to see several.
    fn page(&self, continuation: Option<String>, limit: u32) -> ImagePage {
        let state = self.lock();
        let after = continuation.unwrap_or_default();
        let mut images =
            state.images.iter().filter(|(name, _)| **name > after).map(|(name, stored)| shown(name, stored));
        let page = images.by_ref().take(limit.min(2) as usize).collect::<Vec<_>>();
        let next = images.next().and(page.last()).map(|image| image.name.clone());
        ImagePage { images: page, next }
    }

    fn snapshots(&self, image: &str) -> Result<Vec<Snapshot>, Error> {
        let state = self.lock();
        let stored = state.images.get(image).ok_or_else(|| Error::not_found(image))?;
        let snapshot = |taken: &Taken| Snapshot {
            name: taken.name.clone(),
            size: taken.content.bytes.len() as u64,
            created: Some(taken.created),
            version: taken.version.clone(),
        };
        Ok(stored.snapshots.iter().map(snapshot).collect())
    }
}

/// The store itself, for handles that outlive a borrow of it.
#[derive(Clone)]
struct Handle {
    store: Arc<MemoryBlocks>,
    image: String,
    snapshot: Option<String>,
    instance: u64,
    geometry: Geometry,
    /// The size that was told last.
    told: Arc<AtomicU64>,
    version: Option<Version>,
}

/// Closes what it is dropped with.
struct OpenHandle(Handle);

impl Drop for OpenHandle {
    fn drop(&mut self) {
        self.0.store.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handle {
    fn content(&self) -> Result<Arc<Content>, Error> {
        if self.store.lock().instance != self.instance {
            return Err(Error::new(ErrorKind::Stale, Blame::Host, "the plugin was started again"));
        }
        let (content, version) = self.store.find(&self.image, self.snapshot.as_deref())?;
        // Another snapshot of the same name is another one.
        if version == self.version { Ok(content) } else { Err(Error::not_found(&self.image)) }
    }

    /// The bytes of a range, checked as a plugin would.
    fn range(&self, offset: u64, length: u64) -> Result<(Arc<Content>, usize, usize), Error> {
        let content = self.content()?;
        let size = content.bytes.len() as u64;
        let end = offset + length;
        let told = self.told.load(Ordering::SeqCst);
        let aligned =
            offset.is_multiple_of(SECTOR.into()) && (end.is_multiple_of(SECTOR.into()) || end == told);
        if length == 0 || !aligned {
            let message = format!("{length} bytes from {offset} on of {size}");
            return Err(Error::new(ErrorKind::Invalid, Blame::Host, message));
        }
        if end > size {
            return Err(Error::new(ErrorKind::OutOfRange, Blame::Caller, format!("{end} of {size}")));
        }
        Ok((content, offset as usize, end as usize))
    }
}

/// [`MemoryBlocks`] as core sees it.
pub struct MemoryBlockStore(pub Arc<MemoryBlocks>);

impl BlockStore for MemoryBlockStore {
    fn capabilities(&self) -> BlockCapabilities {
        let MemoryBlocks { extents, max_transfer, .. } = *self.0;
        BlockCapabilities { snapshots: true, extents, max_transfer }
    }

    fn list_images(
        &self,
        _ctx: RequestCtx,
        continuation: Option<String>,
        limit: u32,
    ) -> BoxFuture<'_, Result<ImagePage, Error>> {
        Box::pin(async move { Ok(self.0.page(continuation, limit)) })
    }

    fn get_image(&self, _ctx: RequestCtx, image: String) -> BoxFuture<'_, Result<Image, Error>> {
        Box::pin(async move {
            let state = self.0.lock();
            let found = state.images.get(&image).map(|stored| shown(&image, stored));
            found.ok_or_else(|| Error::not_found(&image))
        })
    }

    fn list_snapshots(&self, _ctx: RequestCtx, image: String) -> BoxFuture<'_, Result<Vec<Snapshot>, Error>> {
        Box::pin(async move { self.0.snapshots(&image) })
    }

    fn open_image(
        &self,
        _ctx: RequestCtx,
        image: String,
        snapshot: Option<String>,
    ) -> BoxFuture<'_, Result<Arc<dyn ImageHandle>, Error>> {
        Box::pin(async move {
            let (content, version) = self.0.find(&image, snapshot.as_deref())?;
            let size = content.bytes.len() as u64;
            let instance = {
                let mut state = self.0.lock();
                state.opens += 1;
                state.instance
            };
            self.0.open.fetch_add(1, Ordering::SeqCst);
            let geometry = Geometry { size, sector: SECTOR, optimal: CHUNK as u32 };
            let store = self.0.clone();
            let told = Arc::new(AtomicU64::new(size));
            let handle = Handle { store, image, snapshot, instance, geometry, told, version };
            Ok(Arc::new(OpenHandle(handle)) as Arc<dyn ImageHandle>)
        })
    }
}

impl ImageHandle for OpenHandle {
    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    fn version(&self) -> Option<&Version> {
        self.0.version.as_ref()
    }

    fn refresh(&self, _ctx: RequestCtx) -> BoxFuture<'_, Result<Geometry, Error>> {
        Box::pin(async move {
            let size = self.0.content()?.bytes.len() as u64;
            self.0.told.store(size, Ordering::SeqCst);
            Ok(Geometry { size, ..self.0.geometry })
        })
    }

    fn read(
        &self,
        _ctx: RequestCtx,
        offset: u64,
        length: u32,
    ) -> BoxFuture<'_, Result<Box<dyn Body>, Error>> {
        Box::pin(async move {
            self.0.store.lock().reads += 1;
            if length > self.0.store.max_transfer {
                let message = format!("{length} bytes at once");
                return Err(Error::new(ErrorKind::Invalid, Blame::Host, message).with_retry(Retry::Never));
            }
            let (content, from, to) = self.0.range(offset, length.into())?;
            let rest = Bytes::copy_from_slice(&content.bytes[from..to]);
            let body = MemoryBody {
                rest,
                chunk: 100_000,
                delay: Duration::ZERO,
                break_after: None,
                clean: false,
                _open: OpenBody::new(&self.0.store.bodies),
            };
            Ok(Box::new(body) as Box<dyn Body>)
        })
    }

    fn next_extent(
        &self,
        _ctx: RequestCtx,
        offset: u64,
        length: u64,
    ) -> BoxFuture<'_, Result<Extent, Error>> {
        Box::pin(async move {
            let (content, from, to) = self.0.range(offset, length)?;
            let kind = |chunk: usize| {
                if content.written[chunk] { ExtentKind::Data } else { ExtentKind::Hole }
            };
            // No further than the chunk: the next extent may well be of the same kind.
            let end = ((from / CHUNK + 1) * CHUNK).min(to);
            Ok(Extent { kind: kind(from / CHUNK), length: (end - from) as u64 })
        })
    }
}
