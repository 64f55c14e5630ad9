//! HTTP/1.1 with connection pools.
//!
//! [`HttpClient`] owns the pools, one per (origin, TLS identity, proxy, policy). [`MountNet`] is what a mount sends through. A
//! request is checked and turned into hyper's form (`request`), a connection is taken from the pool or made
//! (`pool`, `connect`), and the answer's body (`body`) holds the connection until it was read to its end.
//!
//! A request is repeated only when a pooled connection turns out to be dead before anything of the request left; whatever
//! else fails is for the plugin to repeat, because only it knows what is idempotent and how to sign again.

mod body;
mod client;
mod connect;
mod dial;
mod error;
mod mount_net;
mod outgoing;
mod pool;
mod request;
mod resolve;
mod response;
mod timer;
mod tunnel;
mod url;

pub use body::ResponseBody;
pub use client::HttpClient;
pub use mount_net::MountNet;
pub use request::{HttpRequest, RequestBody};
pub use resolve::{Resolver, SystemResolver};
pub use response::HttpResponse;
pub(crate) use url::split_host_port;

#[cfg(test)]
mod tests;
