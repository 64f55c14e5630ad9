//! Who pays for what connections keep.

use bytes::Bytes;
use wasmount_types::Result;

/// A budget for bytes that live in the host. Cloned into each connection.
pub trait Memory: Clone + Send + Sync + 'static {
    /// A part of it, given back when dropped.
    type Room: Send + 'static;

    /// Takes a part for a connection's own needs.
    ///
    /// # Errors
    /// When there is none left.
    fn take(&self, bytes: usize) -> Result<Self::Room>;

    /// Takes a part for what is about to be received; waits until there is one.
    ///
    /// # Errors
    /// When there can never be one so large.
    fn wait(&self, bytes: usize) -> impl Future<Output = Result<Self::Room>> + Send;
}

/// Bytes, and the part of the budget that they take up.
#[derive(Debug)]
pub struct Received<R> {
    /// Exactly as many as were asked for.
    pub bytes: Bytes,
    /// To be kept as long as they are.
    pub room: R,
}
