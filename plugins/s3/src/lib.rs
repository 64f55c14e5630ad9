//! S3, MinIO and everything that speaks their protocol, as a wasmount plugin.
//!
//! | module | knows |
//! |---|---|
//! | [`options`] | the option table, and what follows from the options of a mount |
//! | [`location`], [`address`] | bucket and prefix of a mount point; URLs, path-style or virtual-hosted |
//! | [`credentials`] | who signs: keys that may be rotated while mounted, temporary credentials that are renewed |
//! | [`client`] | one request: sign, send, look for other credentials once, try again |
//! | [`failure`] | what an error answer means, and what the user should change |
//! | [`listing`], [`entity`] | pages of keys from XML; metadata from response headers |
//! | [`store`] | the three functions of an object store on top of these |
//!
//! Objects are pinned by their ETag (`If-Match`), so a read sees one version or fails as `stale`. Bodies are passed on
//! to the host unread: a `get` costs the same for any length.

pub mod address;
pub mod client;
pub mod credentials;
pub mod entity;
pub mod failure;
pub mod listing;
pub mod location;
pub mod options;
pub mod store;
mod xml;

wasmount_sdk::export_object_store!(store::S3);
