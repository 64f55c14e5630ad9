//! What wasmount says about itself.
//!
//! For now that is logging; all crates speak through `tracing`, and only the binary decides here what becomes
//! of it.

pub mod logging;
mod redact;

pub use logging::{Format, LogError, init};
pub use redact::Redact;
