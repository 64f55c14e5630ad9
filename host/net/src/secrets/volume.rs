//! Where a secret's file really is.
//!
//! The kubelet writes a Secret into a fresh directory, points the link `..data` of the volume to it and then removes the
//! old one (`pkg/volume/util/atomic_writer.go` of Kubernetes); the names a pod sees are links into `..data`. Whoever
//! follows them one by one can meet two generations. Here `..data` is resolved once for all files of a volume.

use super::file::{Fingerprint, open_regular_file, read_opened};
use super::secret::MAX_SECRET_BYTES;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use wasmount_types::{Blame, Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// A file as an option names it.
#[derive(Clone)]
pub(super) struct Location {
    /// Where it is looked up.
    path: PathBuf,
    /// It must not lie outside this directory, whatever links say; `None`: the operator may name any file.
    root: Option<PathBuf>,
}

impl Location {
    /// The file `relative` below `root`.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: the path leaves the directory.
    pub(super) fn below(root: &Path, option: &str, relative: &str) -> Result<Self> {
        let mut inside = PathBuf::new();
        for component in Path::new(relative).components() {
            match component {
                Component::Normal(name) => inside.push(name),
                Component::ParentDir => {
                    if !inside.pop() {
                        return Err(outside(option, relative, root));
                    }
                }
                // A second slash after the prefix looks like a root, and means nothing.
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Ok(Self { path: root.join(inside), root: Some(root.to_owned()) })
    }

    /// Any file.
    pub(super) fn anywhere(path: &Path) -> Self {
        Self { path: path.to_owned(), root: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Remembers where `..data` of each volume points, for one round of reading.
#[derive(Default)]
pub(super) struct Round {
    targets: HashMap<PathBuf, Option<PathBuf>>,
}

/// Content and identity of a file.
pub(super) struct Found {
    pub(super) fingerprint: Fingerprint,
    /// `None`: not read, since the fingerprint is the known one.
    pub(super) text: Option<Zeroizing<Vec<u8>>>,
}

impl Round {
    /// Looks at a file, and reads it unless its fingerprint is `known`.
    pub(super) fn look(
        &mut self,
        option: &str,
        location: &Location,
        known: Option<&Fingerprint>,
    ) -> Result<Found> {
        self.look_at_most(option, location, known, MAX_SECRET_BYTES)
    }

    /// The same with another limit on the size.
    pub(super) fn look_at_most(
        &mut self,
        option: &str,
        location: &Location,
        known: Option<&Fingerprint>,
        limit: u64,
    ) -> Result<Found> {
        let physical = self.physical(location);
        if let Some(root) = &location.root {
            confine(option, location, &physical, root)?;
        }
        let unreadable = |why: String| unreadable(option, location, &why);
        let (file, fingerprint) = open_regular_file(&physical).map_err(unreadable)?;
        if known == Some(&fingerprint) {
            return Ok(Found { fingerprint, text: None });
        }
        if fingerprint.length() > limit {
            return Err(too_large(option, location, limit));
        }
        let text = read_opened(file, fingerprint.length(), limit).map_err(unreadable)?;
        let text = text.ok_or_else(|| too_large(option, location, limit))?;
        Ok(Found { fingerprint, text: Some(text) })
    }

    /// Whether every `..data` still points where it did when this round met it.
    pub(super) fn still_holds(&self) -> bool {
        self.targets.iter().all(|(volume, target)| std::fs::read_link(volume.join("..data")).ok() == *target)
    }

    fn physical(&mut self, location: &Location) -> PathBuf {
        let path = &location.path;
        for volume in path.ancestors().skip(1) {
            if location.root.as_ref().is_some_and(|root| !volume.starts_with(root)) {
                break;
            }
            let target = self
                .targets
                .entry(volume.to_owned())
                .or_insert_with(|| std::fs::read_link(volume.join("..data")).ok());
            if let (Some(target), Ok(inside)) = (target.as_ref(), path.strip_prefix(volume)) {
                let through_data = volume.join(target).join(inside);
                // A file that was put beside `..data` is not part of it.
                if std::fs::symlink_metadata(&through_data).is_ok() {
                    return through_data;
                }
            }
        }
        path.clone()
    }
}

fn confine(option: &str, location: &Location, physical: &Path, root: &Path) -> Result<()> {
    let resolve =
        |path: &Path| path.canonicalize().map_err(|error| unreadable(option, location, &error.to_string()));
    if resolve(physical)?.starts_with(resolve(root)?) {
        Ok(())
    } else {
        Err(outside(option, &location.path.display().to_string(), root))
    }
}

fn outside(option: &str, path: &str, root: &Path) -> Error {
    Error::new(
        ErrorKind::Invalid,
        Blame::Caller,
        format!(
            "option {option}: {path} leads out of the secrets directory {}; name a file below it",
            root.display()
        ),
    )
}

fn unreadable(option: &str, location: &Location, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Blame::Host,
        format!(
            "option {option}: the file {} cannot be read: {why}; check that the Secret exists, has this key and is mounted \
             into this pod",
            location.path.display()
        ),
    )
    .with_retry(wasmount_types::Retry::AfterMs(1000))
}

fn too_large(option: &str, location: &Location, limit: u64) -> Error {
    Error::new(
        ErrorKind::Invalid,
        Blame::Caller,
        format!("option {option}: the file {} is larger than {limit} bytes", location.path.display()),
    )
}
