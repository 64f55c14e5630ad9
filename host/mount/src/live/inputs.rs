//! The files behind options.
//!
//! Credentials are read anew by whoever uses them ([`wasmount_net::Secret`]). Everything else that an option takes from a file, an endpoint or a
//! certificate, is read once when the mount is opened; when it changes, the mount is opened again. And a mount that could not be
//! opened is tried again as soon as one of its files changes, or comes to be.

use crate::config::resolved::Resolved;
use crate::plugins::load::Loaded;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use wasmount_core::mounts::{MountState, MountTable};
use wasmount_net::{PemSource, SecretsDir};
use wasmount_plugin::OptionKind;
use wasmount_types::MountId;
use zeroize::Zeroizing;

/// More of a file is not looked at: no option takes as much.
const MOST: u64 = 1 << 20;

/// A file, as one mount uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    mount: MountId,
    /// Re-read by whoever uses it.
    credential: bool,
}

/// What a file looks like from outside, and what is in it. `None`: it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    outside: (u64, u64, i64, i64),
    content: u64,
}

/// All files that mounts take options from.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    files: BTreeMap<PathBuf, (Vec<Use>, Option<Seen>)>,
}

impl Inputs {
    /// Those of the first mounts, as they are before anybody opens one: a change while the first attempt is under way is a change.
    pub(crate) async fn before_opening(mounts: &[Resolved<Loaded>]) -> Self {
        let inputs = Self::of(mounts);
        let looked = tokio::task::spawn_blocking(|| Self::default().keep(inputs));
        // Fails only if it panicked.
        looked.await.unwrap_or_default()
    }

    /// Those of these mounts.
    pub(crate) fn of(mounts: &[Resolved<Loaded>]) -> Self {
        let mut inputs = Self::default();
        for mount in mounts {
            let Ok(served) = &mount.serves else { continue };
            let spec = &served.spec;
            let mut add = |file: PathBuf, credential: bool| {
                let of_file = inputs.files.entry(file).or_default();
                of_file.0.push(Use { mount: mount.id.clone(), credential });
            };
            for option in served.plugin.description().in_force(&spec.options) {
                let Some(file) = option.file() else { continue };
                let credential = matches!(option.spec.kind, OptionKind::Secret { .. });
                match file.strip_prefix(SecretsDir::PREFIX).map(Path::new) {
                    // Paths that lead elsewhere are refused when the mount is opened.
                    Some(relative)
                        if relative.components().all(|part| matches!(part, Component::Normal(_))) =>
                    {
                        add(spec.secrets_dir.join(relative), credential);
                    }
                    Some(_) => {}
                    None => add(PathBuf::from(file), credential),
                }
            }
            let tls = &spec.tls;
            for pem in [&tls.ca_file, &tls.client_cert, &tls.client_key].into_iter().flatten() {
                if let PemSource::File(path) | PemSource::Below { path, .. } = pem {
                    add(path.clone(), false);
                }
            }
        }
        inputs
    }

    /// The files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// There are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The next ones, with what is known of them.
    pub(crate) fn keep(self, mut next: Self) -> Self {
        for (file, (_, seen)) in &mut next.files {
            // What is new is what its mount is just reading.
            *seen = self.files.get(file).map_or_else(|| look(file, None), |(_, seen)| *seen);
        }
        next
    }

    /// Looks at all of them, and has mounts opened again that need it.
    pub(crate) async fn look(mut self, table: &Arc<MountTable>) -> Self {
        if self.files.is_empty() {
            return self;
        }
        let table = table.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for (file, (uses, seen)) in &mut self.files {
                let now = look(file, *seen);
                let changed = now.map(|now| now.content) != seen.map(|seen| seen.content);
                *seen = now;
                if changed {
                    uses.iter().for_each(|one| has_changed(&table, one, file));
                }
            }
            self
        });
        // Fails only if it panicked.
        looked.await.unwrap_or_default()
    }
}

fn has_changed(table: &MountTable, one: &Use, file: &Path) {
    let works = |(mount, state): (MountId, MountState)| mount == one.mount && state == MountState::Ready;
    if one.credential && table.mount_states().into_iter().any(works) {
        return;
    }
    table.open_again(&one.mount, &format!("{} has changed", file.display()));
}

/// A file as it is. Content is read only where it may have changed.
fn look(file: &Path, before: Option<Seen>) -> Option<Seen> {
    let meta = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    let outside = (meta.ino(), meta.size(), meta.mtime(), meta.ctime_nsec() ^ meta.ctime());
    if let Some(before) = before.filter(|before| before.outside == outside) {
        return Some(before);
    }
    let mut text = Zeroizing::new(Vec::new());
    File::open(file).ok()?.take(MOST).read_to_end(&mut text).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&text);
    Some(Seen { outside, content: hasher.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        assert_eq!(look(&file, None), None);
        std::fs::write(&file, "one").unwrap();
        let first = look(&file, None).unwrap();
        assert_eq!(look(&file, Some(first)), Some(first));
        // As kubelet does it: another file with the same bytes.
        std::fs::write(dir.path().join("new"), "one").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        let again = look(&file, Some(first)).unwrap();
        assert_eq!(again.content, first.content);
        assert_ne!(again.outside, first.outside);
        std::fs::write(&file, "two").unwrap();
        assert_ne!(look(&file, Some(again)).unwrap().content, first.content);
        assert_eq!(look(dir.path(), None), None, "a directory is no file");
    }
}
