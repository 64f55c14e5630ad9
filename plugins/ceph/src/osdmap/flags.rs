//! Switches for the whole cluster: what `ceph osd set` sets (`CEPH_OSDMAP_*` of `include/rados.h`).

/// No space left; since Ceph 10 pools say so themselves ([`super::Pool::FULL`]).
pub const FULL: u32 = 1 << 1;
/// Clients hold reads back.
pub const PAUSE_READ: u32 = 1 << 2;
/// Clients hold writes back.
pub const PAUSE_WRITE: u32 = 1 << 3;
/// OSDs order objects bitwise, as all of them do.
pub const SORT_BITWISE: u32 = 1 << 15;
/// Switches that once told the oldest release: jewel, kraken, luminous.
pub(super) const LEGACY_REQUIRE: u32 = 7 << 16;
/// OSDs delete during recovery, as all of them do.
pub const RECOVERY_DELETES: u32 = 1 << 19;
/// OSDs keep their logs short, as all of them do.
pub const PGLOG_HARDLIMIT: u32 = 1 << 22;
