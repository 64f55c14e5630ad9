//! What an MDS tells of an inode.
//!
//! It is a versioned structure, because this client announces [`feature::REPLY_ENCODING`](super::feature::REPLY_ENCODING).

use super::{Caps, DirLayout, FileLayout, FragTree};
use crate::encoding::{DecodeError, Decoder, Encoder, Section};
use crate::types::UTime;

/// Bits of [`ReplyCap::flags`] (`CEPH_CAP_FLAG_*`).
pub mod cap_flags {
    /// It was issued by the rank that is responsible for the inode.
    pub const AUTH: u8 = 1;
    /// The client is asked to give it back soon.
    pub const RELEASE: u8 = 2;
}

/// A capability as it comes with an answer (`ceph_mds_reply_cap`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyCap {
    /// What the client may do. None: attributes are as they were at that moment.
    pub caps: Caps,
    /// What the MDS knows to be wanted.
    pub wanted: Caps,
    /// Its number.
    pub cap_id: u64,
    /// Counts what is said about it.
    pub seq: u32,
    /// Counts its moves to other ranks.
    pub mseq: u32,
    /// The snapshot realm of the inode.
    pub realm: u64,
    /// As in [`cap_flags`].
    pub flags: u8,
}

/// The bytes of a small file, kept with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineData {
    /// Version; see [`Self::NONE`].
    pub version: u64,
    /// All bytes of the file.
    pub bytes: Vec<u8>,
}

/// Limits on a directory and all below it (`quota_info_t`); 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaInfo {
    /// Bytes.
    pub max_bytes: i64,
    /// Files and directories.
    pub max_files: i64,
}

/// An inode (`InodeStat`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InodeStat {
    /// Its number.
    pub ino: u64,
    /// Its snapshot, or [`NO_SNAP`](super::ino::NO_SNAP).
    pub snap: u64,
    /// Device number of a device.
    pub rdev: u32,
    /// Version of the inode; 0: this is not newer than anything.
    pub version: u64,
    /// Version of the extended attributes.
    pub xattr_version: u64,
    /// The right to use what is told here.
    pub cap: ReplyCap,
    /// Where a file's bytes are; of a directory: where those of new files will be, if it says so.
    pub layout: FileLayout,
    /// When anything about it was changed.
    pub ctime: UTime,
    /// When its bytes were changed.
    pub mtime: UTime,
    /// When it was read.
    pub atime: UTime,
    /// Counts the times at which times were set, and not just moved on.
    pub time_warp_seq: u32,
    /// Bytes.
    pub size: u64,
    /// How far a writer may write.
    pub max_size: u64,
    /// To what size it was last cut.
    pub truncate_size: u64,
    /// Counts cuts.
    pub truncate_seq: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// Files in a directory.
    pub files: u64,
    /// Directories in a directory.
    pub subdirs: u64,
    /// Bytes in all files below.
    pub rbytes: u64,
    /// Files below.
    pub rfiles: u64,
    /// Directories below, itself included.
    pub rsubdirs: u64,
    /// Newest change below.
    pub rctime: UTime,
    /// How a directory is split.
    pub frag_tree: FragTree,
    /// Target of a symbolic link.
    pub symlink: Vec<u8>,
    /// How a directory's names are hashed.
    pub dir_layout: DirLayout,
    /// Extended attributes, encoded; empty: not told. See [`decode_xattrs`].
    pub xattrs: Vec<u8>,
    /// The bytes of a small file, if they are wanted and kept here.
    pub inline: InlineData,
    /// Limits on a directory.
    pub quota: QuotaInfo,
    /// When it was made.
    pub btime: UTime,
    /// Counts changes.
    pub change_attr: u64,
    /// The rank a directory is pinned to; -61 (`ENODATA`): not told, -1: none.
    pub dir_pin: i32,
    /// When a snapshot was made.
    pub snap_btime: UTime,
    /// Snapshots below.
    pub rsnaps: u64,
    /// What was said about a snapshot when it was made.
    pub snap_metadata: Xattrs,
    /// Encryption; empty: none.
    pub fscrypt_auth: Vec<u8>,
}

/// Newest version of `InodeStat` whose layout is known.
const INODE_VERSION: u8 = 8;
/// `ENODATA`, as Linux has it.
const NOT_TOLD: i32 = -61;
/// Bytes of an inode of which nothing is told.
pub(super) const SMALLEST: usize = 200;

impl InlineData {
    /// The version that stands for none (`CEPH_INLINE_NONE`).
    pub const NONE: u64 = u64::MAX;

    /// There are none: bytes are in objects.
    #[must_use]
    pub fn none() -> Self {
        Self { version: Self::NONE, bytes: Vec::new() }
    }

    /// Whether the bytes are here and not in objects.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.version != Self::NONE
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { version: d.u64()?, bytes: d.blob()?.to_vec() })
    }

    pub(super) fn encode(&self, e: &mut Encoder) {
        e.u64(self.version).blob(&self.bytes);
    }
}

impl QuotaInfo {
    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut d = decoder.section("quota_info_t", 1)?.body;
        Ok(Self { max_bytes: d.i64()?, max_files: d.i64()? })
    }

    pub(super) fn encode(self, encoder: &mut Encoder) {
        encoder.section(1, 1, |e| {
            e.i64(self.max_bytes).i64(self.max_files);
        });
    }
}

impl ReplyCap {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            caps: Caps(d.u32()?),
            wanted: Caps(d.u32()?),
            cap_id: d.u64()?,
            seq: d.u32()?,
            mseq: d.u32()?,
            realm: d.u64()?,
            flags: d.u8()?,
        })
    }

    fn encode(&self, e: &mut Encoder) {
        e.u32(self.caps.0).u32(self.wanted.0).u64(self.cap_id);
        e.u32(self.seq).u32(self.mseq).u64(self.realm).u8(self.flags);
    }
}

impl InodeStat {
    /// An inode of which nothing is told but its number.
    #[must_use]
    pub fn new(ino: u64, snap: u64) -> Self {
        Self {
            ino,
            snap,
            rdev: 0,
            version: 0,
            xattr_version: 0,
            cap: ReplyCap::default(),
            layout: FileLayout { pool: -1, ..FileLayout::default() },
            ctime: UTime::default(),
            mtime: UTime::default(),
            atime: UTime::default(),
            time_warp_seq: 0,
            size: 0,
            max_size: 0,
            truncate_size: 0,
            truncate_seq: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 0,
            files: 0,
            subdirs: 0,
            rbytes: 0,
            rfiles: 0,
            rsubdirs: 0,
            rctime: UTime::default(),
            frag_tree: FragTree::default(),
            symlink: Vec::new(),
            dir_layout: DirLayout::default(),
            xattrs: Vec::new(),
            inline: InlineData::none(),
            quota: QuotaInfo::default(),
            btime: UTime::default(),
            change_attr: 0,
            dir_pin: NOT_TOLD,
            snap_btime: UTime::default(),
            rsnaps: 0,
            snap_metadata: Vec::new(),
            fscrypt_auth: Vec::new(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("InodeStat", INODE_VERSION)?;
        let mut stat = Self::new(d.u64()?, d.u64()?);
        stat.rdev = d.u32()?;
        (stat.version, stat.xattr_version) = (d.u64()?, d.u64()?);
        stat.cap = ReplyCap::decode(&mut d)?;
        stat.layout = FileLayout::decode(&mut d)?;
        stat.decode_attributes(&mut d)?;
        stat.frag_tree = FragTree::decode(&mut d)?;
        stat.symlink = d.blob()?.to_vec();
        stat.dir_layout = DirLayout::decode(&mut d)?;
        stat.xattrs = d.blob()?.to_vec();
        stat.inline = InlineData::decode(&mut d)?;
        stat.quota = QuotaInfo::decode(&mut d)?;
        stat.layout.namespace = d.blob()?.to_vec();
        (stat.btime, stat.change_attr) = (UTime::decode(&mut d)?, d.u64()?);
        stat.decode_later(version, &mut d)?;
        Ok(stat)
    }

    fn decode_attributes(&mut self, d: &mut Decoder<'_>) -> Result<(), DecodeError> {
        (self.ctime, self.mtime, self.atime) = (UTime::decode(d)?, UTime::decode(d)?, UTime::decode(d)?);
        self.time_warp_seq = d.u32()?;
        (self.size, self.max_size, self.truncate_size) = (d.u64()?, d.u64()?, d.u64()?);
        self.truncate_seq = d.u32()?;
        (self.mode, self.uid, self.gid, self.nlink) = (d.u32()?, d.u32()?, d.u32()?, d.u32()?);
        (self.files, self.subdirs) = (d.u64()?, d.u64()?);
        (self.rbytes, self.rfiles, self.rsubdirs) = (d.u64()?, d.u64()?, d.u64()?);
        self.rctime = UTime::decode(d)?;
        Ok(())
    }

    /// What was appended over the years.
    fn decode_later(&mut self, version: u8, d: &mut Decoder<'_>) -> Result<(), DecodeError> {
        if version >= 2 {
            self.dir_pin = d.i32()?;
        }
        if version >= 3 {
            self.snap_btime = UTime::decode(d)?;
        }
        if version >= 4 {
            self.rsnaps = d.u64()?;
        }
        if version >= 5 {
            let bytes = |d: &mut Decoder<'_>| d.blob().map(<[u8]>::to_vec);
            self.snap_metadata = d.pairs(bytes, bytes)?;
        }
        if version >= 6 {
            d.skip(1)?; // whether it is encrypted: the next field says it too
        }
        if version >= 7 {
            self.fscrypt_auth = d.blob()?.to_vec();
            d.blob()?; // fscrypt_file: for writers
        }
        Ok(())
    }

    /// Writes it, as Ceph 18 does.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.section(7, 1, |e| {
            e.u64(self.ino).u64(self.snap).u32(self.rdev).u64(self.version).u64(self.xattr_version);
            self.cap.encode(e);
            self.layout.encode(e);
            for time in [self.ctime, self.mtime, self.atime] {
                time.encode(e);
            }
            e.u32(self.time_warp_seq).u64(self.size).u64(self.max_size).u64(self.truncate_size);
            e.u32(self.truncate_seq).u32(self.mode).u32(self.uid).u32(self.gid).u32(self.nlink);
            e.u64(self.files).u64(self.subdirs).u64(self.rbytes).u64(self.rfiles).u64(self.rsubdirs);
            self.rctime.encode(e);
            self.frag_tree.encode(e);
            e.blob(&self.symlink);
            self.dir_layout.encode(e);
            e.blob(&self.xattrs);
            self.inline.encode(e);
            self.quota.encode(e);
            e.blob(&self.layout.namespace);
            self.btime.encode(e);
            e.u64(self.change_attr).i32(self.dir_pin);
            self.snap_btime.encode(e);
            e.u64(self.rsnaps).list(self.snap_metadata.iter(), |e, (key, value)| {
                e.blob(key).blob(value);
            });
            e.bool(!self.fscrypt_auth.is_empty()).blob(&self.fscrypt_auth).u32(0);
        });
    }
}

/// Names and values, as extended attributes have them.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads extended attributes as they come with inodes and capabilities: names and values.
///
/// # Errors
/// They are cut off.
pub fn decode_xattrs(bytes: &[u8]) -> Result<Xattrs, DecodeError> {
    let blob = |d: &mut Decoder<'_>| d.blob().map(<[u8]>::to_vec);
    Decoder::new("extended attributes", bytes).pairs(blob, blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mds::Frag;

    #[test]
    fn they_survive_the_wire() {
        let mut stat = InodeStat::new(0x100_0000_0000, 7);
        stat.cap = ReplyCap { caps: Caps::ANY_RD, cap_id: 5, flags: cap_flags::AUTH, ..ReplyCap::default() };
        stat.layout = FileLayout {
            stripe_unit: 4096,
            stripe_count: 1,
            object_size: 4096,
            pool: 3,
            namespace: b"ns".to_vec(),
        };
        stat.frag_tree = FragTree::new([(Frag::WHOLE, 2)]);
        stat.symlink = b"target".to_vec();
        stat.inline = InlineData { version: 3, bytes: b"inline".to_vec() };
        stat.quota = QuotaInfo { max_bytes: 10, max_files: 20 };
        stat.snap_metadata = vec![(b"k".to_vec(), b"v".to_vec())];
        stat.xattrs = [&[1, 0, 0, 0, 1, 0, 0, 0][..], b"a", &[2, 0, 0, 0], b"bc"].concat();
        let mut encoder = Encoder::new();
        stat.encode(&mut encoder);
        let bytes = encoder.finish();
        let mut d = Decoder::new("test", &bytes);
        assert_eq!(InodeStat::decode(&mut d).unwrap(), stat);
        assert!(d.is_empty());
        assert_eq!(decode_xattrs(&stat.xattrs).unwrap(), [(b"a".to_vec(), b"bc".to_vec())]);
        let mut nothing = Encoder::new();
        InodeStat::new(1, 2).encode(&mut nothing);
        assert!(nothing.len() >= SMALLEST);
    }
}
