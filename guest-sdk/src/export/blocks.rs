//! The exports of a block store.

use super::{export_lifecycle, store};
use crate::bindings::blocks::exports::wasmount::plugin::blocks;
use crate::{BlockStore, Body, Buffer, Result};
use std::marker::PhantomData;

/// Makes a type that implements [`BlockStore`] the component's exports. Once per crate.
///
/// In a native build, for tests, it only checks the type: the names that components export are none that a native linker takes.
///
/// ```
/// # struct MyStore;
/// # mod elsewhere {
/// # use wasmount_sdk::*;
/// # impl BlockStore for super::MyStore {
/// #     fn describe() -> Description { Description::new("my", "0.1.0", "") }
/// #     async fn open(_: Mount) -> Result<(Self, Info)> { Err(Error::unsupported("")) }
/// #     async fn list_images(&self, _: Option<String>, _: u32) -> Result<ImagePage> { Err(Error::unsupported("")) }
/// #     async fn get_image(&self, _: String) -> Result<Image> { Err(Error::unsupported("")) }
/// #     async fn open_image(&self, _: String, _: Option<String>, _: Access) -> Result<Opened> { Err(Error::unsupported("")) }
/// #     async fn read(&self, _: u64, _: u64, _: u32) -> Result<Body> { Err(Error::unsupported("")) }
/// #     async fn refresh(&self, _: u64) -> Result<Geometry> { Err(Error::unsupported("")) }
/// #     async fn close_image(&self, _: u64) -> Result<()> { Ok(()) }
/// # }
/// # }
/// wasmount_sdk::export_block_store!(MyStore);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_block_store {
    ($store:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Store = $crate::__export::Blocks<$store>;
    $crate::bindings::export!(Store with_types_in $crate::bindings);
    $crate::bindings::blocks::export!(Store with_types_in $crate::bindings::blocks);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::__export::check_blocks::<$store>();
    };
}

/// Compiles for block stores only.
pub const fn check<T: BlockStore>() {}

/// The exports of a component whose store is `T`.
#[derive(Debug)]
pub struct Blocks<T>(PhantomData<T>);

export_lifecycle!(Blocks, BlockStore);

impl<T: BlockStore> blocks::Guest for Blocks<T> {
    async fn list_images(continuation: Option<String>, limit: u32) -> Result<blocks::ImagePage> {
        store::<T>()?.list_images(continuation, limit).await
    }

    async fn get_image(image: String) -> Result<blocks::Image> {
        store::<T>()?.get_image(image).await
    }

    async fn list_snapshots(image: String) -> Result<Vec<blocks::Snapshot>> {
        store::<T>()?.list_snapshots(image).await
    }

    async fn open_image(
        image: String,
        snapshot: Option<String>,
        how: blocks::Access,
    ) -> Result<blocks::Opened> {
        store::<T>()?.open_image(image, snapshot, how).await
    }

    async fn refresh(handle: u64) -> Result<blocks::Geometry> {
        store::<T>()?.refresh(handle).await
    }

    async fn read(handle: u64, offset: u64, length: u32) -> Result<Body> {
        store::<T>()?.read(handle, offset, length).await
    }

    async fn next_extent(handle: u64, offset: u64, length: u64) -> Result<blocks::Extent> {
        store::<T>()?.next_extent(handle, offset, length).await
    }

    async fn write(handle: u64, offset: u64, data: Buffer, force_unit_access: bool) -> Result<()> {
        store::<T>()?.write(handle, offset, data, force_unit_access).await
    }

    async fn write_zeroes(handle: u64, offset: u64, length: u64, free: bool) -> Result<()> {
        store::<T>()?.write_zeroes(handle, offset, length, free).await
    }

    async fn discard(handle: u64, offset: u64, length: u64) -> Result<()> {
        store::<T>()?.discard(handle, offset, length).await
    }

    async fn flush(handle: u64) -> Result<()> {
        store::<T>()?.flush(handle).await
    }

    async fn close_image(handle: u64) -> Result<()> {
        store::<T>()?.close_image(handle).await
    }
}
