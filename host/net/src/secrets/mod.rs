//! Credentials that can be used without being seen.
//!
//! [`SecretsDir`] is the only way from an option's value to a file; a [`Secret`] is the handle that stays the same while the
//! file behind it changes; a [`Redactor`] knows all of them and keeps them out of logs and messages.

mod dir;
mod file;
mod hmac;
mod redact;
mod secret;
mod volume;

pub(crate) use self::hmac::base64_encode;
pub use self::hmac::{Encoding, Hash};
pub use dir::SecretsDir;
pub(crate) use file::read_regular_file;
pub use redact::Redactor;
pub use secret::{MAX_SECRET_BYTES, Secret};
