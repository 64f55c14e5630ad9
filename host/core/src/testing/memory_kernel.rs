//! A kernel's page cache that remembers what it was given.

use crate::ports::{BoxFuture, KernelPages};
use bytes::Bytes;
use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::Ino;

/// Takes note of what is stored and lets go of it at once.
#[derive(Default)]
pub struct MemoryKernel {
    stored: Mutex<Vec<(Ino, u64, Bytes)>>,
}

impl MemoryKernel {
    /// What was stored since the last time this was asked.
    pub fn take(&self) -> Vec<(Ino, u64, Bytes)> {
        std::mem::take(&mut self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KernelPages for MemoryKernel {
    fn takes_pages(&self) -> bool {
        true
    }

    fn store(&self, ino: Ino, offset: u64, bytes: Bytes, _held: Option<Arc<dyn Any + Send + Sync>>) {
        // A copy, as the kernel makes: the memory it came in is free again.
        let bytes = Bytes::copy_from_slice(&bytes);
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push((ino, offset, bytes));
    }

    fn invalidate(&self, _ino: Ino) {}

    fn drop_attributes(&self, _ino: Ino) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(true))
    }

    fn drop_pages(&self, _ino: Ino, _range: Option<Range<u64>>) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(true))
    }

    fn drop_entries(&self) -> bool {
        false
    }

    fn keeps_entries(&self) -> bool {
        false
    }
}
