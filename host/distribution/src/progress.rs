//! How somebody who waits learns how far it is.

/// Told about transfers, one after the other, from the thread that transfers.
pub trait Progress {
    /// A transfer of so many bytes begins.
    fn begin(&self, what: &str, bytes: u64);
    /// So many more bytes have been transferred.
    fn advance(&self, bytes: u64);
}

/// For callers whom nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
}
