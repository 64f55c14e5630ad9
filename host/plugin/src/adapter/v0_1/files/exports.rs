//! The functions of a file system that this host calls.

use super::super::check::Checker;
use super::super::exports::{Exports, Fallible, LifecycleExports, function, interface};
use super::wit;
use crate::bindings::v0_1::host::wasmount::plugin::capabilities::ProviderCapabilities;
use crate::imports::Body;
use crate::instance::{GuestState, Start};
use futures::future::BoxFuture;
use wasmount_core::ports::FileCapabilities;
use wasmount_types::Error;
use wasmtime::Store;
use wasmtime::component::{Accessor, Instance as Linked, Resource, TypedFunc};

/// The exports of a file system.
pub(crate) struct FileSystemExports {
    lifecycle: LifecycleExports,
    pub(super) resolve: Fallible<(wit::Context, wit::Place), wit::Resolution>,
    pub(super) forget: TypedFunc<(Vec<wit::Forgotten>,), ()>,
    pub(super) get_attributes: Fallible<(wit::Context, u64, Option<u64>), wit::AttributesAnswer>,
    pub(super) read_link: Fallible<(wit::Context, u64), Vec<u8>>,
    pub(super) open: Fallible<(wit::Context, u64, wit::OpenFlags), wit::Opened>,
    pub(super) read: Fallible<(u64, u64, u32), Resource<Body>>,
    pub(super) release: TypedFunc<(u64, Option<u64>), ()>,
    pub(super) seek_data: Fallible<(u64, u64, wit::SeekTarget), u64>,
    pub(super) open_directory: Fallible<(wit::Context, u64), wit::Opened>,
    pub(super) read_directory: Fallible<(wit::Context, u64, u64, u32, bool), wit::DirectoryPage>,
    pub(super) release_directory: TypedFunc<(u64,), ()>,
    pub(super) get_xattr: Fallible<(wit::Context, u64, Vec<u8>), Vec<u8>>,
    pub(super) list_xattrs: Fallible<(wit::Context, u64), Vec<Vec<u8>>>,
    pub(super) get_statistics: Fallible<(u64,), wit::Statistics>,
}

/// What a file system promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promises {
    /// What the core knows of it.
    pub(super) core: FileCapabilities,
    /// There are symlinks.
    pub(super) symlinks: bool,
}

impl Start for FileSystemExports {
    fn find(store: &mut Store<GuestState>, instance: &Linked) -> wasmtime::Result<Self> {
        let files = interface(store, instance, "files")?;
        Ok(Self {
            lifecycle: LifecycleExports::find(store, instance)?,
            resolve: function(store, instance, &files, "resolve")?,
            forget: function(store, instance, &files, "forget")?,
            get_attributes: function(store, instance, &files, "get-attributes")?,
            read_link: function(store, instance, &files, "read-link")?,
            open: function(store, instance, &files, "open")?,
            read: function(store, instance, &files, "read")?,
            release: function(store, instance, &files, "release")?,
            seek_data: function(store, instance, &files, "seek-data")?,
            open_directory: function(store, instance, &files, "open-directory")?,
            read_directory: function(store, instance, &files, "read-directory")?,
            release_directory: function(store, instance, &files, "release-directory")?,
            get_xattr: function(store, instance, &files, "get-xattr")?,
            list_xattrs: function(store, instance, &files, "list-xattrs")?,
            get_statistics: function(store, instance, &files, "get-statistics")?,
        })
    }

    fn close<'a>(acc: &'a Accessor<GuestState>, exports: &'a Self) -> BoxFuture<'a, wasmtime::Result<()>> {
        LifecycleExports::close(acc, &exports.lifecycle)
    }
}

impl Exports for FileSystemExports {
    type Capabilities = Promises;

    fn lifecycle(&self) -> &LifecycleExports {
        &self.lifecycle
    }

    fn capabilities(given: ProviderCapabilities, checker: &Checker<'_>) -> Result<Promises, Error> {
        let ProviderCapabilities::Files(given) = given else {
            return Err(checker.corrupt("a file system with the capabilities of another kind"));
        };
        checker.promises(&given)
    }
}
