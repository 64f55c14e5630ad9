//! The exports of a file system.

use super::fence::{self, Mark, Of};
use super::{export_lifecycle, store};
use crate::bindings::files::exports::wasmount::plugin::files;
use crate::{Body, Buffer, Error, ErrorKind, FileStore, Result, system};
use std::marker::PhantomData;

/// Makes a type that implements [`FileStore`] the component's exports. Once per crate.
///
/// In a native build, for tests, it only checks the type: the names that components export are none that a native linker takes.
///
/// ```
/// # struct MyStore;
/// # mod elsewhere {
/// # use wasmount_sdk::files::{self, AttributesAnswer, Context, DirectoryPage, Handle, Node, OpenFlags, Place, Resolution};
/// # use wasmount_sdk::*;
/// # impl FileStore for super::MyStore {
/// #     fn describe() -> Description { Description::new("my", "0.1.0", "") }
/// #     async fn open(_: Mount) -> Result<(Self, Info)> { Err(Error::unsupported("")) }
/// #     async fn resolve(&self, _: Context, _: Place) -> Result<Resolution> { Err(Error::unsupported("")) }
/// #     async fn get_attributes(&self, _: Context, _: Node, _: Option<Handle>) -> Result<AttributesAnswer> { Err(Error::unsupported("")) }
/// #     async fn open_file(&self, _: Context, _: Node, _: OpenFlags) -> Result<files::Opened> { Err(Error::unsupported("")) }
/// #     async fn read(&self, _: Handle, _: u64, _: u32) -> Result<Body> { Err(Error::unsupported("")) }
/// #     async fn open_directory(&self, _: Context, _: Node) -> Result<files::Opened> { Err(Error::unsupported("")) }
/// #     async fn read_directory(&self, _: Context, _: Handle, _: u64, _: u32, _: bool) -> Result<DirectoryPage> { Err(Error::unsupported("")) }
/// # }
/// # }
/// wasmount_sdk::export_file_store!(MyStore);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_file_store {
    ($store:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Store = $crate::__export::Files<$store>;
    $crate::bindings::export!(Store with_types_in $crate::bindings);
    $crate::bindings::files::export!(Store with_types_in $crate::bindings::files);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::__export::check_files::<$store>();
    };
}

/// Compiles for file systems only.
pub const fn check<T: FileStore>() {}

/// The exports of a component whose store is `T`.
#[derive(Debug)]
pub struct Files<T>(PhantomData<T>);

export_lifecycle!(Files, FileStore);

/// The answer to everything that would change something; drops what it was given.
fn refuse<T, A>(what: &str, arguments: A) -> Result<T> {
    drop(arguments);
    Err(Error::new(ErrorKind::ReadOnly, format!("this plugin cannot write: {what}")))
}

impl<T: FileStore> files::Guest for Files<T> {
    async fn resolve(context: files::Context, at: files::Place) -> Result<files::Resolution> {
        let (mark, parent) = (Mark::now(), at.parent);
        let mut answer = store::<T>()?.resolve(context, at).await?;
        mark.resolution(parent, &mut answer);
        Ok(answer)
    }

    async fn forget(nodes: Vec<files::Forgotten>) {
        if let Ok(store) = store::<T>() {
            store.forget(nodes).await;
        }
    }

    async fn get_attributes(
        context: files::Context,
        node: files::Node,
        handle: Option<files::Handle>,
    ) -> Result<files::AttributesAnswer> {
        let mark = Mark::now();
        let mut answer = store::<T>()?.get_attributes(context, node, handle).await?;
        mark.attributes(node, &mut answer);
        Ok(answer)
    }

    async fn read_link(context: files::Context, node: files::Node) -> Result<Vec<u8>> {
        store::<T>()?.read_link(context, node).await
    }

    async fn open(
        context: files::Context,
        node: files::Node,
        how: files::OpenFlags,
    ) -> Result<files::Opened> {
        let mark = Mark::now();
        let mut answer = store::<T>()?.open_file(context, node, how).await?;
        mark.opened(node, &mut answer);
        fence::opened(Of::File, answer.handle, node);
        Ok(answer)
    }

    async fn read(handle: files::Handle, offset: u64, length: u32) -> Result<Body> {
        let store = store::<T>()?;
        loop {
            let mark = Mark::now();
            let body = store.read(handle, offset, length).await?;
            if fence::is_changing(handle) {
                // If the host has been told to forget and has done so before it asked, the plugin knows when this is over.
                system::sleep(0).await;
            }
            if !mark.is_before_a_change_of(handle) {
                return Ok(body);
            }
        }
    }

    async fn release(handle: files::Handle, _: Option<files::LockOwner>) {
        if let Ok(store) = store::<T>() {
            fence::closed(Of::File, handle);
            store.release(handle).await;
        }
    }

    async fn seek_data(handle: files::Handle, offset: u64, target: files::SeekTarget) -> Result<u64> {
        store::<T>()?.seek_data(handle, offset, target).await
    }

    async fn open_directory(context: files::Context, node: files::Node) -> Result<files::Opened> {
        let mark = Mark::now();
        let mut answer = store::<T>()?.open_directory(context, node).await?;
        mark.opened(node, &mut answer);
        fence::opened(Of::Directory, answer.handle, node);
        Ok(answer)
    }

    async fn read_directory(
        context: files::Context,
        handle: files::Handle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> Result<files::DirectoryPage> {
        let (mark, store) = (Mark::now(), store::<T>()?);
        let mut page = store.read_directory(context, handle, cookie, limit, with_attributes).await?;
        mark.directory_page(handle, &mut page);
        Ok(page)
    }

    async fn release_directory(handle: files::Handle) {
        if let Ok(store) = store::<T>() {
            fence::closed(Of::Directory, handle);
            store.release_directory(handle).await;
        }
    }

    async fn get_xattr(context: files::Context, node: files::Node, name: Vec<u8>) -> Result<Vec<u8>> {
        store::<T>()?.get_xattr(context, node, name).await
    }

    async fn list_xattrs(context: files::Context, node: files::Node) -> Result<Vec<Vec<u8>>> {
        store::<T>()?.list_xattrs(context, node).await
    }

    async fn get_statistics(node: files::Node) -> Result<files::Statistics> {
        store::<T>()?.get_statistics(node).await
    }

    // Reading has nothing to flush, and nothing that could be lost.

    async fn flush(_: files::Handle, _: files::LockOwner) -> Result<()> {
        Ok(())
    }

    async fn sync(_: files::Handle, _: files::SyncScope) -> Result<()> {
        Ok(())
    }

    async fn sync_directory(_: files::Handle, _: files::SyncScope) -> Result<()> {
        Ok(())
    }

    // Everything else changes something.

    async fn set_attributes(
        context: files::Context,
        node: files::Node,
        changes: files::Changes,
    ) -> Result<files::AttributesAnswer> {
        refuse("set-attributes", (context, node, changes))
    }

    async fn make_directory(context: files::Context, at: files::Place, mode: u16) -> Result<files::Entry> {
        refuse("make-directory", (context, at, mode))
    }

    async fn make_symlink(
        context: files::Context,
        at: files::Place,
        target: Vec<u8>,
    ) -> Result<files::Entry> {
        refuse("make-symlink", (context, at, target))
    }

    async fn make_node(
        context: files::Context,
        at: files::Place,
        kind: files::NodeKind,
        mode: u16,
        device: u64,
    ) -> Result<files::Entry> {
        refuse("make-node", (context, at, kind, mode, device))
    }

    async fn link(context: files::Context, node: files::Node, at: files::Place) -> Result<files::Entry> {
        refuse("link", (context, node, at))
    }

    async fn unlink(context: files::Context, at: files::Place) -> Result<()> {
        refuse("unlink", (context, at))
    }

    async fn remove_directory(context: files::Context, at: files::Place) -> Result<()> {
        refuse("remove-directory", (context, at))
    }

    async fn rename(
        context: files::Context,
        source: files::Place,
        target: files::Place,
        mode: files::RenameMode,
    ) -> Result<()> {
        refuse("rename", (context, source, target, mode))
    }

    async fn create(
        context: files::Context,
        at: files::Place,
        mode: u16,
        how: files::OpenFlags,
    ) -> Result<files::Created> {
        refuse("create", (context, at, mode, how))
    }

    async fn write(
        context: files::Context,
        handle: files::Handle,
        offset: u64,
        data: Buffer,
        how: files::WriteFlags,
    ) -> Result<files::Written> {
        refuse("write", (context, handle, offset, data, how))
    }

    async fn allocate(
        context: files::Context,
        handle: files::Handle,
        mode: files::AllocateMode,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        refuse("allocate", (context, handle, mode, offset, length))
    }

    async fn copy_range(
        context: files::Context,
        source: files::Handle,
        source_offset: u64,
        target: files::Handle,
        target_offset: u64,
        length: u64,
    ) -> Result<u64> {
        refuse("copy-range", (context, source, source_offset, target, target_offset, length))
    }

    async fn set_xattr(
        context: files::Context,
        node: files::Node,
        name: Vec<u8>,
        value: Vec<u8>,
        mode: files::XattrMode,
    ) -> Result<()> {
        refuse("set-xattr", (context, node, name, value, mode))
    }

    async fn remove_xattr(context: files::Context, node: files::Node, name: Vec<u8>) -> Result<()> {
        refuse("remove-xattr", (context, node, name))
    }

    async fn get_lock(handle: files::Handle, lock: files::FileLock) -> Result<Option<files::FileLock>> {
        refuse("get-lock", (handle, lock))
    }

    async fn set_lock(handle: files::Handle, lock: files::FileLock, wait: bool) -> Result<()> {
        refuse("set-lock", (handle, lock, wait))
    }
}
