//! What a server may cost.

use std::time::Duration;

/// Limits on what comes from a server. The server is not trusted: all of it holds before anything is verified.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a plugin; 256 MiB by default, as much as the plugin host compiles.
    pub plugin: u64,
    /// Bytes of all layers of an image together, as they come and again as they are unpacked. 1 GiB by default.
    pub image: u64,
    /// Bytes of a manifest. 4 MiB by default: what OCI's distribution specification has registries accept at least.
    pub manifest: u64,
    /// For a name to be resolved and a connection to be made, TLS included. 10 s by default.
    pub connect: Duration,
    /// For a server to go on with what it has begun to send. 30 s by default.
    pub stall: Duration,
    /// For a small request, such as that for a manifest or a token. 15 s by default: a start waits so long before it does without a registry that hangs.
    pub request: Duration,
    /// For the bytes of one layer or plugin. 10 min by default.
    pub download: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plugin: 256 << 20,
            image: 1 << 30,
            manifest: 4 << 20,
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            request: Duration::from_secs(15),
            download: Duration::from_secs(600),
        }
    }
}

/// Hops of one request from server to server. Registries hand a blob on to a bucket, which may hand it on to its region.
pub(crate) const REDIRECTS: usize = 5;
/// Bytes of the answers that are neither manifest nor layer: tokens, errors.
pub(crate) const SMALL: u64 = 64 * 1024;
/// Layers of a manifest, and manifests of an index. Images are built of up to 127 layers.
pub(crate) const DESCRIPTORS: usize = 256;
/// Files of an image that may be plugins.
pub(crate) const CANDIDATES: usize = 64;
/// Bytes of a file that a flag names: keys, certificates, credentials.
pub(crate) const FILE: u64 = 1 << 20;
