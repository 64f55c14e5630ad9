//! Flags of a whole request (`CEPH_OSD_FLAG_*` of `include/rados.h`).

/// Answer when it is durable. Set on every request; for reads it has no effect.
pub const ONDISK: u32 = 0x0004;
/// Sent before.
pub const RETRY: u32 = 0x0008;
/// Some operation reads.
pub const READ: u32 = 0x0010;
/// Some operation writes.
pub const WRITE: u32 = 0x0020;
/// Any replica may answer, at random.
pub const BALANCE_READS: u32 = 0x0100;
/// Any replica may answer, the nearest first.
pub const LOCALIZE_READS: u32 = 0x2000;
/// Leave the cache tier out.
pub const IGNORE_CACHE: u32 = 0x8000;
/// Go to the pool itself, although a tier lies over it.
pub const IGNORE_OVERLAY: u32 = 0x2_0000;
/// An OSD sent us here.
pub const REDIRECTED: u32 = 0x20_0000;
/// [`REDIRECTED`] is meant as it is set or not set: clients since Hammer say so always.
pub const KNOWN_REDIR: u32 = 0x40_0000;
/// Try although the pool is full.
pub const FULL_TRY: u32 = 0x80_0000;
/// Do it although the pool is full.
pub const FULL_FORCE: u32 = 0x100_0000;
