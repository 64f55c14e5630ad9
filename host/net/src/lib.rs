//! The network as plugins see it: HTTP over pooled connections, plain TCP, TLS, the reach policy, and secrets that are used
//! without being seen.
//!
//! One process has one [`http::HttpClient`]; each mount has one [`http::MountNet`], which is that client seen through the
//! mount's [`policy::Grants`], the operator's [`policy::ReachPolicy`], the mount's [`tls::TlsSettings`] and time limits.
//! Every request passes the same gates in the same order: shape of the request → grant (scheme, host, port, method) →
//! name resolution → reach policy on the resolved address → connect to exactly that address. A TCP connection
//! ([`MountNet::connect`]) passes them too; how it may reach addresses that no option names is said at [`policy::Grants`].
//!
//! Nothing here knows of WebAssembly or of storage; everything here can be used from any tokio runtime, because sockets
//! and timers live on the runtime whose handle the client was given.

mod dial;
mod failure;
mod fill;
pub mod http;
pub mod limits;
pub mod policy;
mod resolve;
pub mod secrets;
mod task;
pub mod tcp;
mod timer;
pub mod tls;

pub use http::{
    HttpClient, HttpRequest, HttpResponse, MountNet, NetStats, RequestBody, ResponseBody, SecretHeader,
};
pub use limits::NetLimits;
pub use policy::{AllowNet, Foreseen, Grants, OriginGrant, ReachPolicy};
pub use resolve::{Resolver, SystemResolver};
pub use secrets::{Encoding, Hash, Redactor, Secret, SecretsDir};
pub use tcp::{Memory, Received, TcpAddress, TcpConnection, TcpOptions, TcpTls};
pub use tls::{PemSource, ProxySettings, TlsSettings};
