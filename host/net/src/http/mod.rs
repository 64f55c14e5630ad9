//! HTTP/1.1 with connection pools.
//!
//! [`HttpClient`] owns the pools, one per (origin, TLS identity, proxy, policy). [`MountNet`] is what a mount sends through. A
//! request is checked and written down (`request`), a connection is taken from the pool or made (`pool`, `connect`), request
//! and response pass over it (`exchange`), and the answer's body (`body`) holds it until it was read to its end.
//!
//! All of that happens in the task of whoever asks, on whatever thread it runs: there is no task for a connection, and bytes of
//! a body go from the socket into the memory of their reader. Only names are resolved and connections made in tasks of their own.
//!
//! A request is repeated only when a pooled connection turns out to be dead before anything of the request left; whatever
//! else fails is for the plugin to repeat, because only it knows what is idempotent and how to sign again.

mod body;
mod buffer;
mod client;
mod connect;
mod error;
mod exchange;
mod framing;
mod head;
mod mount_net;
mod outgoing;
mod pool;
mod request;
mod response;
mod socket;
pub(crate) mod stats;
mod tunnel;
mod url;

pub use body::ResponseBody;
pub use client::HttpClient;
pub use mount_net::MountNet;
pub use request::{HttpRequest, RequestBody, SecretHeader};
pub use response::HttpResponse;
pub use stats::NetStats;
pub(crate) use url::split_host_port;

#[cfg(test)]
pub(crate) mod tests;
