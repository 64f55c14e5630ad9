//! The network as plugins see it: HTTP over pooled connections, TLS, the reach policy, and secrets that are used without
//! being seen.
//!
//! One process has one [`http::HttpClient`]; each mount has one [`http::MountNet`], which is that client seen through the
//! mount's [`policy::Grants`], the operator's [`policy::ReachPolicy`], the mount's [`tls::TlsSettings`] and time limits.
//! Every request passes the same gates in the same order: shape of the request → grant (scheme, host, port, method) →
//! name resolution → reach policy on the resolved address → connect to exactly that address.
//!
//! Nothing here knows of WebAssembly or of storage; everything here can be used from any tokio runtime, because sockets
//! and timers live on the runtime whose handle the client was given.

pub mod http;
pub mod limits;
pub mod policy;
pub mod secrets;
pub mod tls;

pub use http::{
    HttpClient, HttpRequest, HttpResponse, MountNet, NetStats, RequestBody, Resolver, ResponseBody,
};
pub use limits::NetLimits;
pub use policy::{AllowNet, Grants, OriginGrant, ReachPolicy};
pub use secrets::{Encoding, Hash, Redactor, Secret, SecretsDir};
pub use tls::{PemSource, ProxySettings, TlsSettings};
