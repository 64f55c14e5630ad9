//! The trait an author implements for a store of block images.

use crate::{
    Access, Body, Buffer, Description, Error, Extent, Geometry, Image, ImagePage, Info, Mount, Opened,
    Result, SavedState, Snapshot,
};
use std::future::Future;

/// A store of block images with snapshots: Ceph RBD, iSCSI, NBD.
///
/// The host shows each image as a file, with caching and read-ahead on top. Offsets and lengths are multiples of
/// [`Geometry::sector`] (the last range of an image may be shorter) and lie inside the image. Calls interleave at their awaits in one thread, so `RefCell` and `Rc` are fine, but hold
/// no `RefCell` borrow over an await.
///
/// Handles are numbers of the author's choice, valid from [`open_image`](Self::open_image) to [`close_image`](Self::close_image); a handle
/// that is not open is `stale`.
///
/// Implement the functions as `async fn`. What has a default below answers `unsupported`, and is not called at all unless
/// [`BlockCapabilities`](crate::BlockCapabilities) promises it.
///
/// ```
/// use wasmount_sdk::*;
///
/// /// One image in which every byte is zero.
/// struct Zeros(u64);
///
/// impl BlockStore for Zeros {
///     fn describe() -> Description {
///         let options = Options::new().size("size", "Size of the image.").default_value("1G");
///         Description::new("zeros", "0.1.0", "An image of zeros").scheme("zeros").options(options)
///     }
///
///     async fn open(mount: Mount) -> Result<(Self, Info)> {
///         let size = mount.settings.size("size")? / 4096 * 4096;
///         let info = Info::new(format!("zeros {size}"), "zeros", BlockCapabilities::read_only());
///         Ok((Self(size), info))
///     }
///
///     async fn list_images(&self, _: Option<String>, _: u32) -> Result<ImagePage> {
///         Ok(ImagePage { images: vec![self.get_image("zeros".into()).await?], next: None })
///     }
///
///     async fn get_image(&self, image: String) -> Result<Image> {
///         if image != "zeros" {
///             return Err(Error::not_found(format!("there is no image {image}")));
///         }
///         Ok(Image { name: image, size: self.0, modified: None, version: Some("1".into()) })
///     }
///
///     async fn open_image(&self, image: String, _: Option<String>, _: Access) -> Result<Opened> {
///         let version = self.get_image(image).await?.version;
///         Ok(Opened { handle: 1, geometry: self.refresh(1).await?, version })
///     }
///
///     async fn refresh(&self, _: u64) -> Result<Geometry> {
///         Ok(Geometry { size: self.0, sector: 4096, optimal: 1 << 22, discard: 0 })
///     }
///
///     async fn read(&self, _: u64, _: u64, length: u32) -> Result<Body> {
///         Body::assemble(vec![Piece::Zeros(length.into())])
///     }
///
///     async fn close_image(&self, _: u64) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// export_block_store!(Zeros);
/// # fn main() {}
/// ```
pub trait BlockStore: Sized + 'static {
    /// Who this plugin is and which options it takes. Constant, and made without calling the host: no log, no clock.
    fn describe() -> Description;

    /// Opens a mount: reads the options, connects, and says what it can do. One instance serves one mount.
    ///
    /// # Errors
    /// Fail now, with a sentence that names the option to change, rather than at the first read. `invalid`: options;
    /// `unauthenticated`, `denied`, `not-found`; after `unavailable` and `timed-out` the host tries again.
    fn open(mount: Mount) -> impl Future<Output = Result<(Self, Info)>>;

    /// One page of images, at most `limit`, from `continuation` of the page before.
    ///
    /// # Errors
    /// `stale` if the continuation is too old: the host begins again.
    fn list_images(
        &self,
        continuation: Option<String>,
        limit: u32,
    ) -> impl Future<Output = Result<ImagePage>>;

    /// One image, as [`list_images`](Self::list_images) shows it.
    ///
    /// # Errors
    /// `not-found`.
    fn get_image(&self, image: String) -> impl Future<Output = Result<Image>>;

    /// Opens an image, or one of its snapshots for reading.
    ///
    /// # Errors
    /// `not-found`; `busy`: somebody else has the exclusive lock; `unsupported`: the image has features this plugin does not know, the
    /// message lists them; `read-only`.
    fn open_image(
        &self,
        image: String,
        snapshot: Option<String>,
        how: Access,
    ) -> impl Future<Output = Result<Opened>>;

    /// Size and shape of an open image now.
    ///
    /// # Errors
    /// `stale`: the handle, or the image is gone.
    fn refresh(&self, handle: u64) -> impl Future<Output = Result<Geometry>>;

    /// Exactly so many bytes. Return buffers and [`Piece::Zeros`](crate::Piece::Zeros) put together with [`Body::assemble`]: payload
    /// then never enters the sandbox, and holes cost nothing.
    ///
    /// # Errors
    /// `out-of-range`: beyond the size; `stale`: the handle.
    fn read(&self, handle: u64, offset: u64, length: u32) -> impl Future<Output = Result<Body>>;

    /// Flushes, gives locks and watches back, and ends the handle, also when it fails.
    ///
    /// # Errors
    /// What is left behind.
    fn close_image(&self, handle: u64) -> impl Future<Output = Result<()>>;

    /// A cheap request that proves that the store answers and the credentials hold. By default a listing of one image.
    ///
    /// # Errors
    /// Those of [`list_images`](Self::list_images).
    fn check(&self) -> impl Future<Output = Result<()>> {
        async { self.list_images(None, 1).await.map(drop) }
    }

    /// State for the instance that will replace this one, given to it as [`Mount::resume`]. By default there is none.
    ///
    /// Not called yet by the host, which opens each instance without state.
    ///
    /// # Errors
    /// What made it impossible; the host then opens the next instance without state.
    fn export_state(&self) -> impl Future<Output = Result<Option<SavedState>>> {
        async { Ok(None) }
    }

    /// Gives sessions and locks back. No call follows. By default there is nothing to give back.
    ///
    /// # Errors
    /// What is left behind.
    fn close(&self) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// Snapshots of an image, oldest first. Called if [`BlockOperations::SNAPSHOTS`](crate::BlockOperations::SNAPSHOTS) is promised.
    ///
    /// # Errors
    /// `not-found`.
    fn list_snapshots(&self, image: String) -> impl Future<Output = Result<Vec<Snapshot>>> {
        async { refuse("list-snapshots", image) }
    }

    /// What is at `offset`, and how far that reaches inside `length` bytes. Whoever is not sure says that it is data. Called if
    /// [`BlockOperations::EXTENTS`](crate::BlockOperations::EXTENTS) is promised.
    ///
    /// # Errors
    /// `out-of-range`: beyond the size; `stale`: the handle.
    fn next_extent(&self, handle: u64, offset: u64, length: u64) -> impl Future<Output = Result<Extent>> {
        async move { refuse("next-extent", (handle, offset, length)) }
    }

    /// Writes all of the buffer, or fails. With `force_unit_access`, durable when it returns.
    ///
    /// # Errors
    /// `no-space`, `quota-exceeded`, `out-of-range`, `read-only`, `fenced`.
    fn write(
        &self,
        handle: u64,
        offset: u64,
        data: Buffer,
        force_unit_access: bool,
    ) -> impl Future<Output = Result<()>> {
        async move { refuse("write", (handle, offset, data, force_unit_access)) }
    }

    /// Makes a range zeros. With `free`, the space may be given back.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_zeroes(
        &self,
        handle: u64,
        offset: u64,
        length: u64,
        free: bool,
    ) -> impl Future<Output = Result<()>> {
        async move { refuse("write-zeroes", (handle, offset, length, free)) }
    }

    /// Says that nobody needs these bytes; they read as zeros or as before. Aligned to [`Geometry::discard`].
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn discard(&self, handle: u64, offset: u64, length: u64) -> impl Future<Output = Result<()>> {
        async move { refuse("discard", (handle, offset, length)) }
    }

    /// All writes that returned before this call are durable when it returns.
    ///
    /// # Errors
    /// What could not be made durable.
    fn flush(&self, handle: u64) -> impl Future<Output = Result<()>> {
        async move { refuse("flush", handle) }
    }
}

/// The answer of a store that cannot do this; drops what it was given.
fn refuse<T, A>(what: &str, arguments: A) -> Result<T> {
    drop(arguments);
    Err(Error::unsupported(format!("this plugin cannot do this: {what}")))
}
