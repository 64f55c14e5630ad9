//! Log lines that appear in the host's log with plugin and mount. Known secrets are redacted by the host, but do not rely on it.

use crate::bindings::wasmount::plugin::log::{emit, enabled};
use crate::bindings::wasmount::plugin::types::Pair;

pub use crate::bindings::wasmount::plugin::log::Level;

/// Writes one line with fields. Never fails; over the rate limit, lines are counted and dropped.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<Pair> =
        fields.iter().map(|(name, value)| Pair { name: (*name).into(), value: (*value).into() }).collect();
    emit(level, message, &fields);
}

/// Whether lines of this level go anywhere; ask before composing expensive ones.
pub fn is_enabled(level: Level) -> bool {
    enabled(level)
}

/// A line for the author on a user's machine.
pub fn debug(message: &str) {
    emit(Level::Debug, message, &[]);
}

/// A rare event worth a line in production.
pub fn info(message: &str) {
    emit(Level::Info, message, &[]);
}

/// Something is wrong and was dealt with.
pub fn warn(message: &str) {
    emit(Level::Warn, message, &[]);
}

/// Something failed that somebody will notice.
pub fn error(message: &str) {
    emit(Level::Error, message, &[]);
}
