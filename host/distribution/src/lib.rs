//! Plugins by reference: OCI registries and web servers, what they send verified, and kept on disk.
//!
//! ```text
//! Reference ─► Client ─► Repository (tokens, manifests, blobs) ─► Http (TLS, redirects, limits)
//!                │            └─ signature: a key's signature on the manifest, before anything else is fetched
//!                ├─ layers: the one file in an image
//!                └─► Store: plugins under their digests; what references meant
//! ```
//!
//! Trust goes from the reference downwards and never back: a digest (in the reference, or signed) vouches for the manifest's bytes, the
//! manifest for its layers. A server that is not trusted can refuse service and nothing else, but for a tag that is not signed.
//!
//! Everything blocks and is bounded by [`Limits`].

mod client;
mod credentials;
mod error;
mod files;
mod http;
mod layers;
mod limits;
mod manifest;
mod progress;
mod push;
mod reference;
mod registry;
mod signature;
mod store;
mod tidy;
mod token;
mod zstd;

pub use client::{Client, ClientConfig, Fetched, Origin};
pub use error::{Error, ErrorKind, Result};
pub use limits::Limits;
pub use progress::{Progress, Silent};
pub use push::Component;
pub use reference::{HttpsReference, OciReference, Reference, Remote};
pub use store::Store;
pub use tidy::{Keep, mark_used, tidy};
