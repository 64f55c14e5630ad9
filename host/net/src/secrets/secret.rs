//! One credential.

use super::dir::Store;
use super::hmac::{Encoding, Hash};
use super::volume::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use wasmount_types::Result;
use zeroize::Zeroizing;

/// Largest secret: more than a private key with its chain, less than what would hurt to read once per second.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A credential: text from a file, without one trailing newline, or a literal. Cheap to clone; clones are the same
/// secret. Has no `Debug` and no `Display`; its text is overwritten in memory when the last clone is dropped.
#[derive(Clone)]
pub struct Secret {
    cell: Arc<SecretCell>,
    /// `None`: a literal, which never changes.
    store: Option<Arc<Store>>,
}

/// The memory behind all clones of a [`Secret`].
pub(super) struct SecretCell {
    /// Name of the option, for messages.
    pub(super) option: String,
    /// `None`: a literal.
    pub(super) location: Option<Location>,
    generation: AtomicU64,
    texts: RwLock<Texts>,
}

/// Texts, overwritten in memory when they are dropped.
pub(super) struct Texts {
    pub(super) current: Zeroizing<Vec<u8>>,
    /// What it was before the last change.
    pub(super) previous: Option<Zeroizing<Vec<u8>>>,
}

impl SecretCell {
    pub(super) fn literal(option: &str, text: Zeroizing<Vec<u8>>) -> Self {
        Self {
            option: option.to_owned(),
            location: None,
            generation: AtomicU64::new(1),
            texts: RwLock::new(Texts { current: text, previous: None }),
        }
    }

    /// One whose file is still to be read; generation 0 until then.
    pub(super) fn unread(option: &str, location: Location) -> Self {
        Self {
            option: option.to_owned(),
            location: Some(location),
            generation: AtomicU64::new(0),
            texts: RwLock::new(Texts { current: Zeroizing::default(), previous: None }),
        }
    }

    pub(super) fn texts(&self) -> RwLockReadGuard<'_, Texts> {
        self.texts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn replace(&self, text: Zeroizing<Vec<u8>>) {
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut texts.current, text);
        if *before != *texts.current && !before.is_empty() {
            texts.previous = Some(before);
        }
        // After the text: who sees the new number must see the new text.
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Secret {
    pub(super) fn new(cell: Arc<SecretCell>, store: Option<Arc<Store>>) -> Self {
        Self { cell, store }
    }

    /// Counts changes of the file, from 1. Looks at the file at most once per second, else costs nothing. When the file
    /// cannot be read any more, the old text stays.
    pub fn generation(&self) -> u64 {
        if let Some(store) = &self.store {
            store.look_if_due();
        }
        self.cell.generation.load(Ordering::Acquire)
    }

    /// HMAC over `data` with the key `prefix` followed by the secret. Never blocks.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: not base64.
    pub fn hmac(&self, hash: Hash, encoding: Encoding, prefix: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        super::hmac::keyed_hash(hash, encoding, prefix, &self.cell.texts().current, data)
            .map_err(|error| error.context(format_args!("option {}", self.cell.option)))
    }

    /// The text in clear. Whether it may be shown is the caller's to decide.
    pub fn reveal(&self) -> Vec<u8> {
        self.cell.texts().current.to_vec()
    }

    /// Reads the file again because the store refused generation `rejected`, and returns the generation that now holds: if
    /// it is still `rejected`, nothing has changed.
    ///
    /// # Errors
    /// `unavailable`, blame `host`: the file cannot be read; the message names option, path and remedy.
    #[allow(
        clippy::unused_async,
        reason = "the contract lets it wait; today the file is in the kubelet's tmpfs"
    )]
    pub async fn refresh(&self, rejected: u64) -> Result<u64> {
        if let Some(store) = &self.store {
            let before = self.cell.generation.load(Ordering::Acquire);
            // Another request may have been refused, and have read the file, in the meantime.
            if before == rejected {
                store.read_again(&self.cell)?;
            }
        }
        Ok(self.cell.generation.load(Ordering::Acquire))
    }
}
