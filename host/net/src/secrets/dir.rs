//! From an option's value to a file.

use super::file::Fingerprint;
use super::secret::SecretCell;
use super::volume::{Found, Location, Round};
use super::{Redactor, Secret};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use wasmount_types::{Blame, Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Files are looked at again after this many milliseconds, when somebody asks.
const LOOK_EVERY_MS: u64 = 1000;

/// Repetitions when `..data` moves while files are being read. The kubelet needs a minute from one move to the next.
const ROUNDS: usize = 4;

/// The directory below which option values are files. Cheap to clone.
///
/// Whatever value begins with [`Self::PREFIX`], of an option of any kind, is the path of a file, and what follows the
/// prefix is looked up below this directory; everything else is a literal.
///
/// Files that Kubernetes mounts from a Secret are links through one `..data` link per volume, which is exchanged
/// as a whole when the Secret changes. All secrets made by one `SecretsDir` from one volume are always read from the same
/// `..data`: a pair of access key and secret key never mixes two generations.
#[derive(Clone)]
pub struct SecretsDir {
    root: Arc<Path>,
    redactor: Redactor,
    store: Arc<Store>,
}

/// All files behind live secrets of one [`SecretsDir`].
pub(super) struct Store {
    files: Mutex<Vec<TrackedFile>>,
    started: Instant,
    /// Milliseconds since `started`.
    next_look: AtomicU64,
}

struct TrackedFile {
    cell: Weak<SecretCell>,
    known: Option<Fingerprint>,
    /// The last look failed and was logged.
    failing: bool,
}

impl SecretsDir {
    /// What Fluid writes into config.json, and where it mounts Secrets.
    pub const PREFIX: &str = "/etc/fluid/secrets/";

    /// A directory with a redactor of its own.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::with_redactor(root, Redactor::new())
    }

    /// A directory whose secrets are made known to `redactor`.
    pub fn with_redactor(root: impl Into<PathBuf>, redactor: Redactor) -> Self {
        let store = Store {
            files: Mutex::new(Vec::new()),
            started: Instant::now(),
            next_look: AtomicU64::new(LOOK_EVERY_MS),
        };
        Self { root: root.into().into(), redactor, store: Arc::new(store) }
    }

    /// Whether an option's value is the path of a file, by [`Self::PREFIX`].
    pub fn is_reference(value: &str) -> bool {
        value.starts_with(Self::PREFIX)
    }

    /// Knows every secret that this directory has made.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The secret that an option's value stands for: a file's content or the value itself. `option` is for messages.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: the path leaves the directory, or the file is too large.
    /// `unavailable`, blame `host`: the file is missing or cannot be read. Messages name option, path and remedy.
    pub fn secret(&self, option: &str, value: &str) -> Result<Secret> {
        match self.location(option, value)? {
            Some(location) => self.track(option, location),
            None => {
                let cell = Arc::new(SecretCell::literal(option, Zeroizing::new(value.as_bytes().to_vec())));
                self.redactor.learn(&cell);
                Ok(Secret::new(cell, None))
            }
        }
    }

    /// The secret in any file, for options the operator gave on the command line. Re-read like any other.
    ///
    /// # Errors
    /// As [`Self::secret`].
    pub fn secret_at(&self, option: &str, path: &Path) -> Result<Secret> {
        self.track(option, Location::anywhere(path))
    }

    /// The value of an option that is no credential: a file's content (one trailing newline stripped) or the value itself.
    ///
    /// # Errors
    /// As [`Self::secret`]; also `invalid` when the content is not UTF-8.
    pub fn text(&self, option: &str, value: &str) -> Result<String> {
        let Some(location) = self.location(option, value)? else { return Ok(value.to_owned()) };
        let text = without_newline(read_once(option, &location, super::MAX_SECRET_BYTES)?);
        String::from_utf8(text.to_vec()).map_err(|_| {
            let path = location.path().display();
            invalid(format!("option {option}: the file {path} is not UTF-8 text; correct the Secret's key"))
        })
    }

    /// The bytes of the file that an option's value names, as they are; for `file-content` options and PEM files.
    ///
    /// # Errors
    /// As [`Self::secret`]; also `invalid` when the value does not begin with [`Self::PREFIX`].
    pub fn content(&self, option: &str, value: &str, limit: u64) -> Result<Vec<u8>> {
        match self.location(option, value)? {
            Some(location) => Ok(read_once(option, &location, limit)?.to_vec()),
            None => Err(invalid(format!(
                "option {option}: the value must be the path of a file below {}",
                Self::PREFIX
            ))),
        }
    }

    fn location(&self, option: &str, value: &str) -> Result<Option<Location>> {
        match value.strip_prefix(Self::PREFIX) {
            Some(relative) => Location::below(&self.root, option, relative).map(Some),
            None => Ok(None),
        }
    }

    fn track(&self, option: &str, location: Location) -> Result<Secret> {
        let cell = Arc::new(SecretCell::unread(option, location));
        let mut files = self.store.files();
        files.push(TrackedFile { cell: Arc::downgrade(&cell), known: None, failing: false });
        // The others too: they may be of the same volume, and its `..data` may have moved since they were read.
        self.store.look(&mut files, Some(&cell))?;
        drop(files);
        self.redactor.learn(&cell);
        Ok(Secret::new(cell, Some(Arc::clone(&self.store))))
    }
}

impl Store {
    fn files(&self) -> MutexGuard<'_, Vec<TrackedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all files if the last look was a second ago.
    pub(super) fn look_if_due(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next_look.load(Ordering::Relaxed);
        if now < due
            || self
                .next_look
                .compare_exchange(due, now + LOOK_EVERY_MS, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let mut files = self.files();
        // Without a file that must be readable a look cannot fail; what it meets is logged.
        let _ = self.look(&mut files, None);
    }

    /// Reads the file of `cell` again even if it looks unchanged.
    pub(super) fn read_again(&self, cell: &Arc<SecretCell>) -> Result<()> {
        let mut files = self.files();
        self.look(&mut files, Some(cell))
    }

    /// Looks at all files. Fails only for `must`, whose file is read whatever its fingerprint says.
    fn look(&self, files: &mut Vec<TrackedFile>, must: Option<&Arc<SecretCell>>) -> Result<()> {
        files.retain(|file| file.cell.strong_count() > 0);
        let mut seen = look_once(files, must);
        for _ in 1..ROUNDS {
            // If a link has moved, the round may have seen files of two generations, or missed those of the old one.
            if seen.round.still_holds() {
                break;
            }
            seen = look_once(files, must);
        }
        let mut outcome = Ok(());
        for (file, looked) in files.iter_mut().zip(seen.files) {
            let Some((cell, found)) = looked else { continue };
            match found {
                Ok(Found { text: None, .. }) => file.failing = false,
                Ok(Found { text: Some(text), fingerprint }) => {
                    file.failing = false;
                    let text = without_newline(text);
                    if file.known.as_ref() != Some(&fingerprint) || *cell.texts().current != *text {
                        cell.replace(text);
                        file.known = Some(fingerprint);
                    }
                }
                Err(error) if is_same(must, &cell) => outcome = Err(error),
                Err(error) => {
                    if !file.failing {
                        tracing::warn!(%error, "a secret's file cannot be read any more; its last text stays in use");
                    }
                    file.failing = true;
                }
            }
        }
        outcome
    }
}

/// What one round has met; `files` in the order of the tracked ones.
struct Seen {
    round: Round,
    files: Vec<Option<(Arc<SecretCell>, Result<Found>)>>,
}

fn look_once(files: &[TrackedFile], must: Option<&Arc<SecretCell>>) -> Seen {
    let mut round = Round::default();
    let mut look = |file: &TrackedFile| {
        let cell = file.cell.upgrade()?;
        let known = if is_same(must, &cell) { None } else { file.known.as_ref() };
        let found = round.look(&cell.option, cell.location.as_ref()?, known);
        Some((cell, found))
    };
    let files = files.iter().map(&mut look).collect();
    Seen { round, files }
}

fn is_same(must: Option<&Arc<SecretCell>>, cell: &Arc<SecretCell>) -> bool {
    must.is_some_and(|must| Arc::ptr_eq(must, cell))
}

fn read_once(option: &str, location: &Location, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    let mut outcome = Round::default().look_at_most(option, location, None, limit);
    if outcome.is_err() {
        // Once more: the kubelet may have exchanged the directory between two steps.
        outcome = Round::default().look_at_most(option, location, None, limit);
    }
    Ok(outcome?.text.unwrap_or_default())
}

fn without_newline(mut text: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    text
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, message)
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
