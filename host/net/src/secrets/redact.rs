//! Keeping secrets out of what people read.

use super::secret::SecretCell;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Shorter values are not replaced: they are no secrets, and a log without every `a` would be of no use.
const SHORTEST: usize = 6;

/// Knows every live secret of the process and replaces its text. Cheap to clone; clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<Mutex<Vec<Weak<SecretCell>>>>,
}

impl Redactor {
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `text` with every known secret of at least 6 bytes replaced by `[redacted]`: current values, and the one
    /// before the last change, which a store's error message may still quote.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live: Vec<Arc<SecretCell>> = known.iter().filter_map(Weak::upgrade).collect();
        drop(known);
        // Longest first: a secret that contains another must not leave its rest behind.
        live.sort_by_key(|cell| std::cmp::Reverse(cell.texts().current.len()));
        let mut clean = Cow::Borrowed(text);
        for cell in live {
            let texts = cell.texts();
            for secret in std::iter::once(&texts.current).chain(&texts.previous) {
                if secret.len() >= SHORTEST
                    && let Ok(secret) = std::str::from_utf8(secret)
                    && clean.contains(secret)
                {
                    clean = Cow::Owned(clean.replace(secret, "[redacted]"));
                }
            }
        }
        clean
    }

    /// Remembers a secret for as long as it lives.
    pub(super) fn learn(&self, cell: &Arc<SecretCell>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|each| each.strong_count() > 0);
        known.push(Arc::downgrade(cell));
    }
}
