//! Extended attributes: what cannot be said with an errno.

use super::opener::State;
use super::table::{MountTable, Target};
use bytes::Bytes;
use wasmount_types::{Blame, Error, ErrorKind, Ino};

/// On the directory of a failed mount: why it failed, and what to do.
pub const ERROR: &str = "user.wasmount.error";
/// On a file: the key of its object.
pub const KEY: &str = "user.wasmount.key";
/// On a file: its version as the store names it.
pub const VERSION: &str = "user.wasmount.version";

impl MountTable {
    pub(super) fn attribute(&self, ino: Ino, name: &[u8]) -> Result<Bytes, Error> {
        let found = self.attributes_of(ino)?.into_iter().find(|(own, _)| own.as_bytes() == name);
        found.map(|(_, value)| value.into()).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            Error::new(ErrorKind::NoAttribute, Blame::Caller, format!("there is no attribute {name}"))
        })
    }

    pub(super) fn attribute_names(&self, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.attributes_of(ino)?.into_iter().map(|(name, _)| name.as_bytes().to_vec()).collect())
    }

    fn attributes_of(&self, ino: Ino) -> Result<Vec<(&'static str, String)>, Error> {
        Ok(match self.target(ino)? {
            Target::Table(index) => {
                match self.directory(index)?.mount.map(|mount| self.mount(mount)).transpose()? {
                    Some(mount) => match mount.state() {
                        State::Failed(error) => vec![(ERROR, error.to_string())],
                        State::Opening | State::Ready(_) => Vec::new(),
                    },
                    None => Vec::new(),
                }
            }
            Target::Directory { .. } => Vec::new(),
            Target::File { path, file, .. } => {
                let version = file.version.map(|version| (VERSION, version.as_str().to_owned()));
                [(KEY, path.to_string())].into_iter().chain(version).collect()
            }
        })
    }
}
