//! The entries of a directory, as they come in a reply.

use super::{DirStat, InodeStat, LeaseStat, inode_stat};
use crate::encoding::{DecodeError, Decoder, Encoder};

/// Flags of a reply with entries (`CEPH_READDIR_*`).
pub mod readdir_flags {
    /// These are the last ones of the fragment.
    pub const FRAG_END: u16 = 1;
    /// These are all of the fragment.
    pub const FRAG_COMPLETE: u16 = 1 << 8;
    /// They are ordered by the hash of their names.
    pub const HASH_ORDER: u16 = 1 << 9;
    /// The MDS understands where to begin as a hash.
    pub const OFFSET_HASH: u16 = 1 << 10;
}

/// A name, how long it lasts, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaddirEntry {
    /// The name.
    pub name: Vec<u8>,
    /// How long it means this.
    pub lease: LeaseStat,
    /// What it means.
    pub inode: InodeStat,
}

/// Entries of one fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaddirReply {
    /// Which fragment: it may be another one than was asked for, if the directory was split or joined meanwhile.
    pub dir: DirStat,
    /// As in [`readdir_flags`].
    pub flags: u16,
    /// The entries, in order.
    pub entries: Vec<ReaddirEntry>,
}

/// Bytes of an entry: an empty name, a lease, and an inode of which nothing is told.
const SMALLEST: usize = 4 + 16 + inode_stat::SMALLEST;

impl ReaddirReply {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("entries", bytes);
        let dir = DirStat::decode(&mut d)?;
        let (count, flags) = (d.u32()? as usize, d.u16()?);
        if count > d.remaining() / SMALLEST {
            return Err(d.error(format_args!("{count} entries announced, {} bytes left", d.remaining())));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let name = d.blob()?.to_vec();
            entries.push(ReaddirEntry {
                name,
                lease: LeaseStat::decode(&mut d)?,
                inode: InodeStat::decode(&mut d)?,
            });
        }
        Ok(Self { dir, flags, entries })
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        self.dir.encode(&mut e);
        e.length(self.entries.len()).u16(self.flags);
        for entry in &self.entries {
            e.blob(&entry.name);
            entry.lease.encode(&mut e);
            entry.inode.encode(&mut e);
        }
        e.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_survive_the_wire() {
        let entry = |name: &[u8], ino| ReaddirEntry {
            name: name.to_vec(),
            lease: LeaseStat::default(),
            inode: InodeStat::new(ino, super::super::ino::NO_SNAP),
        };
        let reply = ReaddirReply {
            dir: DirStat::default(),
            flags: readdir_flags::FRAG_END | readdir_flags::HASH_ORDER,
            entries: vec![entry(b"", 2), entry(b"\xff", 3)],
        };
        let bytes = reply.encode();
        assert_eq!(ReaddirReply::decode(&bytes).unwrap(), reply);
        for length in 0..bytes.len() {
            assert!(ReaddirReply::decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}
