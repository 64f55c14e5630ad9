//! From the secret to the signing key, and the hashes on the way.

use crate::bindings::wasmount::plugin::secrets::{Encoding, Hash, Secret};
use crate::{Error, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fmt;

/// A secret key that can be used but not seen. The host's [`Secret`] is one; tests bring their own.
pub trait SigningSecret {
    /// Changes whenever the secret does.
    fn generation(&self) -> u64;

    /// HMAC-SHA-256 over `data` with the key `prefix` followed by the secret.
    ///
    /// # Errors
    /// What the host says; a secret that is there does not fail.
    fn hmac(&self, prefix: &[u8], data: &[u8]) -> Result<Vec<u8>>;
}

impl SigningSecret for Secret {
    fn generation(&self) -> u64 {
        Secret::generation(self)
    }

    fn hmac(&self, prefix: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        Secret::hmac(self, Hash::Sha256, Encoding::Raw, prefix, data)
    }
}

/// A secret key in the plugin's own memory, because it came there in an answer: temporary credentials. What an option names is a
/// [`Secret`], which stays in the host.
pub struct ClearSecret {
    text: String,
    generation: u64,
}

impl ClearSecret {
    /// A key with a number that no other key signed with by the same [`Signer`](super::Signer) has.
    pub fn new(text: impl Into<String>, generation: u64) -> Self {
        Self { text: text.into(), generation }
    }

    /// Whether this is the text of the key.
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

impl fmt::Debug for ClearSecret {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClearSecret").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl SigningSecret for ClearSecret {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn hmac(&self, prefix: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        hmac_sha256(&[prefix, self.text.as_bytes()].concat(), data)
    }
}

/// The last signing key: good for a day, as long as the secret is the same.
#[derive(Default)]
pub(super) struct KeyCache(RefCell<Option<Derived>>);

struct Derived {
    date: String,
    generation: u64,
    key: Vec<u8>,
}

impl fmt::Debug for KeyCache {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyCache")
    }
}

impl KeyCache {
    /// The key for a date (`20130524`), a region and a service, which are the same in every call.
    pub(super) fn derive(
        &self,
        secret: &impl SigningSecret,
        date: &str,
        region: &str,
        service: &str,
    ) -> Result<Vec<u8>> {
        // Read before the derivation: if the secret changes meanwhile, the next call derives again.
        let generation = secret.generation();
        if let Some(derived) =
            self.0.borrow().as_ref().filter(|it| it.generation == generation && it.date == date)
        {
            return Ok(derived.key.clone());
        }
        let mut key = secret.hmac(b"AWS4", date.as_bytes())?;
        for link in [region, service, "aws4_request"] {
            key = hmac_sha256(&key, link.as_bytes())?;
        }
        self.0.replace(Some(Derived { date: date.to_owned(), generation, key: key.clone() }));
        Ok(key)
    }
}

pub(super) fn hmac_sha256(key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|error| Error::other(format!("HMAC-SHA-256: {error}")))?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().to_vec())
}

pub(super) fn sha256(data: &[u8]) -> Vec<u8> {
    Sha256::digest(data).to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}
