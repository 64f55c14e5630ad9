//! The exports of an object store.

use super::Slot;
use crate::bindings::exports::wasmount::plugin::lifecycle;
use crate::bindings::objects::exports::wasmount::plugin::{objects, objects_write};
use crate::mount::Mount;
use crate::{ObjectStore, Result};
use std::marker::PhantomData;

thread_local!(static STORE: Slot = const { Slot::new() });

/// Makes a type that implements [`ObjectStore`] the component's exports. Once per crate.
///
/// In a native build, for tests, it only checks the type: the names that components export are none that a native linker takes.
///
/// ```
/// # struct MyStore;
/// # mod elsewhere {
/// # use wasmount_sdk::*;
/// # impl ObjectStore for super::MyStore {
/// #     fn describe() -> Description { Description::new("my", "0.1.0", "") }
/// #     async fn open(_: Mount) -> Result<(Self, Info)> { Err(Error::unsupported("")) }
/// #     async fn list(&self, _: ListRequest) -> Result<ListPage> { Err(Error::unsupported("")) }
/// #     async fn head(&self, _: String, _: Option<String>) -> Result<HeadOutcome> { Err(Error::unsupported("")) }
/// #     async fn get(&self, _: GetRequest) -> Result<GetOutcome> { Err(Error::unsupported("")) }
/// # }
/// # }
/// wasmount_sdk::export_object_store!(MyStore);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_object_store {
    ($store:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Store = $crate::__export::Objects<$store>;
    $crate::bindings::export!(Store with_types_in $crate::bindings);
    $crate::bindings::objects::export!(Store with_types_in $crate::bindings::objects);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::__export::check_objects::<$store>();
    };
}

/// Compiles for object stores only.
pub const fn check<T: ObjectStore>() {}

/// The exports of a component whose store is `T`.
#[derive(Debug)]
pub struct Objects<T>(PhantomData<T>);

impl<T: ObjectStore> lifecycle::Guest for Objects<T> {
    fn describe() -> lifecycle::Description {
        crate::panic::install();
        T::describe()
    }

    async fn open(mount: lifecycle::Mount) -> Result<lifecycle::Info> {
        crate::panic::install();
        let (store, info) = T::open(Mount::new(mount)).await?;
        STORE.with(|slot| slot.fill(store));
        Ok(info.into_wire())
    }

    async fn check() -> Result<()> {
        STORE.with(Slot::get::<T>)?.check().await
    }

    async fn export_state() -> Result<Option<lifecycle::SavedState>> {
        let state = STORE.with(Slot::get::<T>)?.export_state().await?;
        STORE.with(Slot::clear);
        Ok(state)
    }

    async fn close() -> Result<()> {
        let store = STORE.with(Slot::get::<T>)?;
        STORE.with(Slot::clear);
        store.close().await
    }
}

impl<T: ObjectStore> objects::Guest for Objects<T> {
    async fn list(request: objects::ListRequest) -> Result<objects::ListPage> {
        STORE.with(Slot::get::<T>)?.list(request).await
    }

    async fn head(key: String, unless: Option<String>) -> Result<objects::HeadOutcome> {
        STORE.with(Slot::get::<T>)?.head(key, unless).await
    }

    async fn get(request: objects::GetRequest) -> Result<objects::GetOutcome> {
        STORE.with(Slot::get::<T>)?.get(request).await
    }
}

impl<T: ObjectStore> objects_write::Guest for Objects<T> {
    async fn put(request: objects_write::PutRequest) -> Result<objects_write::Object> {
        STORE.with(Slot::get::<T>)?.put(request).await
    }

    async fn begin_upload(
        key: String,
        attributes: objects_write::Attributes,
        size_hint: Option<u64>,
    ) -> Result<objects_write::Upload> {
        STORE.with(Slot::get::<T>)?.begin_upload(key, attributes, size_hint).await
    }

    async fn upload_part(
        upload: objects_write::Upload,
        number: u32,
        content: objects_write::Body,
    ) -> Result<objects_write::Part> {
        STORE.with(Slot::get::<T>)?.upload_part(upload, number, content).await
    }

    async fn copy_part(
        upload: objects_write::Upload,
        number: u32,
        source: objects_write::CopySource,
        range: objects_write::ByteRange,
    ) -> Result<objects_write::Part> {
        STORE.with(Slot::get::<T>)?.copy_part(upload, number, source, range).await
    }

    async fn complete_upload(
        upload: objects_write::Upload,
        parts: Vec<objects_write::Part>,
        condition: objects_write::WriteCondition,
    ) -> Result<objects_write::Object> {
        STORE.with(Slot::get::<T>)?.complete_upload(upload, parts, condition).await
    }

    async fn abort_upload(upload: objects_write::Upload) -> Result<()> {
        STORE.with(Slot::get::<T>)?.abort_upload(upload).await
    }

    async fn copy(request: objects_write::CopyRequest) -> Result<objects_write::Object> {
        STORE.with(Slot::get::<T>)?.copy(request).await
    }

    async fn remove(targets: Vec<objects_write::Removal>) -> Result<Vec<Result<()>>> {
        STORE.with(Slot::get::<T>)?.remove(targets).await
    }
}
