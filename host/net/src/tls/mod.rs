//! Whom to trust, what to show, and through which proxy to go.
//!
//! All of it is the operator's or the mount's, never the plugin's. TLS is rustls with ring; without a `ca-file` the
//! trusted roots are those of the `webpki-roots` crate, so the container image needs no certificate store.

mod config;
mod pem;
mod proxy;
mod verifier;

pub(crate) use config::{TlsContext, server_name};
pub use pem::PemSource;
pub(crate) use proxy::Proxy;
pub use proxy::ProxySettings;

/// TLS and proxy settings of one mount. The default trusts the bundled roots, shows no certificate and uses no proxy.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// Trust exactly the certificates in this PEM file *instead of* the bundled roots, as curl's `--cacert` does: a mount
    /// that names its private CA should not be open to anybody who can get a public certificate. A file that shall
    /// add to the public roots contains them as well.
    pub ca_file: Option<PemSource>,
    /// Certificate chain to show to a server that asks, leaf first. Needs `client_key`.
    pub client_cert: Option<PemSource>,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub client_key: Option<PemSource>,
    /// Accept any certificate for any name. The connection is still encrypted, but to whom is unknown.
    pub insecure_skip_verify: bool,
    /// The proxy, if there is one.
    pub proxy: ProxySettings,
}
