//! What a file system may tell the kernel it is mounted in.

use bytes::Bytes;
use std::any::Any;
use std::sync::Arc;
use wasmount_types::Ino;

/// The kernel's page cache. Both calls return at once; what cannot be queued is dropped, since the kernel can always ask.
pub trait KernelPages: Send + Sync + 'static {
    /// Whether [`store`](Self::store) is of any use: it does nothing where the kernel might then wait for ever.
    fn takes_pages(&self) -> bool;

    /// Puts bytes of a node into the page cache, so that reads of them never arrive here. They must lie inside the file and
    /// belong to the version the node stands for. `held` is kept until the bytes are no longer needed.
    fn store(&self, ino: Ino, offset: u64, bytes: Bytes, held: Option<Arc<dyn Any + Send + Sync>>);

    /// Drops attributes and pages of a node.
    fn invalidate(&self, ino: Ino);
}
