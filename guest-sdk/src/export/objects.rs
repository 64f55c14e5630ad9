//! The exports of an object store.

use super::{export_lifecycle, store};
use crate::bindings::objects::exports::wasmount::plugin::{objects, objects_write};
use crate::{ObjectStore, Result};
use std::marker::PhantomData;

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

export_lifecycle!(Objects, ObjectStore);

impl<T: ObjectStore> objects::Guest for Objects<T> {
    async fn list(request: objects::ListRequest) -> Result<objects::ListPage> {
        store::<T>()?.list(request).await
    }

    async fn head(key: String, unless: Option<String>) -> Result<objects::HeadOutcome> {
        store::<T>()?.head(key, unless).await
    }

    async fn get(request: objects::GetRequest) -> Result<objects::GetOutcome> {
        store::<T>()?.get(request).await
    }
}

impl<T: ObjectStore> objects_write::Guest for Objects<T> {
    async fn put(request: objects_write::PutRequest) -> Result<objects_write::Object> {
        store::<T>()?.put(request).await
    }

    async fn begin_upload(
        key: String,
        attributes: objects_write::Attributes,
        size_hint: Option<u64>,
    ) -> Result<objects_write::Upload> {
        store::<T>()?.begin_upload(key, attributes, size_hint).await
    }

    async fn upload_part(
        upload: objects_write::Upload,
        number: u32,
        content: objects_write::Body,
    ) -> Result<objects_write::Part> {
        store::<T>()?.upload_part(upload, number, content).await
    }

    async fn copy_part(
        upload: objects_write::Upload,
        number: u32,
        source: objects_write::CopySource,
        range: objects_write::ByteRange,
    ) -> Result<objects_write::Part> {
        store::<T>()?.copy_part(upload, number, source, range).await
    }

    async fn complete_upload(
        upload: objects_write::Upload,
        parts: Vec<objects_write::Part>,
        condition: objects_write::WriteCondition,
    ) -> Result<objects_write::Object> {
        store::<T>()?.complete_upload(upload, parts, condition).await
    }

    async fn abort_upload(upload: objects_write::Upload) -> Result<()> {
        store::<T>()?.abort_upload(upload).await
    }

    async fn copy(request: objects_write::CopyRequest) -> Result<objects_write::Object> {
        store::<T>()?.copy(request).await
    }

    async fn remove(targets: Vec<objects_write::Removal>) -> Result<Vec<Result<()>>> {
        store::<T>()?.remove(targets).await
    }
}
