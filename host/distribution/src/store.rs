//! What was fetched, on disk: plugins under their digests, and what references meant when they were last asked about.
//!
//! Several processes may share it. Files appear complete, by rename, and one that is not what its name says is not used. What a reference
//! means is taken from here without asking anybody, so nobody else may be able to write.

use crate::error::{Error, Result};
use crate::reference::Remote;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;
use wasmount_types::{Digest, Digester};

/// Format of [`Record`].
const VERSION: u32 = 1;
/// Bytes of a record; a reference has a few hundred.
const RECORD: u64 = 64 * 1024;

/// A directory of plugins.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What a reference meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// The reference.
    pub(crate) reference: String,
    /// Digest of the manifest or index it named.
    pub(crate) manifest: String,
    /// Digest of the plugin in there.
    pub(crate) plugin: String,
    /// When the registry said so, in seconds since 1970.
    pub(crate) resolved: u64,
    /// Fingerprint of the key whose signature was found on the manifest.
    pub(crate) signed_by: Option<String>,
}

impl Record {
    pub(crate) fn new(reference: &str, manifest: Digest, plugin: Digest, signed_by: Option<String>) -> Self {
        let resolved = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let (reference, manifest, plugin) = (reference.to_owned(), manifest.to_string(), plugin.to_string());
        Self { version: VERSION, reference, manifest, plugin, resolved, signed_by }
    }
}

impl Store {
    /// Opens the directory, and makes it (0700) if it is not there.
    ///
    /// # Errors
    /// `Storage`: it cannot be used, or others can write to it.
    pub fn open(dir: &Path) -> Result<Self> {
        let refuse = |why: String| {
            Error::storage(format_args!(
                "the directory for fetched plugins, {}, {why}; remove it or choose another with --state-dir",
                dir.display()
            ))
        };
        for dir in [dir, &dir.join("references")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|error| refuse(format!("cannot be made: {error}")))?;
            let meta =
                fs::symlink_metadata(dir).map_err(|error| refuse(format!("cannot be examined: {error}")))?;
            let me = rustix::process::geteuid().as_raw();
            if !meta.is_dir() {
                return Err(refuse("is not a directory".to_owned()));
            }
            if meta.uid() != me {
                return Err(refuse(format!("belongs to user {} and not to {me}, who runs this", meta.uid())));
            }
            if meta.mode() & 0o022 != 0 {
                return Err(refuse(format!("can be written by others (mode {:o})", meta.mode() & 0o7777)));
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("sha256-{}.wasm", digest.hex()))
    }

    fn record_path(&self, reference: &str) -> PathBuf {
        self.dir.join("references").join(format!("{}.json", Digest::of(reference.as_bytes()).hex()))
    }

    /// What a start looks at that finds this reference, which has meant this plugin, here: whoever goes on using the plugin marks these as
    /// used ([`crate::mark_used`]).
    pub fn files(&self, reference: &Remote, plugin: &Digest) -> Vec<PathBuf> {
        let record = match reference {
            Remote::Oci(oci) => Some(self.record_path(&oci.to_string())),
            Remote::Https(_) => None,
        };
        std::iter::once(self.path(plugin)).chain(record).collect()
    }

    /// The plugin of this digest, if it is here and sound; it counts as used then.
    pub(crate) fn plugin(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.path(digest);
        let mut file = File::open(&path).ok()?;
        let mut digester = Digester::default();
        io::copy(&mut file, &mut digester).ok()?;
        if digester.finish() != *digest {
            tracing::warn!(path = %path.display(), "a damaged plugin is not used");
            return None;
        }
        // Only keeps it from being tidied away.
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// What the reference meant when it was last asked about.
    pub(crate) fn record(&self, reference: &str) -> Option<Record> {
        let file = File::open(self.record_path(reference)).ok()?;
        let mut bytes = Vec::new();
        (&file).take(RECORD).read_to_end(&mut bytes).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let _ = file.set_modified(SystemTime::now());
        (record.version == VERSION && record.reference == reference).then_some(record)
    }

    /// Notes what a reference means.
    ///
    /// # Errors
    /// `Storage`: it cannot be written.
    pub(crate) fn note(&self, record: &Record) -> Result<()> {
        let path = self.record_path(&record.reference);
        let write = || -> io::Result<()> {
            let mut file = NamedTempFile::with_suffix_in(".tmp", &self.dir)?;
            serde_json::to_writer(&mut file, record)?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| self.failed(&error))
    }

    /// A file for a plugin that is being fetched.
    ///
    /// # Errors
    /// `Storage`: it cannot be made.
    pub(crate) fn create(&self) -> Result<Incoming> {
        let file = NamedTempFile::with_suffix_in(".tmp", &self.dir).map_err(|error| self.failed(&error))?;
        Ok(Incoming { store: self.clone(), file, digester: Digester::default() })
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::storage(format_args!(
            "{} cannot be written: {error}; make room, or choose another place with --state-dir",
            self.dir.display()
        ))
    }
}

/// A file on its way; gone unless it is sealed and kept.
pub(crate) struct Incoming {
    store: Store,
    file: NamedTempFile,
    digester: Digester,
}

impl Incoming {
    /// # Errors
    /// `Storage`
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|error| self.store.failed(&error))
    }

    /// Nothing more comes.
    pub(crate) fn seal(self) -> Sealed {
        Sealed { store: self.store, file: self.file, digest: self.digester.finish() }
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digester.write_all(bytes.get(..written).unwrap_or_default())?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A complete file that has no name yet.
#[derive(Debug)]
pub(crate) struct Sealed {
    store: Store,
    file: NamedTempFile,
    /// What it is.
    pub(crate) digest: Digest,
}

impl Sealed {
    /// Keeps it under its digest, and says where.
    ///
    /// # Errors
    /// `Storage`
    pub(crate) fn keep(self) -> Result<PathBuf> {
        let path = self.store.path(&self.digest);
        // Bytes before the name: after a power cut there is the whole file or none.
        let kept = self.file.as_file().sync_data().and_then(|()| Ok(self.file.persist(&path)?));
        kept.map_err(|error| self.store.failed(&error))?;
        Ok(path)
    }

    /// To read it before it is kept.
    ///
    /// # Errors
    /// `Storage`
    pub(crate) fn reopen(&self) -> Result<File> {
        self.file.reopen().map_err(|error| self.store.failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn plugins_are_kept_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(&store.dir).unwrap().mode() & 0o777, 0o700);
        let digest = Digest::of(b"content");
        assert_eq!(store.plugin(&digest), None);
        let mut incoming = store.create().unwrap();
        Incoming::write(&mut incoming, b"con").unwrap();
        drop(incoming);
        let mut incoming = store.create().unwrap();
        Incoming::write(&mut incoming, b"con").unwrap();
        Incoming::write(&mut incoming, b"tent").unwrap();
        let sealed = incoming.seal();
        assert_eq!(sealed.digest, digest);
        let path = sealed.keep().unwrap();
        assert_eq!(store.plugin(&digest), Some(path.clone()));
        assert_eq!(fs::read_dir(&store.dir).unwrap().count(), 2, "the plugin and the references");
        fs::write(&path, "CONTENT").unwrap();
        assert_eq!(store.plugin(&digest), None, "it is not what its name says");
    }

    #[test]
    fn records_come_back() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("s").as_path()).unwrap();
        let record = Record::new("oci://r/a:b", Digest::of(b"m"), Digest::of(b"p"), Some("key".to_owned()));
        assert_eq!(store.record("oci://r/a:b"), None);
        store.note(&record).unwrap();
        assert_eq!(store.record("oci://r/a:b"), Some(record.clone()));
        assert_eq!(store.record("oci://r/a:c"), None);
        let path = store.record_path("oci://r/a:b");
        for broken in ["", "{}", r#"{"version":2}"#] {
            fs::write(&path, broken).unwrap();
            assert_eq!(store.record("oci://r/a:b"), None, "{broken}");
        }
        let other = Record { reference: "oci://r/other".to_owned(), ..record };
        fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
        assert_eq!(store.record("oci://r/a:b"), None, "a record of something else");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Store::open(root.path()).unwrap_err();
        assert!(error.message.contains("can be written by others") && error.message.contains("--state-dir"));
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        Store::open(&file).unwrap_err();
    }
}
