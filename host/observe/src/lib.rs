//! What wasmount says about itself: log lines, metrics, the access log, slow paths.
//!
//! All crates speak through `tracing`, and only the binary decides in [`logging`] what becomes of it. The adapter of the kernel tells
//! the [`Observer`] of every operation; [`metrics`] gives the numbers out, [`control_files`] the rest.

mod access_log;
mod control;
mod human;
pub mod logging;
pub mod metrics;
mod observer;
mod redact;
mod slow;
mod stats;
mod words;

pub use control::control_files;
pub use logging::{Format, LogError, init};
pub use metrics::Metrics;
pub use observer::Observer;
pub use redact::{Redact, redact_json};
