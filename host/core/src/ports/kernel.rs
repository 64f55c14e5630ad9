//! What a file system may tell the kernel it is mounted in.

use super::BoxFuture;
use bytes::Bytes;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use wasmount_types::{Ino, Name};

/// What the kernel keeps of a file system: pages, attributes and names.
pub trait KernelPages: Send + Sync + 'static {
    /// Whether [`store`](Self::store) is of any use: it does nothing where the kernel might then wait for ever.
    fn takes_pages(&self) -> bool;

    /// Puts bytes of a node into the page cache, so that reads of them never arrive here. They must lie inside the file and
    /// belong to the version the node stands for. `held` is kept until the bytes are no longer needed. Returns at once; what
    /// cannot be queued is dropped, since the kernel can always ask.
    fn store(&self, ino: Ino, offset: u64, bytes: Bytes, held: Option<Arc<dyn Any + Send + Sync>>);

    /// Drops attributes and pages of a node, some time. Returns at once; what cannot be queued is dropped.
    fn invalidate(&self, ino: Ino);

    /// Drops the attributes of a node, and takes no notice of those in answers to requests that have been sent. Ends when the kernel has
    /// done so, without waiting for anybody; never dropped for want of room in a queue. `false`: the kernel does not know
    /// such a node. One that it was just told about it may come to know yet.
    fn drop_attributes(&self, ino: Ino) -> BoxFuture<'static, bool>;

    /// Drops pages of a node (`None`: all of them) and its attributes. Ends when the kernel has done so, for which it waits until READs of these pages
    /// have been answered. `false`: the kernel does not know such a node, and has no pages of it.
    fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> BoxFuture<'static, bool>;

    /// Makes the kernel look these names of directories up again, and drop what lies below them. Ends when it has done so, for which it waits until
    /// LOOKUPs in these directories have been answered. Where nobody does anything about it, names run out by themselves.
    fn drop_names(&self, _names: Vec<(Ino, Name)>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Makes the kernel look every name up again, those in answers to LOOKUPs that have been sent included. Never blocks. `false`: it
    /// cannot.
    fn drop_entries(&self) -> bool;

    /// Whether [`drop_entries`](Self::drop_entries) works: only then may the kernel be given names for longer than nothing changes.
    fn keeps_entries(&self) -> bool;
}
