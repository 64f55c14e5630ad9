//! What a client and metadata servers (MDS) say to each other, and the [sessions](Sessions) in which they say it.
//!
//! - `fsmap`, `mdsmap`: which file systems there are, and which daemon serves which *rank* of one. Monitors send these.
//! - `session_message`, `request` and `op`, `reply` and `readdir` with `inode_stat` and `dir_stat`: sessions, metadata requests and their answers.
//! - `caps_message` and `cap_op`, `cap_release`, `lease`, `snap`, `quota`, `reconnect`: what MDS and client tell each other about *capabilities* ([`Caps`]), the
//!   rights to cache and to change that make all clients see one file system.
//! - `caps`, `features`, `frag`, `layout`, `path`: words that several messages use.
//! - `sessions` keeps a session with each rank that is needed, whatever happens to the daemons, and brings requests to where they are
//!   answered. What the answers mean is not its business.
//!
//! Everything is read as Ceph 14 to 20 writes it, and what later releases append is skipped. A message can also be written in the
//! direction in which this client never sends it: tests play the MDS.
//!
//! Sources: `include/ceph_fs.h`, `messages/MClient*.h`, `messages/MMDSMap.h`, `mds/MDSMap.cc`, `mds/mdstypes.cc`, `mds/Server.cc` and `client/Client.cc` of
//! Ceph; `fs/ceph/mds_client.c` of Linux.

mod cap_op;
mod cap_release;
pub mod caps;
mod caps_message;
mod dir_stat;
mod features;
mod frag;
mod fsmap;
mod inode_stat;
mod layout;
mod lease;
mod mdsmap;
mod op;
mod path;
mod quota;
mod readdir;
mod reconnect;
mod reply;
mod request;
mod session_message;
mod sessions;
mod snap;

pub use cap_op::CapOp;
pub use cap_release::{CapItem, CapRelease};
pub use caps::Caps;
pub use caps_message::{CapBody, CapPeer, CapsMessage};
pub use dir_stat::{DirStat, LeaseStat, lease_mask};
pub use features::{FeatureSet, feature};
pub use frag::{Frag, FragTree, name_hash};
pub use fsmap::{FileSystemId, FsMapUser};
pub use inode_stat::{InlineData, InodeStat, QuotaInfo, ReplyCap, Xattrs, cap_flags, decode_xattrs};
pub use layout::{DirLayout, FileLayout};
pub use lease::{LeaseAction, LeaseMessage};
pub use mdsmap::{MdsInfo, MdsMap, MdsMapMessage, MdsState};
pub use op::{Caller, Op, ReaddirArgs, open_flags};
pub use path::FilePath;
pub use quota::QuotaMessage;
pub use readdir::{ReaddirEntry, ReaddirReply, readdir_flags};
pub use reconnect::{ReconnectCap, ReconnectMessage, ReconnectRealm};
pub use reply::{Reply, ReplyExtra, RequestForward, TraceDentry};
pub use request::{CapReleaseItem, RequestMessage, request_flags};
pub use session_message::{SessionCapAuth, SessionMessage, SessionOp};
pub use sessions::{
    CloseReason, Request, RequestError, RequestId, SessionConfig, SessionEvent, Sessions, Status, Target,
};
pub use snap::{SnapMessage, SnapOp, SnapRealm, SnapTrace};

use std::fmt;

/// Numbers of messages (`CEPH_MSG_*` of `include/ceph_fs.h`).
pub mod kind {
    /// The map of one file system's daemons ([`MdsMapMessage`](super::MdsMapMessage)).
    pub const MDS_MAP: u16 = 21;
    /// About the session itself ([`SessionMessage`](super::SessionMessage)).
    pub const CLIENT_SESSION: u16 = 22;
    /// What a client holds, told to an MDS that takes a rank over ([`ReconnectMessage`](super::ReconnectMessage)).
    pub const CLIENT_RECONNECT: u16 = 23;
    /// A metadata request ([`RequestMessage`](super::RequestMessage)).
    pub const CLIENT_REQUEST: u16 = 24;
    /// A request must be sent to another rank ([`RequestForward`](super::RequestForward)).
    pub const CLIENT_REQUEST_FORWARD: u16 = 25;
    /// The answer to a request ([`Reply`](super::Reply)).
    pub const CLIENT_REPLY: u16 = 26;
    /// Which file systems there are ([`FsMapUser`](super::FsMapUser)).
    pub const FS_MAP_USER: u16 = 103;
    /// About one capability ([`CapsMessage`](super::CapsMessage)).
    pub const CLIENT_CAPS: u16 = 0x310;
    /// About the lease of a name ([`LeaseMessage`](super::LeaseMessage)).
    pub const CLIENT_LEASE: u16 = 0x311;
    /// Snapshots came or went ([`SnapMessage`](super::SnapMessage)).
    pub const CLIENT_SNAP: u16 = 0x312;
    /// Capabilities that the client gives back ([`CapRelease`](super::CapRelease)).
    pub const CLIENT_CAPRELEASE: u16 = 0x313;
    /// How much of a quota is used ([`QuotaMessage`](super::QuotaMessage)).
    pub const CLIENT_QUOTA: u16 = 0x314;
}

/// Inodes and snapshots with a meaning of their own (`include/ceph_fs.h`).
pub mod ino {
    /// The root of a file system (`CEPH_INO_ROOT`).
    pub const ROOT: u64 = 1;
    /// The snapshot id of what is live (`CEPH_NOSNAP`).
    pub const NO_SNAP: u64 = u64::MAX - 1;
    /// The snapshot id of a `.snap` directory (`CEPH_SNAPDIR`).
    pub const SNAP_DIR: u64 = u64::MAX;
}

/// A share of a file system's metadata, and the daemon that serves it at present: `mds.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub i32);

/// A life of a daemon: it gets another one each time it is started (`mds_gid_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid(pub u64);

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mds.{}", self.0)
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
