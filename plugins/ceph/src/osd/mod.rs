//! What a client and an OSD say to each other: operations on objects, their results, requests to hold back, and new maps.
//!
//! These are codecs only; who sends what when is decided in [`rados`](crate::rados).
//!
//! Sources: `messages/MOSDOp.h`, `messages/MOSDOpReply.h`, `messages/MOSDBackoff.h`, `messages/MOSDMap.h`, `include/rados.h` and
//! `osd/osd_types.cc` of Ceph.

mod backoff;
pub mod flags;
mod hobject;
mod locator;
mod map;
mod op;
mod output;
mod reply;
mod request;

pub use backoff::{Backoff, BackoffKind};
pub use hobject::HObject;
pub use locator::{Locator, Redirect};
pub use map::MapMessage;
pub use op::{Extent, Op};
pub use output::{OmapKeys, OmapVals, Stat};
pub use reply::{OpResult, Output, OutputError, Reply};
pub use request::{Request, SnapContext};

/// Numbers of messages (`CEPH_MSG_*` of `include/ceph_fs.h`).
pub mod kind {
    /// New cluster maps ([`MapMessage`](super::MapMessage)).
    pub const OSD_MAP: u16 = 41;
    /// Operations on an object ([`Request`](super::Request)).
    pub const OSD_OP: u16 = 42;
    /// Their results ([`Reply`](super::Reply)).
    pub const OSD_OPREPLY: u16 = 43;
    /// A request to hold back ([`Backoff`](super::Backoff)).
    pub const OSD_BACKOFF: u16 = 61;
}

/// Ids of snapshots with a meaning of their own (`include/rados.h`).
pub mod snap {
    /// The live object (`CEPH_NOSNAP`).
    pub const HEAD: u64 = u64::MAX - 1;
}
