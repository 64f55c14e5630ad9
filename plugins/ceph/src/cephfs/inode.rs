//! One inode: its attributes, and what this client and its user hold of it.

use super::answer::{Attributes, Kind, RecursiveStat, Xattrs};
use super::cap::{CapSet, before};
use super::directory::Directory;
use super::ids::Vino;
use crate::mds::{Caps, CapsMessage, FileLayout, FilePath, InlineData, InodeStat, QuotaInfo, decode_xattrs};
use crate::types::UTime;
use std::sync::Arc;

/// What is needed to keep bytes of a file: to read them, to keep them, and to know where the file ends.
///
/// A file could be kept without the right to read more of it. But then a reader of what is not kept would wait for that right with a
/// page of the kernel locked, and whoever takes the kept bytes back would wait for that page: for ever, if it is the same MDS that
/// waits for both. So bytes are kept only while all three are held.
pub(super) const PAGES: Caps = Caps(Caps::FILE_SHARED.0 | Caps::FILE_CACHE.0 | Caps::FILE_RD.0);

/// What an open file wants (`ceph_caps_for_mode`).
pub(super) const WANTED_OPEN: Caps = PAGES;

/// What the user may have kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) attributes: bool,
    pub(super) pages: bool,
    /// Names in this directory, and its listing.
    pub(super) entries: bool,
}

/// An inode.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) attributes: Attributes,
    /// Version of the attributes; 0: anything that is told is newer.
    version: u64,
    time_warp_seq: u32,
    xattr_version: u64,
    inline_version: u64,
    pub(super) inline: Option<Arc<[u8]>>,
    pub(super) caps: CapSet,
    pub(super) told: Told,
    /// What the user was asked to forget and has not yet: the numbers of these holds, and what they hold.
    pub(super) holds: Vec<(u64, Caps)>,
    /// References of the user.
    pub(super) refs: u64,
    /// Open files.
    pub(super) opens: u32,
    /// Readers under way.
    pub(super) readers: u32,
    /// Entries of listings that lead here and that the user has not been given yet.
    pub(super) listed: u32,
    pub(super) directory: Option<Box<Directory>>,
    /// Names that lead here: directory and name.
    pub(super) parents: Vec<(Vino, Arc<[u8]>)>,
    /// How an MDS finds it, if it is in a snapshot.
    pub(super) path: Option<FilePath>,
    /// Its place in the order of use.
    pub(super) used: u64,
    /// The MDS has told its extended attributes, which were let go of to save memory. It vouches for them all the same.
    let_go: bool,
    /// A snapshot was made or removed here. That changes `ctime`, and an MDS takes no capability back for it.
    doubted: bool,
    /// What [`stored`](Self::stored) was when the table looked.
    pub(super) weighed: usize,
}

impl Inode {
    /// An inode that was just told; `birth` as for [`Directory::new`].
    pub(super) fn new(vino: Vino, kind: Kind, layout: Arc<FileLayout>, birth: u32) -> Self {
        let zero = UTime::default();
        Self {
            attributes: Attributes {
                vino,
                kind,
                mode: 0,
                uid: 0,
                gid: 0,
                nlink: 0,
                size: 0,
                rdev: 0,
                atime: zero,
                mtime: zero,
                ctime: zero,
                btime: zero,
                change_attr: 0,
                layout,
                truncate_seq: 0,
                truncate_size: 0,
                dir_files: 0,
                dir_subdirs: 0,
                recursive: RecursiveStat::default(),
                quota: QuotaInfo::default(),
                dir_pin: -1,
                snap_btime: zero,
                symlink: None,
                xattrs: None,
            },
            version: 0,
            time_warp_seq: 0,
            xattr_version: 0,
            inline_version: InlineData::NONE,
            inline: None,
            caps: CapSet::default(),
            told: Told::default(),
            holds: Vec::new(),
            refs: 0,
            opens: 0,
            readers: 0,
            listed: 0,
            directory: (kind == Kind::Directory).then(|| Box::new(Directory::new(birth))),
            parents: Vec::new(),
            path: None,
            used: 0,
            let_go: false,
            doubted: false,
            weighed: 0,
        }
    }

    pub(super) fn vino(&self) -> Vino {
        self.attributes.vino
    }

    /// What the user still has to forget.
    pub(super) fn held_by_user(&self) -> Caps {
        self.holds.iter().fold(Caps::NONE, |all, (_, caps)| all | *caps)
    }

    /// What cannot be given back yet.
    pub(super) fn in_use(&self) -> Caps {
        let reading = if self.readers > 0 { Caps::FILE_RD } else { Caps::NONE };
        self.held_by_user() | reading
    }

    /// What is wanted of the MDS.
    pub(super) fn wanted(&self) -> Caps {
        if self.opens > 0 { WANTED_OPEN } else { Caps::NONE }
    }

    /// Whether an MDS believes that it is wanted more than it is.
    pub(super) fn is_wanted_too_much(&self) -> bool {
        let wanted = self.wanted() | Caps::PIN;
        self.caps.iter().any(|(_, cap)| !cap.leaving && !(cap.wanted - wanted).is_empty())
    }

    /// Whether the MDS vouches for all attributes, extended ones included, so that the user may keep them.
    pub(super) fn attributes_may_be_kept(&self) -> bool {
        !self.doubted
            && self.caps.issued().contains(Caps::ANY_SHARED)
            && !self.held_by_user().intersects(Caps::ANY_SHARED)
            && (self.attributes.xattrs.is_some() || self.let_go)
    }

    /// Whether bytes, or a listing, may be kept.
    pub(super) fn pages_may_be_kept(&self) -> bool {
        let needed = if self.directory.is_some() { Caps::FILE_SHARED } else { PAGES };
        self.caps.issued().contains(needed) && !self.held_by_user().intersects(needed) && !self.lacks_inline()
    }

    /// Whether these attributes can be answered without the MDS. Whoever wants extended attributes and nothing else wants their values; whoever wants the recursive
    /// statistics of a directory asks each time, since no capability covers them (`__ceph_getxattr` of the kernel's `fs/ceph/xattr.c`). So does everybody after a snapshot, once.
    pub(super) fn knows(&self, mask: Caps) -> bool {
        if self.doubted || (mask.intersects(Caps::RSTAT) && self.attributes.kind == Kind::Directory) {
            return false;
        }
        let held = self.caps.held().contains(mask & Caps::ANY_SHARED);
        let without = !mask.intersects(Caps::XATTR_SHARED) || (self.let_go && mask != Caps::XATTR_SHARED);
        held && (self.attributes.xattrs.is_some() || without)
    }

    /// Bytes of what an MDS stores with it, as far as they are here.
    pub(super) fn stored(&self) -> usize {
        let pair = |(name, value): (&Vec<u8>, &Vec<u8>)| name.len() + value.len();
        let xattrs = self.attributes.xattrs.as_deref().map_or(0, |xattrs| xattrs.iter().map(pair).sum());
        xattrs + self.inline.as_ref().map_or(0, |inline| inline.len())
    }

    /// Lets go of what is stored with it. Whoever wants it asks for it again.
    pub(super) fn let_go(&mut self) {
        self.let_go |= self.attributes.xattrs.take().is_some();
        self.inline = None;
    }

    /// Whether the bytes of the file are with its metadata, but are not known.
    pub(super) fn lacks_inline(&self) -> bool {
        self.inline_version != InlineData::NONE && self.inline.is_none()
    }

    /// What is known of it is asked for once more.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// After a loss of the session nothing that comes is older than what is known.
    pub(super) fn forget_versions(&mut self) {
        self.version = 0;
        self.time_warp_seq = 0;
    }

    /// Takes over what an MDS tells (`fill_inode`). `held` is what was held before, `issued` what this gives, `gained` what of that is new.
    ///
    /// What is told is as it was when it was sent. It may have been overtaken by what another MDS told. What is newly issued is believed, and
    /// what has a higher version; what has the same version only where nothing is held, because messages about capabilities
    /// change attributes without saying their version. For the same reason a higher version says nothing of what is held and not issued with it: that is
    /// as whoever gave it has told it since.
    pub(super) fn fill(
        &mut self,
        stat: InodeStat,
        held: Caps,
        issued: Caps,
        gained: Caps,
        layout: Arc<FileLayout>,
    ) {
        let frozen = self.vino().is_frozen();
        let first = self.version == 0 || frozen;
        let newer = first || stat.version > self.version;
        let same = stat.version == self.version;
        self.version = self.version.max(stat.version);
        let elsewhere = if frozen { Caps::NONE } else { (held - issued) & Caps::ANY_SHARED };
        let takes = |group: Caps| {
            let believed = newer || gained.intersects(group) || (same && !held.intersects(group));
            believed && !elsewhere.intersects(group)
        };
        let a = &mut self.attributes;
        if takes(Caps::AUTH_SHARED) {
            (a.mode, a.uid, a.gid, a.btime) = (stat.mode, stat.uid, stat.gid, stat.btime);
        }
        if takes(Caps::LINK_SHARED) {
            a.nlink = stat.nlink;
        }
        a.rdev = stat.rdev;
        if takes(Caps::ANY_SHARED) {
            a.ctime = stat.ctime;
            // It only grows; what is told may have been overtaken.
            a.change_attr = if first { stat.change_attr } else { a.change_attr.max(stat.change_attr) };
        } else if (newer && !elsewhere.contains(Caps::ANY_SHARED)) || (self.doubted && (newer || same)) {
            // Something that is not held may have changed, or what is held has in spite of it.
            a.ctime = a.ctime.max(stat.ctime);
            a.change_attr = a.change_attr.max(stat.change_attr);
        }
        if takes(Caps::FILE_SHARED | Caps::FILE_RD) {
            a.layout = layout;
            self.take_times(stat.time_warp_seq, stat.mtime, stat.atime);
            self.take_size(stat.size, stat.truncate_seq, stat.truncate_size);
            let a = &mut self.attributes;
            (a.dir_files, a.dir_subdirs) = (stat.files, stat.subdirs);
        }
        self.take_xattrs(stat.xattr_version, &stat.xattrs);
        if newer || same {
            self.doubted = false;
            self.take_directory(&stat);
        }
        self.take_inline(stat.inline);
        if self.attributes.kind == Kind::Symlink && !stat.symlink.is_empty() {
            self.attributes.symlink = Some(stat.symlink.into());
        }
    }

    /// What no capability covers.
    fn take_directory(&mut self, stat: &InodeStat) {
        let a = &mut self.attributes;
        a.recursive = RecursiveStat {
            ctime: stat.rctime,
            bytes: stat.rbytes,
            files: stat.rfiles,
            subdirs: stat.rsubdirs,
            snaps: stat.rsnaps,
        };
        a.quota = stat.quota;
        a.snap_btime = stat.snap_btime;
        a.dir_pin = stat.dir_pin.max(-1);
    }

    /// Takes over what comes with a capability (`handle_cap_grant`). `caps` is what is issued now.
    pub(super) fn fill_from_caps(&mut self, message: &CapsMessage, caps: Caps, layout: Arc<FileLayout>) {
        let a = &mut self.attributes;
        if caps.intersects(Caps::AUTH_SHARED) {
            (a.mode, a.uid, a.gid, a.btime) = (message.mode, message.uid, message.gid, message.btime);
        }
        if caps.intersects(Caps::LINK_SHARED) {
            a.nlink = message.nlink;
        }
        if caps.intersects(Caps::ANY_RD) {
            a.ctime = a.ctime.max(message.body.ctime);
            a.change_attr = a.change_attr.max(message.change_attr);
        }
        if caps.intersects(Caps::FILE_SHARED) && message.files >= 0 {
            (a.dir_files, a.dir_subdirs) =
                (message.files.unsigned_abs(), message.subdirs.max(0).unsigned_abs());
        }
        if caps.intersects(Caps::FILE_SHARED | Caps::FILE_RD) {
            a.layout = layout;
            let body = &message.body;
            // Another MDS may vouch for the times, and this one not know the last ones.
            let vouched_for = self.caps.held().contains(Caps::FILE_SHARED);
            if message.caps.contains(Caps::FILE_SHARED) || !vouched_for {
                self.take_times(body.time_warp_seq, body.mtime, body.atime);
            }
            self.take_size(body.size, body.truncate_seq, body.truncate_size);
        }
        self.take_xattrs(message.xattr_version, &message.xattrs);
        if message.inline.version != 0 {
            self.take_inline(message.inline.clone());
        }
    }

    /// The file was cut (`CEPH_CAP_OP_TRUNC`).
    pub(super) fn truncated(&mut self, size: u64, seq: u32, truncate_size: u64) {
        self.take_size(size, seq, truncate_size);
    }

    fn take_times(&mut self, warp: u32, mtime: UTime, atime: UTime) {
        if !before(warp, self.time_warp_seq) {
            self.time_warp_seq = warp;
            (self.attributes.mtime, self.attributes.atime) = (mtime, atime);
        }
    }

    /// Between two cuts a file only grows, whatever is told in which order (`ceph_fill_file_size`).
    fn take_size(&mut self, size: u64, seq: u32, truncate_size: u64) {
        let a = &mut self.attributes;
        let cut = before(a.truncate_seq, seq);
        if cut || (seq == a.truncate_seq && size > a.size) {
            a.size = size;
        }
        if cut || seq == a.truncate_seq {
            (a.truncate_seq, a.truncate_size) = (seq, truncate_size);
        }
    }

    /// Extended attributes that were asked for and not told are none.
    pub(super) fn has_no_xattrs(&mut self) {
        self.attributes.xattrs.get_or_insert_default();
    }

    /// Version 0 comes without any: an MDS leaves them out where nobody has asked for them and it takes the client to know them, even of an inode in
    /// a snapshot if it is the head that the client knows (`CInode::encode_inodestat`).
    fn take_xattrs(&mut self, version: u64, blob: &[u8]) {
        let known = self.attributes.xattrs.is_some();
        if !blob.is_empty() && (!known || version > self.xattr_version) {
            // What cannot be read stays unknown, and is asked for when somebody wants it.
            self.attributes.xattrs =
                decode_xattrs(blob).ok().map(|pairs| Arc::new(pairs.into_iter().collect::<Xattrs>()));
            self.xattr_version = version;
            self.let_go = false;
        }
    }

    fn take_inline(&mut self, inline: InlineData) {
        if inline.version == InlineData::NONE {
            self.inline = None;
        } else if inline.version > 0 && (inline.version != self.inline_version || self.inline.is_none()) {
            // The bytes come with a version, if they come; version 0 comes without.
            self.inline = Some(inline.bytes.into());
        }
        if inline.version != 0 {
            self.inline_version = inline.version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cephfs::ids::Vino;

    #[test]
    fn extended_attributes_that_are_left_out_are_not_none() {
        let mut inode = Inode::new(Vino { ino: 5, snap: 3 }, Kind::Regular, Arc::default(), 0);
        inode.caps.frozen = Caps::ANY_SHARED;
        let told = |inode: &mut Inode, version, blob: &[u8]| {
            let mut stat = InodeStat::new(5, 3);
            (stat.version, stat.xattr_version, stat.xattrs) = (7, version, blob.to_vec());
            inode.fill(stat, Caps::NONE, Caps::NONE, Caps::ANY_SHARED, Arc::default());
        };
        // A listing of a snapshot, of a file whose head was looked at before.
        told(&mut inode, 0, b"");
        assert!(inode.attributes.xattrs.is_none() && !inode.knows(Caps::XATTR_SHARED));
        assert!(inode.knows(Caps::FILE_SHARED) && !inode.attributes_may_be_kept());
        // It was asked for them, and there is one; what leaves them out afterwards takes nothing away.
        told(&mut inode, 2, b"\x01\0\0\0\x01\0\0\0a\x01\0\0\0b");
        told(&mut inode, 0, b"");
        assert_eq!(inode.attributes.xattrs.as_ref().unwrap()[&b"a"[..]], b"b");
        told(&mut inode, 3, &[0; 4]);
        assert!(inode.knows(Caps::XATTR_SHARED) && inode.attributes.xattrs.as_ref().unwrap().is_empty());
        // Asked for and not told: there are none.
        let mut other = Inode::new(Vino { ino: 6, snap: 3 }, Kind::Regular, Arc::default(), 0);
        other.has_no_xattrs();
        assert!(other.attributes.xattrs.unwrap().is_empty());
    }
}
