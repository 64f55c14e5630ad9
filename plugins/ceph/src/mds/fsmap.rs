//! Which file systems there are, as far as this user may know.

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::types::Epoch;
use std::collections::BTreeMap;

/// Number of a file system (`fs_cluster_id_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileSystemId(pub i32);

/// Stands for no file system (`FS_CLUSTER_ID_NONE`).
const NONE: i32 = -1;
/// Bytes of an entry: a section's head, a number and an empty name.
const SMALLEST: usize = 14;

/// The names of file systems (`FSMapUser`). Monitors leave out those that the user has no capability for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsMapUser {
    /// Number of this version.
    pub epoch: Epoch,
    /// The one that a client gets which names none, if there is one.
    pub default: Option<FileSystemId>,
    /// Their names.
    pub file_systems: BTreeMap<FileSystemId, String>,
}

impl FsMapUser {
    /// Version of the message that is written.
    pub const VERSION: u16 = 1;

    /// Reads the front of a message (`MFSMapUser`).
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut message = Decoder::new("MFSMapUser", front);
        message.skip(4)?; // the epoch, once more
        let mut body = message.section("FSMapUser", 1)?.body;
        let epoch = body.u32()?;
        let default = body.i32()?;
        let mut file_systems = BTreeMap::new();
        for _ in 0..body.count(SMALLEST)? {
            let mut info = body.section("FSMapUser::fs_info_t", 1)?.body;
            file_systems.insert(FileSystemId(info.i32()?), info.string()?);
        }
        let default = (default != NONE).then_some(FileSystemId(default));
        Ok(Self { epoch, default, file_systems })
    }

    /// Writes the front of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u32(self.epoch).section(1, 1, |body| {
            body.u32(self.epoch).i32(self.default.map_or(NONE, |id| id.0));
            body.list(self.file_systems.iter(), |body, (id, name)| {
                body.section(1, 1, |info| {
                    info.i32(id.0).blob(name);
                });
            });
        });
        encoder.finish()
    }

    /// The file system of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<FileSystemId> {
        self.file_systems.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// The names, for a sentence: `a, b`. Of very many only the first ones.
    #[must_use]
    pub fn names(&self) -> String {
        const NAMED_MAX: usize = 32;
        let named: Vec<&str> = self.file_systems.values().map(String::as_str).take(NAMED_MAX).collect();
        let more = if self.file_systems.len() > NAMED_MAX { ", …" } else { "" };
        named.join(", ") + more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_wire() {
        let names = [(1, "cephfs"), (4, "other-fs")].map(|(id, name)| (FileSystemId(id), name.to_owned()));
        for default in [None, Some(FileSystemId(1))] {
            let map = FsMapUser { epoch: 9, default, file_systems: names.clone().into() };
            assert_eq!(FsMapUser::decode(&map.encode()).unwrap(), map);
            assert_eq!((map.named("other-fs"), map.named("x")), (Some(FileSystemId(4)), None));
            assert_eq!(map.names(), "cephfs, other-fs");
        }
        assert!(FsMapUser::decode(&[0; 9]).is_err());
    }
}
