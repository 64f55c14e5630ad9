//! Logging of the binary: one redactor for the whole process.

use crate::cli::LogArgs;
use std::sync::{Arc, LazyLock};
use wasmount_net::Redactor;

/// Knows every secret that has been read, so that no log line shows one.
static REDACTOR: LazyLock<Redactor> = LazyLock::new(Redactor::new);

/// The process's redactor.
pub(crate) fn redactor() -> Redactor {
    REDACTOR.clone()
}

/// Replaces every secret that has been read, wherever in the value it stands.
pub(crate) fn redact_json(value: &mut serde_json::Value) {
    wasmount_observe::redact_json(value, &redact());
}

fn redact() -> wasmount_observe::Redact {
    Arc::new(|text| REDACTOR.redact(text))
}

/// Starts logging to standard error.
///
/// # Errors
/// For a malformed filter.
pub(crate) fn init(args: &LogArgs) -> anyhow::Result<()> {
    wasmount_observe::init(args.log, args.log_level.as_deref(), redact())?;
    Ok(())
}
