//! What is behind a name in the control directory.

use crate::ports::BoxFuture;
use bytes::Bytes;
use wasmount_types::{Error, RequestCtx};

/// A file of the control directory, read-only.
pub trait ControlFile: Send + Sync + 'static {
    /// Opens it. Each open has content of its own. Must return at once.
    ///
    /// # Errors
    /// `busy` when a limit on open files is reached.
    fn open(&self) -> Result<Content, Error>;
}

/// What an open control file gives.
pub enum Content {
    /// A text as it was at the open, so that reads at different offsets fit together.
    Snapshot(Bytes),
    /// What happens from the open on. Offsets mean nothing.
    Stream(Box<dyn ControlStream>),
}

/// Text without an end. Dropped when the file is closed.
pub trait ControlStream: Send + Sync + 'static {
    /// The next at most `size` bytes, never empty unless `size` is 0, by `ctx.deadline`: an empty answer would be the end of
    /// the file. Waits at most about a second, because whoever reads can be interrupted only between two answers.
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes.
    fn next(&self, ctx: RequestCtx, size: u32) -> BoxFuture<'_, Result<Bytes, Error>>;
}

/// A file whose text is made at each open.
pub struct TextFile<F>(pub F);

impl<F: Fn() -> String + Send + Sync + 'static> ControlFile for TextFile<F> {
    fn open(&self) -> Result<Content, Error> {
        Ok(Content::Snapshot(Bytes::from((self.0)())))
    }
}
