//! Write a storage plugin for wasmount.
//!
//! A plugin is a WebAssembly component that knows one storage protocol. It holds no sockets, files or secrets: it builds requests,
//! the host sends them, and the bytes of objects stay in the host. What is left to write is small: a table of options, and three
//! functions of [`ObjectStore`], six of [`BlockStore`], or six of [`FileStore`].
//!
//! ```
//! use wasmount_sdk::http::Request;
//! use wasmount_sdk::*;
//!
//! struct Files {
//!     origin: String,
//! }
//!
//! impl ObjectStore for Files {
//!     fn describe() -> Description {
//!         Description::new("files", "0.1.0", "Files behind an HTTP server")
//!             .scheme("files")
//!             .options(Options::new().endpoint("endpoint", "The server, such as `https://files.example.com`.").required())
//!     }
//!
//!     async fn open(mount: Mount) -> Result<(Self, Info)> {
//!         let origin = mount.settings.endpoint("endpoint")?.origin();
//!         let info = Info::new(&*origin, format!("files on {origin}"), ObjectCapabilities::read_only());
//!         Ok((Self { origin }, info))
//!     }
//!
//!     async fn list(&self, _: ListRequest) -> Result<ListPage> {
//!         let objects = match self.head("motd".into(), None).await? {
//!             HeadOutcome::Found(info) => vec![info.object],
//!             HeadOutcome::Unchanged => vec![],
//!         };
//!         Ok(ListPage { objects, prefixes: vec![], next: None })
//!     }
//!
//!     async fn head(&self, key: String, unless: Option<String>) -> Result<HeadOutcome> {
//!         let request = Request::head(self.url(&key)).if_none_match(unless.as_deref());
//!         request.send().await?.success(&key)?.into_head(key)
//!     }
//!
//!     async fn get(&self, request: GetRequest) -> Result<GetOutcome> {
//!         let response = retry(retry::Policy::default(), || async {
//!             let get = Request::get(self.url(&request.key)).if_match(request.pin.as_deref());
//!             get.range(request.range.as_ref())?.send().await?.success(&request.key)
//!         });
//!         response.await?.into_get(request.key)
//!     }
//! }
//!
//! impl Files {
//!     fn url(&self, key: &str) -> String {
//!         format!("{}/{}", self.origin, percent::encode_path(key))
//!     }
//! }
//!
//! export_object_store!(Files);
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib`, built for `wasm32-unknown-unknown` (such a component imports nothing but what the host offers) or
//! for `wasm32-wasip2`. `examples/static-site` is a complete one.
//!
//! # What is here
//! - [`ObjectStore`] and [`export_object_store!`], [`BlockStore`] and [`export_block_store!`], [`FileStore`] and [`export_file_store!`], with
//!   the records their functions take and return (those of file systems in [`files`]); [`notify`]: what is no longer true.
//! - [`Description`], [`Options`] and [`Settings`]: options declared as data, read with their types.
//! - [`tcp`] and [`crypto`]: connections for protocols that are not HTTP, with payload that stays in the host; [`task`]: work that goes
//!   on between calls.
//! - [`http`]: requests and responses; [`retry`](mod@retry): trying again without doing harm; [`sigv4`]: AWS signatures with the
//!   secret kept in the host; [`percent`], [`time`]: encodings; [`log`]; [`join_all`] for several requests at once.
//! - [`Error`], with a constructor for each kind. Panics are logged through the host, but cost all calls in flight: return errors.
//!
//! # Rules of the road
//! - Calls interleave at every await, in one thread. `Rc`, `Cell` and `RefCell` are fine; hold no borrow over an await.
//! - Whatever is in memory is lost when the instance is replaced, which may happen at any time.
//! - Pass bodies on; [`Body::read_all`] is for listings and error documents.
//! - Everything compiles natively too, so what makes no call to the host can be tested with `cargo test`. A call to the host
//!   from a native test panics.

#[doc(hidden)]
#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    rust_2018_idioms,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::undocumented_unsafe_blocks,
    rustdoc::all,
    reason = "generated: documented in wit/, and unsafe only where the canonical ABI is"
)]
pub mod bindings;
mod block_store;
mod capability;
pub mod crypto;
mod description;
mod error;
mod export;
mod file_store;
pub mod files;
pub mod http;
pub mod log;
mod mount;
pub mod notify;
mod options;
mod panic;
pub mod percent;
pub mod retry;
pub mod sigv4;
mod store;
pub mod task;
pub mod tcp;
pub mod time;

pub use block_store::BlockStore;
pub use error::Result;
pub use file_store::FileStore;
pub use mount::{Info, Mount, Settings};
pub use options::Options;
pub use retry::retry;
pub use store::ObjectStore;

pub use futures::future::{join_all, try_join_all};

// The contract's records, one by one: what is not named here is not part of the API.
pub use bindings::blocks::exports::wasmount::plugin::blocks::{
    Access, Extent, ExtentKind, Geometry, Image, ImagePage, Opened, Snapshot,
};
pub use bindings::exports::wasmount::plugin::lifecycle::{
    Description, EndpointTemplate, NetworkNeeds, SavedState,
};
pub use bindings::objects::exports::wasmount::plugin::objects::{
    GetOutcome, GetRequest, GetResponse, HeadOutcome, ListPage, ListRequest, Object, ObjectInfo,
};
pub use bindings::objects::exports::wasmount::plugin::objects_write::{
    Attributes, CopyRequest, CopySource, Part, PutRequest, Removal, Upload, WriteCondition,
};
pub use bindings::wasmount::plugin::buffers::{Body, Buffer, DigestAlgorithm, Piece};
pub use bindings::wasmount::plugin::capabilities::{
    BlockCapabilities, BlockOperations, Coherence, FileCapabilities, FileOperations, Listing,
    MultipartLimits, ObjectCapabilities, ObjectWriting, Pinning, ProviderCapabilities, WriteConditions,
};
pub use bindings::wasmount::plugin::options::{
    Endpoint, EndpointRule, IntegerRule, OptionKind, OptionSetting, OptionSpec, OptionValue, SecretRule,
};
pub use bindings::wasmount::plugin::secrets::{Encoding, Hash, Secret};
pub use bindings::wasmount::plugin::system;
pub use bindings::wasmount::plugin::types::{
    Blame, ByteRange, Effect, Error, ErrorKind, Pair, RetryAdvice, Timestamp,
};

/// What the export macros expand to. Not part of the API.
#[doc(hidden)]
pub mod __export {
    pub use crate::export::blocks::{Blocks, check as check_blocks};
    pub use crate::export::files::{Files, check as check_files};
    pub use crate::export::objects::{Objects, check as check_objects};
}
