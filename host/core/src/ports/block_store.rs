//! The read half of a store of block images: what a provider of kind `blocks` implements (`wit/blocks.wit`).

use super::{Body, BoxFuture};
use std::sync::Arc;
use wasmount_types::{Error, RequestCtx, Timestamp, Version};

/// What an open block store can do; a promise that holds until it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCapabilities {
    /// [`BlockStore::list_snapshots`] works, and opening one.
    pub snapshots: bool,
    /// [`ImageHandle::next_extent`] works.
    pub extents: bool,
    /// Largest single read in bytes; at least one sector of any of its images.
    pub max_transfer: u32,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, unique in the mount.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Last change, if known.
    pub modified: Option<Timestamp>,
    /// Names its bytes if they cannot change; `None`: it is live, others may write it at any time.
    pub version: Option<Version>,
}

/// One page of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePage {
    /// Images, in any order, each once.
    pub images: Vec<Image>,
    /// Position of the next page; `None`: this was the last.
    pub next: Option<String>,
}

/// A snapshot of an image. Its bytes never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name, unique in the image.
    pub name: String,
    /// Size of the image at that moment, in bytes.
    pub size: u64,
    /// When it was taken, if known.
    pub created: Option<Timestamp>,
    /// Names its bytes for ever.
    pub version: Version,
}

/// Shape of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Its size in bytes.
    pub size: u64,
    /// Smallest unit of reads in bytes: 512 or 4096.
    pub sector: u32,
    /// Unit that is cheapest to read whole, in bytes.
    pub optimal: u32,
}

/// What a stretch of an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes that were written, as far as is known.
    Data,
    /// Nothing was ever written there: reads are zeros.
    Hole,
}

/// A stretch of one kind. The next one may be of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// What it holds.
    pub kind: ExtentKind,
    /// Its length in bytes; never 0, never more than was asked about.
    pub length: u64,
}

/// An open store of block images.
///
/// Every call ends by `ctx.deadline`, with `timed-out` if need be. Calls may be dropped at any time.
pub trait BlockStore: Send + Sync + 'static {
    /// What it can do.
    fn capabilities(&self) -> BlockCapabilities;

    /// At most `limit` images, from [`ImagePage::next`] of the page before.
    fn list_images(
        &self,
        ctx: RequestCtx,
        continuation: Option<String>,
        limit: u32,
    ) -> BoxFuture<'_, Result<ImagePage, Error>>;

    /// One image. `not-found`.
    fn get_image(&self, ctx: RequestCtx, image: String) -> BoxFuture<'_, Result<Image, Error>>;

    /// Snapshots of an image, oldest first. Only with the capability. `not-found`.
    fn list_snapshots(&self, ctx: RequestCtx, image: String) -> BoxFuture<'_, Result<Vec<Snapshot>, Error>>;

    /// Opens an image, or one of its snapshots, for reading.
    ///
    /// # Errors
    /// `not-found`; `unsupported`: the image has features that the provider does not know, the message lists them.
    fn open_image(
        &self,
        ctx: RequestCtx,
        image: String,
        snapshot: Option<String>,
    ) -> BoxFuture<'_, Result<Arc<dyn ImageHandle>, Error>>;
}

/// An open image. Dropping it closes it; nobody waits for that.
///
/// It does not survive what it was opened in: after that each call says `stale`, and the image has to be opened again.
pub trait ImageHandle: Send + Sync + 'static {
    /// Its shape when it was opened.
    fn geometry(&self) -> Geometry;

    /// Names its bytes if they cannot change; `None`: others may write it at any time.
    fn version(&self) -> Option<&Version>;

    /// Its shape now.
    fn refresh(&self, ctx: RequestCtx) -> BoxFuture<'_, Result<Geometry, Error>>;

    /// Exactly `length` bytes from `offset`, both multiples of the sector but for a range that ends with the image, and no more than
    /// [`BlockCapabilities::max_transfer`]. Holes come as zeros, and cost no request.
    ///
    /// # Errors
    /// `out-of-range`: beyond the size; `stale`: this handle.
    fn read(&self, ctx: RequestCtx, offset: u64, length: u32) -> BoxFuture<'_, Result<Box<dyn Body>, Error>>;

    /// What is at `offset`, and how far that reaches inside `length` bytes, aligned as for a read. Only with the capability.
    ///
    /// # Errors
    /// `out-of-range`: beyond the size; `stale`: this handle.
    fn next_extent(&self, ctx: RequestCtx, offset: u64, length: u64) -> BoxFuture<'_, Result<Extent, Error>>;
}
