//! Names to addresses.

use futures::future::BoxFuture;
use std::io;
use std::net::SocketAddr;

/// Turns names into addresses; replaced in tests and by hosts with resolvers of their own.
///
/// Asked once per connection; what it answers is checked by the reach policy and then connected to, never
/// resolved a second time.
pub trait Resolver: Send + Sync + 'static {
    /// Addresses of `host`, in order of preference. Called on the client's runtime.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver (`getaddrinfo`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
