//! What a metadata request asks for.

use super::{Caps, Frag};
use crate::encoding::{DecodeError, Decoder, Encoder};

/// Bytes of the arguments of a request, whatever it asks (`union ceph_mds_request_args`).
pub(super) const ARGS_LEN: usize = 56;

/// Flags of an open (`CEPH_O_*`): those of Linux on x86, whatever the client runs on.
pub mod open_flags {
    /// To read.
    pub const RDONLY: u32 = 0;
    /// To write.
    pub const WRONLY: u32 = 1;
    /// Both.
    pub const RDWR: u32 = 2;
    /// It must be a directory.
    pub const DIRECTORY: u32 = 0o200_000;
    /// It must not be a symbolic link.
    pub const NOFOLLOW: u32 = 0o400_000;
}

/// On whose behalf something is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub gids: Vec<u64>,
}

/// Which part of a directory is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaddirArgs {
    /// Of this fragment.
    pub frag: Frag,
    /// So many entries at most; 0: as many as the MDS likes.
    pub max_entries: u32,
    /// So many bytes at most; 0: as many as the MDS likes.
    pub max_bytes: u32,
    /// Where to begin, as a hash, if no name says it; 0: at the beginning.
    pub offset_hash: u32,
}

/// What a metadata request asks (`CEPH_MDS_OP_*`). Where a `mask` is given, these capabilities are to come with the answer or, if the MDS
/// cannot give them, the attributes as they are at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A name in a directory; the path is the directory and the name.
    Lookup {
        /// What is wanted of the inode.
        mask: Caps,
    },
    /// The attributes of an inode.
    Getattr {
        /// Which.
        mask: Caps,
    },
    /// An inode by its number.
    LookupIno {
        /// What is wanted of it.
        mask: Caps,
        /// In this snapshot; 0: the live one.
        snap: u64,
        /// Where an inode of a snapshot can be looked for: its directory.
        parent: u64,
        /// And the hash of its name.
        hash: u32,
    },
    /// The directory of an inode.
    LookupParent {
        /// What is wanted of it.
        mask: Caps,
    },
    /// The name of an inode; the second path is its directory.
    LookupName,
    /// A virtual extended attribute, whose name is the second path.
    GetVxattr,
    /// An open.
    Open {
        /// As in [`open_flags`].
        flags: u32,
        /// What is wanted of the inode beside what an open brings.
        mask: Caps,
    },
    /// The entries of a directory; the second path is the name after which to begin, if it is not empty.
    Readdir(ReaddirArgs),
    /// A snapshot by its name.
    LookupSnap {
        /// What is wanted of it.
        mask: Caps,
    },
    /// The snapshots of a directory; the second path as for [`Readdir`](Self::Readdir).
    LsSnap(ReaddirArgs),
    /// Anything else.
    Other {
        /// Its number.
        code: u32,
        /// Its arguments; at most 56 bytes, what is missing is zero.
        args: Vec<u8>,
    },
}

const LOOKUP: u32 = 0x100;
const GETATTR: u32 = 0x101;
const LOOKUPPARENT: u32 = 0x103;
const LOOKUPINO: u32 = 0x104;
const LOOKUPNAME: u32 = 0x105;
pub(super) const GETVXATTR: u32 = 0x106;
const OPEN: u32 = 0x302;
pub(super) const READDIR: u32 = 0x305;
const LOOKUPSNAP: u32 = 0x400;
pub(super) const LSSNAP: u32 = 0x402;
/// In the number of every request that changes something (`CEPH_MDS_OP_WRITE`).
const WRITE: u32 = 0x1000;
/// `CEPH_READDIR_REPLY_BITFLAGS`: the reply may use all its flags.
const REPLY_BITFLAGS: u16 = 1;
/// In the layout of a file that an open creates: no pool is asked for.
const ANY_POOL: u32 = u32::MAX;

impl Op {
    /// Its number.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::Lookup { .. } => LOOKUP,
            Self::Getattr { .. } => GETATTR,
            Self::LookupIno { .. } => LOOKUPINO,
            Self::LookupParent { .. } => LOOKUPPARENT,
            Self::LookupName => LOOKUPNAME,
            Self::GetVxattr => GETVXATTR,
            Self::Open { .. } => OPEN,
            Self::Readdir(_) => READDIR,
            Self::LookupSnap { .. } => LOOKUPSNAP,
            Self::LsSnap(_) => LSSNAP,
            Self::Other { code, .. } => *code,
        }
    }

    /// Whether it changes something: done twice, it may do it twice.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.code() & WRITE != 0
    }

    /// Its name, for the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lookup { .. } => "lookup",
            Self::Getattr { .. } => "getattr",
            Self::LookupIno { .. } => "lookupino",
            Self::LookupParent { .. } => "lookupparent",
            Self::LookupName => "lookupname",
            Self::GetVxattr => "getvxattr",
            Self::Open { .. } => "open",
            Self::Readdir(_) => "readdir",
            Self::LookupSnap { .. } => "lookupsnap",
            Self::LsSnap(_) => "lssnap",
            Self::Other { .. } => "request",
        }
    }

    /// Writes the arguments.
    pub(super) fn encode_args(&self, encoder: &mut Encoder) {
        let mut e = Encoder::new();
        match self {
            Self::Lookup { mask }
            | Self::Getattr { mask }
            | Self::LookupParent { mask }
            | Self::LookupSnap { mask } => {
                e.u32(mask.0);
            }
            Self::LookupIno { mask, snap, parent, hash } => {
                e.u32(mask.0).u64(*snap).u64(*parent).u32(*hash);
            }
            Self::LookupName | Self::GetVxattr => {}
            Self::Open { flags, mask } => {
                // mode, stripe_unit, stripe_count, object_size; pool
                e.u32(*flags).zeros(16).u32(ANY_POOL).u32(mask.0).u64(0);
            }
            Self::Readdir(args) | Self::LsSnap(args) => {
                e.u32(args.frag.raw()).u32(args.max_entries).u32(args.max_bytes);
                e.u16(REPLY_BITFLAGS).u32(args.offset_hash);
            }
            Self::Other { args, .. } => {
                e.raw(args.get(..ARGS_LEN).unwrap_or(args));
            }
        }
        let written = e.finish();
        encoder.raw(&written).zeros(ARGS_LEN.saturating_sub(written.len()));
    }

    /// Reads the arguments of a request of this number. What would not be written again as it is stays as it is.
    pub(super) fn decode(code: u32, args: &[u8; ARGS_LEN]) -> Result<Self, DecodeError> {
        let op = Self::decode_known(code, &mut Decoder::new("ceph_mds_request_args", args))?;
        let mut again = Encoder::new();
        op.encode_args(&mut again);
        if again.finish() == args { Ok(op) } else { Ok(Self::Other { code, args: args.to_vec() }) }
    }

    fn decode_known(code: u32, d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mask = |d: &mut Decoder<'_>| d.u32().map(Caps);
        Ok(match code {
            LOOKUP => Self::Lookup { mask: mask(d)? },
            GETATTR => Self::Getattr { mask: mask(d)? },
            LOOKUPPARENT => Self::LookupParent { mask: mask(d)? },
            LOOKUPSNAP => Self::LookupSnap { mask: mask(d)? },
            LOOKUPINO => Self::LookupIno { mask: mask(d)?, snap: d.u64()?, parent: d.u64()?, hash: d.u32()? },
            LOOKUPNAME => Self::LookupName,
            GETVXATTR => Self::GetVxattr,
            OPEN => {
                let flags = d.u32()?;
                d.skip(20)?;
                Self::Open { flags, mask: mask(d)? }
            }
            READDIR => Self::Readdir(ReaddirArgs::decode(d)?),
            LSSNAP => Self::LsSnap(ReaddirArgs::decode(d)?),
            _ => Self::Other { code, args: d.rest().to_vec() },
        })
    }
}

impl ReaddirArgs {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (frag, max_entries, max_bytes) = (Frag::from_raw(d.u32()?), d.u32()?, d.u32()?);
        d.skip(2)?;
        Ok(Self { frag, max_entries, max_bytes, offset_hash: d.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_wire() {
        let args =
            ReaddirArgs { frag: Frag::new(0x80_0000, 1), max_entries: 7, max_bytes: 9, offset_hash: 11 };
        let mask = Caps::ANY_SHARED;
        for op in [
            Op::Lookup { mask },
            Op::Getattr { mask },
            Op::LookupIno { mask, snap: 1, parent: 2, hash: 3 },
            Op::LookupParent { mask },
            Op::LookupName,
            Op::GetVxattr,
            Op::Open { flags: open_flags::DIRECTORY, mask },
            Op::Readdir(args),
            Op::LookupSnap { mask },
            Op::LsSnap(args),
            Op::Other { code: 0x1220, args: vec![5; ARGS_LEN] },
        ] {
            let mut encoder = Encoder::new();
            op.encode_args(&mut encoder);
            let bytes: [u8; ARGS_LEN] = encoder.finish().try_into().unwrap();
            assert_eq!(Op::decode(op.code(), &bytes).unwrap(), op);
            assert_eq!(op.is_write(), op.code() == 0x1220);
        }
        // A creation's mode is not among what a reader's open has.
        assert!(matches!(Op::decode(OPEN, &[1; ARGS_LEN]).unwrap(), Op::Other { code: OPEN, .. }));
    }
}
