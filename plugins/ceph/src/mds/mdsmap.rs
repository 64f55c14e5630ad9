//! Which daemons serve a file system.

use super::{FeatureSet, Gid, Rank};
use crate::encoding::{DecodeError, Decoder, Encoder, Section};
use crate::types::{AddrVec, EntityAddr, Epoch, Fsid, UTime};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// So many ranks are named in a sentence.
const NAMED_MAX: usize = 8;

/// What a daemon does (`CEPH_MDS_STATE_*` of `include/ceph_fs.h`). Those above 0 hold a rank; from
/// [`RECONNECT`](Self::RECONNECT) on, clients talk to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MdsState(pub i32);

impl MdsState {
    /// Waits for a rank.
    pub const STANDBY: Self = Self(-5);
    /// Makes a rank that never was.
    pub const CREATING: Self = Self(-6);
    /// Takes up a rank that was given up in order.
    pub const STARTING: Self = Self(-7);
    /// Reads the journal of a rank that has a daemon, to replace it faster.
    pub const STANDBY_REPLAY: Self = Self(-8);
    /// Reads the journal of its rank.
    pub const REPLAY: Self = Self(8);
    /// Settles with other ranks what was under way.
    pub const RESOLVE: Self = Self(9);
    /// Waits for clients to tell what they hold.
    pub const RECONNECT: Self = Self(10);
    /// Joins caches with other ranks.
    pub const REJOIN: Self = Self(11);
    /// Repeats requests of clients that were answered and not written.
    pub const CLIENT_REPLAY: Self = Self(12);
    /// Serves.
    pub const ACTIVE: Self = Self(13);
    /// Serves until it has handed all to other ranks.
    pub const STOPPING: Self = Self(14);
    /// Its rank is damaged.
    pub const DAMAGED: Self = Self(15);
}

impl fmt::Display for MdsState {
    /// The name Ceph shows: `up:active`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::STANDBY => "up:standby",
            Self::CREATING => "up:creating",
            Self::STARTING => "up:starting",
            Self::STANDBY_REPLAY => "up:standby-replay",
            Self::REPLAY => "up:replay",
            Self::RESOLVE => "up:resolve",
            Self::RECONNECT => "up:reconnect",
            Self::REJOIN => "up:rejoin",
            Self::CLIENT_REPLAY => "up:clientreplay",
            Self::ACTIVE => "up:active",
            Self::STOPPING => "up:stopping",
            Self::DAMAGED => "down:damaged",
            Self(other) => return write!(f, "state {other}"),
        })
    }
}

/// A daemon (`MDSMap::mds_info_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdsInfo {
    /// This life of it.
    pub gid: Gid,
    /// Its name.
    pub name: String,
    /// Its rank, or -1.
    pub rank: Rank,
    /// How often the rank was taken up.
    pub incarnation: i32,
    /// What it does.
    pub state: MdsState,
    /// Where it is.
    pub addrs: AddrVec,
    /// When it was last heard of, if monitors miss it.
    pub laggy_since: UTime,
    /// Ranks it may hand parts of the tree to. A client must have sessions with these to be told about that.
    pub export_targets: Vec<Rank>,
}

/// A file system's daemons and pools at an [`Epoch`] (`MDSMap`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdsMap {
    /// Number of this version.
    pub epoch: Epoch,
    /// Switches (`CEPH_MDSMAP_*`).
    pub flags: u32,
    /// Seconds without a renewal until a client's capabilities are no longer its own.
    pub session_timeout: u32,
    /// Seconds without a renewal until a client is evicted.
    pub session_autoclose: u32,
    /// Largest size of a file.
    pub max_file_size: u64,
    /// How many ranks there should be.
    pub max_mds: i32,
    /// Daemons, standbys left out.
    pub daemons: BTreeMap<Gid, MdsInfo>,
    /// Pools that files may lie in, the usual one first.
    pub data_pools: Vec<i64>,
    /// The pool of metadata.
    pub metadata_pool: i64,
    /// Ranks that the file system has.
    pub ranks: BTreeSet<Rank>,
    /// Which daemon has which rank.
    pub up: BTreeMap<Rank, Gid>,
    /// Ranks whose daemon is gone.
    pub failed: BTreeSet<Rank>,
    /// Ranks that need repair.
    pub damaged: BTreeSet<Rank>,
    /// Whether the file system exists.
    pub enabled: bool,
    /// Its name.
    pub name: String,
    /// What a client must be able to do.
    pub required_client_features: FeatureSet,
}

/// `CEPH_MDSMAP_NOT_JOINABLE`: an administrator has taken the file system down.
const NOT_JOINABLE: u32 = 1;
/// Bytes of a daemon: its number, and a section that holds at least a number, an empty name and some numbers.
const SMALLEST_INFO: usize = 50;

impl MdsMap {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, contradicts itself, or was written before Ceph 0.94.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Section { version, body: mut d, .. } = Decoder::new("MDSMap", bytes).section("MDSMap", 5)?;
        if version < 5 {
            return Err(d.error(format_args!("an encoding of version {version}, from before Ceph 0.94")));
        }
        let (epoch, flags) = (d.u32()?, d.u32()?);
        d.skip(4 + 4)?; // last_failure, root
        let (session_timeout, session_autoclose) = (d.u32()?, d.u32()?);
        let (max_file_size, max_mds) = (d.u64()?, d.i32()?);
        let mut daemons = BTreeMap::new();
        for _ in 0..d.count(SMALLEST_INFO)? {
            daemons.insert(Gid(d.u64()?), MdsInfo::decode(&mut d)?);
        }
        let data_pools = d.list(Decoder::i64)?;
        d.skip(8)?; // cas_pool
        let extended = d.u16()?;
        if extended < 8 {
            return Err(d.error(format_args!("an extension of version {extended}, from before Ceph 0.94")));
        }
        skip_compat(&mut d)?;
        let metadata_pool = d.i64()?;
        d.skip(8 + 8 + 4)?; // created, modified, tableserver
        let ranks = ranks(&mut d)?;
        d.pairs(Decoder::i32, Decoder::i32)?; // inc
        let up = d.pairs(rank, |d| d.u64().map(Gid))?.into_iter().collect();
        let failed = self::ranks(&mut d)?;
        self::ranks(&mut d)?; // stopped
        d.skip(4)?; // last_failure_osd_epoch
        d.skip(2)?; // ever_allowed_features, explicitly_allowed_features
        d.skip(1)?; // inline_data_enabled
        let (enabled, name) = (d.bool()?, d.string()?);
        let damaged = if extended >= 9 { self::ranks(&mut d)? } else { BTreeSet::new() };
        let required_client_features = required_features(&mut d, extended)?;
        Ok(Self {
            epoch,
            flags,
            session_timeout,
            session_autoclose,
            max_file_size,
            max_mds,
            daemons,
            data_pools,
            metadata_pool,
            ranks,
            up,
            failed,
            damaged,
            enabled,
            name,
            required_client_features,
        })
    }

    /// Writes it as Ceph 16 does; what is not kept here is written as if it were nothing.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.section(5, 4, |e| {
            e.u32(self.epoch).u32(self.flags).u32(0).i32(0);
            e.u32(self.session_timeout).u32(self.session_autoclose).u64(self.max_file_size).i32(self.max_mds);
            e.list(self.daemons.iter(), |e, (gid, info)| {
                e.u64(gid.0);
                info.encode(e);
            });
            e.list(self.data_pools.iter(), |e, pool| {
                e.i64(*pool);
            });
            e.i64(-1).u16(16);
            encode_compat(e);
            e.i64(self.metadata_pool).zeros(8 + 8 + 4);
            encode_ranks(e, &self.ranks);
            e.u32(0);
            e.list(self.up.iter(), |e, (rank, gid)| {
                e.i32(rank.0).u64(gid.0);
            });
            encode_ranks(e, &self.failed);
            e.u32(0).u32(0).u16(0).u8(0).bool(self.enabled).blob(&self.name);
            encode_ranks(e, &self.damaged);
            // balancer, standby_count_wanted, old_max_mds, min_compat_client
            e.u32(0).i32(0).i32(0).u8(0);
            self.required_client_features.encode(e);
        });
        encoder.finish()
    }

    /// The daemon that has a rank.
    #[must_use]
    pub fn daemon(&self, rank: Rank) -> Option<&MdsInfo> {
        self.daemons.get(self.up.get(&rank)?)
    }

    /// What the daemon of a rank does; `None`: it has none.
    #[must_use]
    pub fn state(&self, rank: Rank) -> Option<MdsState> {
        self.daemon(rank).map(|info| info.state)
    }

    /// Ranks that serve.
    pub fn active(&self) -> impl Iterator<Item = Rank> {
        self.up.keys().copied().filter(|rank| self.state(*rank) == Some(MdsState::ACTIVE))
    }

    /// Why no rank serves, as far as the map tells: `mds.0 is up:replay`.
    #[must_use]
    pub fn trouble(&self) -> String {
        if self.flags & NOT_JOINABLE != 0 && self.up.is_empty() {
            return format!(
                "file system {:?} was taken down (see `ceph fs set NAME joinable true`)",
                self.name
            );
        }
        let mut parts: Vec<String> = Vec::new();
        for rank in self.ranks.iter().take(NAMED_MAX) {
            match self.daemon(*rank) {
                _ if self.damaged.contains(rank) => parts.push(format!("{rank} is damaged")),
                Some(info) if info.laggy_since != UTime::default() => {
                    parts.push(format!(
                        "{rank} ({}) is {} and does not answer monitors",
                        info.name, info.state
                    ));
                }
                Some(info) => parts.push(format!("{rank} ({}) is {}", info.name, info.state)),
                None => parts.push(format!("{rank} has failed and no standby has taken it over")),
            }
        }
        if self.ranks.len() > NAMED_MAX {
            parts.push(format!("and so on: {} in all (see `ceph fs status`)", self.ranks.len()));
        }
        if parts.is_empty() {
            parts.push("it has no MDS (see `ceph fs status`)".to_owned());
        }
        format!("file system {:?}: {}", self.name, parts.join(", "))
    }
}

impl MdsInfo {
    /// The address where msgr2 is spoken, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<EntityAddr> {
        self.addrs.msgr2()
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("MDSMap::mds_info_t", 10)?;
        if version < 4 {
            return Err(d.error(format_args!("an encoding of version {version}, from before Ceph 0.67")));
        }
        let (gid, name) = (Gid(d.u64()?), d.string()?);
        let (rank, incarnation, state) = (rank(&mut d)?, d.i32()?, MdsState(d.i32()?));
        d.skip(8)?; // state_seq
        let addrs = AddrVec::decode(&mut d)?;
        let laggy_since = UTime::decode(&mut d)?;
        d.skip(4)?; // standby_for_rank
        d.blob()?; // standby_for_name
        let export_targets = d.list(self::rank)?;
        Ok(Self { gid, name, rank, incarnation, state, addrs, laggy_since, export_targets })
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.section(9, 4, |e| {
            e.u64(self.gid.0)
                .blob(&self.name)
                .i32(self.rank.0)
                .i32(self.incarnation)
                .i32(self.state.0)
                .u64(0);
            self.addrs.encode(e);
            self.laggy_since.encode(e);
            e.i32(-1).u32(0);
            e.list(self.export_targets.iter(), |e, rank| {
                e.i32(rank.0);
            });
            // mds_features, join_fscid, standby_replay, flags
            e.u64(0).i32(-1).bool(false).u64(0);
        });
    }
}

/// A map as a monitor sends it (`MMDSMap`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdsMapMessage {
    /// Id of the cluster.
    pub fsid: Fsid,
    /// Number of the map's version.
    pub epoch: Epoch,
    /// The map.
    pub map: MdsMap,
}

impl MdsMapMessage {
    /// Version of the message that is written.
    pub const VERSION: u16 = 2;

    /// Reads the front of a message.
    ///
    /// # Errors
    /// It is cut off, or the map is not one.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MMDSMap", front);
        let (fsid, epoch) = (Fsid(decoder.array()?), decoder.u32()?);
        Ok(Self { fsid, epoch, map: MdsMap::decode(decoder.blob()?)? })
    }

    /// Writes the front of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.raw(&self.fsid.0).u32(self.epoch).blob(self.map.encode()).blob(&self.map.name);
        encoder.finish()
    }
}

fn rank(decoder: &mut Decoder<'_>) -> Result<Rank, DecodeError> {
    decoder.i32().map(Rank)
}

fn ranks(decoder: &mut Decoder<'_>) -> Result<BTreeSet<Rank>, DecodeError> {
    Ok(decoder.list(rank)?.into_iter().collect())
}

fn encode_ranks(encoder: &mut Encoder, ranks: &BTreeSet<Rank>) {
    encoder.list(ranks.iter(), |encoder, rank| {
        encoder.i32(rank.0);
    });
}

/// Passes over a `CompatSet`: three sets of named features, which concern daemons.
fn skip_compat(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    for _ in 0..3 {
        decoder.skip(8)?;
        decoder.pairs(Decoder::u64, |decoder| decoder.blob().map(drop))?;
    }
    Ok(())
}

fn encode_compat(encoder: &mut Encoder) {
    for _ in 0..3 {
        encoder.u64(1).u32(0);
    }
}

/// The features required of clients, and what is before them.
fn required_features(d: &mut Decoder<'_>, extended: u16) -> Result<FeatureSet, DecodeError> {
    if extended < 16 {
        return Ok(FeatureSet::default());
    }
    d.blob()?; // balancer
    d.skip(4 + 4 + 1)?; // standby_count_wanted, old_max_mds, min_compat_client
    FeatureSet::decode(d)
}

#[cfg(test)]
#[path = "mdsmap_tests.rs"]
mod tests;
