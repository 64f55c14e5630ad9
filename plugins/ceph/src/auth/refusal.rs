//! What it means when a daemon refuses an authentication (`AUTH_BAD_METHOD`).

use super::AuthError;
use super::cephx::{METHOD_CEPHX, METHOD_NONE};

/// Errnos that say no to the client as it is.
pub(super) const EPERM: i32 = 1;
pub(super) const ENOENT: i32 = 2;
pub(super) const EACCES: i32 = 13;
/// Nothing in common.
const EOPNOTSUPP: i32 = 95;

/// The error when both sides have no method or no mode in common: the daemon tells what it would accept.
pub(super) fn nothing_in_common(result: i32, used: u32, methods: &[u32], modes: &[u32]) -> Option<AuthError> {
    if !methods.is_empty() && !methods.contains(&used) {
        return Some(AuthError::Method { used: method_name(used), allowed: listed(methods, method_name) });
    }
    // A daemon looks for a common mode before it looks at the payload.
    (result == -EOPNOTSUPP && !modes.is_empty())
        .then(|| AuthError::Mode { allowed: listed(modes, mode_name) })
}

fn method_name(method: u32) -> &'static str {
    match method {
        METHOD_NONE => "none",
        METHOD_CEPHX => "cephx",
        4 => "gss",
        _ => "an unknown method",
    }
}

fn mode_name(mode: u32) -> &'static str {
    match mode {
        1 => "crc",
        2 => "secure",
        _ => "unknown",
    }
}

fn listed(numbers: &[u32], name: fn(u32) -> &'static str) -> String {
    numbers.iter().map(|&number| name(number)).collect::<Vec<_>>().join(" or ")
}
