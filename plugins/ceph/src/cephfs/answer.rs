//! What the client tells its user.

use super::error::FsError;
use super::ids::{CallId, FileId, Token, Vino};
use crate::mds::{FileLayout, QuotaInfo};
use crate::types::UTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an inode is (`S_IFMT` of its mode). Never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// File.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharacterDevice,
}

impl Kind {
    /// The kind that a mode says; `None`: no such kind is known.
    #[must_use]
    pub fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            0o060_000 => Self::BlockDevice,
            0o020_000 => Self::CharacterDevice,
            _ => return None,
        })
    }
}

/// Extended attributes as they are stored, by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// How much there is in a directory and all below it. Spreads upwards some seconds after it changed, whatever rights anybody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecursiveStat {
    /// Newest change.
    pub ctime: UTime,
    /// Bytes of files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Directories, itself included.
    pub subdirs: u64,
    /// Snapshots.
    pub snaps: u64,
}

/// Attributes of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Which inode.
    pub vino: Vino,
    /// What it is.
    pub kind: Kind,
    /// All of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names; of a directory 1, whatever it contains.
    pub nlink: u32,
    /// Size in bytes; of a directory 0, see [`recursive`](Self::recursive).
    pub size: u64,
    /// Device number of devices, as Linux' `new_encode_dev` writes it.
    pub rdev: u32,
    /// Last read.
    pub atime: UTime,
    /// Last change of the content.
    pub mtime: UTime,
    /// Last change of anything.
    pub ctime: UTime,
    /// Creation.
    pub btime: UTime,
    /// A number that changes with the content or attributes, as far as who changes them counts.
    pub change_attr: u64,
    /// How the bytes of a file lie in objects; of a directory, how those of new files will.
    pub layout: Arc<FileLayout>,
    /// How often the file was cut.
    pub truncate_seq: u32,
    /// Size to which it was cut last.
    pub truncate_size: u64,
    /// Files in a directory.
    pub dir_files: u64,
    /// Directories in a directory.
    pub dir_subdirs: u64,
    /// Of a directory: how much there is below it.
    pub recursive: RecursiveStat,
    /// Quota that begins at this directory.
    pub quota: QuotaInfo,
    /// Rank that a directory is pinned to (`ceph.dir.pin`); -1: none.
    pub dir_pin: i32,
    /// Of the root of a snapshot: when it was made.
    pub snap_btime: UTime,
    /// Target of a symbolic link.
    pub symlink: Option<Arc<[u8]>>,
    /// Extended attributes; `None`: the MDS has not told them.
    pub xattrs: Option<Arc<Xattrs>>,
}

impl Attributes {
    /// A number that is different after each change of a file's content: it stands for all that a change of content changes too.
    #[must_use]
    pub fn data_version(&self) -> u64 {
        let parts = [
            self.change_attr,
            self.size,
            u64::from(self.truncate_seq),
            self.truncate_size,
            u64::from(self.mtime.seconds),
            u64::from(self.mtime.nanoseconds),
        ];
        // FNV-1a, a byte at a time.
        parts
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// How long a name, or its absence, may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryRight {
    /// Not at all.
    No,
    /// So many milliseconds, unless it is invalidated before.
    For(u64),
    /// Until it is invalidated.
    UntilInvalidated,
}

/// What the user may keep of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// All attributes, extended ones included, until they are invalidated.
    pub attributes: bool,
    /// The name, of answers about names.
    pub entry: EntryRight,
    /// Bytes of the file, or the listing of the directory, until they are invalidated.
    pub pages: bool,
}

impl Rights {
    /// Nothing may be kept.
    pub const NONE: Self = Self { attributes: false, entry: EntryRight::No, pages: false };
}

/// A name that was found. Counts as one reference to its inode, see [`FsClient::forget`](super::FsClient::forget).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the name leads to.
    pub attributes: Box<Attributes>,
    /// What may be kept.
    pub rights: Rights,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// Its name.
    pub name: Arc<[u8]>,
    /// What the name leads to.
    pub vino: Vino,
    /// What that is, if it is known.
    pub kind: Option<Kind>,
    /// The place *after* this entry; never 0, and the same for the same entry as long as the directory is open.
    pub cookie: u64,
    /// Attributes, if they were asked for and are known. Counts as one reference.
    pub entry: Option<Entry>,
}

/// What is needed to read a file. The right to read is held until [`read_done`](super::FsClient::read_done).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    /// Which inode.
    pub vino: Vino,
    /// How the bytes lie in objects.
    pub layout: Arc<FileLayout>,
    /// Size in bytes: nothing is read beyond.
    pub size: u64,
    /// To be sent with every read, so that OSDs do not resurrect what was cut off.
    pub truncate_seq: u32,
    /// The same.
    pub truncate_size: u64,
    /// All of the bytes, if they are not in objects (`inline_data`, an experiment of Ceph 0.80 to 16).
    pub inline: Option<Arc<[u8]>>,
    /// Whether what is read may be kept, until it is invalidated.
    pub cacheable: bool,
    /// [`Attributes::data_version`].
    pub data_version: u64,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `lookup` and `find`.
    Found(Entry),
    /// To `lookup`: there is no such name, and so long that may be kept.
    Absent(EntryRight),
    /// To `getattr`.
    Attributes(Box<Attributes>, Rights),
    /// To `readdir`.
    Page {
        /// Entries in the order of their cookies.
        entries: Vec<ListedEntry>,
        /// There are no more.
        end: bool,
    },
    /// To `open`.
    Opened {
        /// The open file.
        file: FileId,
        /// Whether bytes may be kept, also those from before, until they are invalidated.
        pages: bool,
        /// Whether the bytes never change: it is in a snapshot.
        immutable: bool,
        /// [`Attributes::data_version`].
        data_version: u64,
    },
    /// To `read_right`.
    Read(Box<ReadPlan>),
}

/// What is no longer true, and must be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Attributes of an inode, extended ones included.
    Attributes(Vino),
    /// Bytes of a file.
    Data(Vino),
    /// One name in a directory, or its absence.
    Entry(Vino, Arc<[u8]>),
    /// All names in a directory, and its listing.
    Directory(Vino),
    /// Everything.
    Everything,
}

/// What the user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A call has ended.
    Call {
        /// This one.
        id: CallId,
        /// So.
        result: Result<Answer, FsError>,
    },
    /// These must be forgotten, and then [`invalidated`](super::FsClient::invalidated) be called. Until then the rights are still
    /// held, and calls are answered under them.
    Invalidate {
        /// Names them.
        token: Token,
        /// These, at least one.
        items: Vec<Invalid>,
    },
    /// The MDS wants rights back: about so many inodes that are kept only for speed should be [forgotten](super::FsClient::forget).
    Shrink {
        /// So many.
        count: u64,
    },
}
