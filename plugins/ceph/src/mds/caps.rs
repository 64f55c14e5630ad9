//! Capabilities: the rights of a client on one inode.
//!
//! Metadata of an inode are in four groups, each with its letter: who may use it (`A`: mode, owner), how many links it has (`L`),
//! extended attributes (`X`) and the file itself (`F`: size, times, bytes; of a directory: its entries). The first three can be shared or exclusive;
//! of a file there are more rights.

use std::fmt;
use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not, Sub, SubAssign};

/// A set of capabilities (`CEPH_CAP_*` of `include/ceph_fs.h`), shown as Ceph does: `pAsLsXsFscr`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Caps(pub u32);

/// What a group's bits mean, from its lowest bit on, and in which order Ceph shows them.
const SHOWN: &[(u32, char)] =
    &[(1, 's'), (2, 'x'), (4, 'c'), (8, 'r'), (16, 'w'), (32, 'b'), (64, 'a'), (128, 'l')];

impl Caps {
    /// None.
    pub const NONE: Self = Self(0);
    /// `p`: the MDS keeps the inode in its cache, and the client may know it.
    pub const PIN: Self = Self(1);
    /// `As`: mode and owner may be cached.
    pub const AUTH_SHARED: Self = Self(1 << 2);
    /// `Ax`: they may be changed here.
    pub const AUTH_EXCL: Self = Self(1 << 3);
    /// `Ls`: the number of links may be cached.
    pub const LINK_SHARED: Self = Self(1 << 4);
    /// `Lx`: it may be changed here; no MDS gives it.
    pub const LINK_EXCL: Self = Self(1 << 5);
    /// `Xs`: extended attributes may be cached.
    pub const XATTR_SHARED: Self = Self(1 << 6);
    /// `Xx`: they may be changed here.
    pub const XATTR_EXCL: Self = Self(1 << 7);
    /// `Fs`: size and times may be cached; of a directory: which names it has.
    pub const FILE_SHARED: Self = Self(1 << 8);
    /// `Fx`: size and times may be changed here.
    pub const FILE_EXCL: Self = Self(1 << 9);
    /// `Fc`: bytes that were read may be cached.
    pub const FILE_CACHE: Self = Self(1 << 10);
    /// `Fr`: bytes may be read.
    pub const FILE_RD: Self = Self(1 << 11);
    /// `Fw`: bytes may be written.
    pub const FILE_WR: Self = Self(1 << 12);
    /// `Fb`: writes may be kept back.
    pub const FILE_BUFFER: Self = Self(1 << 13);
    /// `Fa`: the file may be extended.
    pub const FILE_WREXTEND: Self = Self(1 << 14);
    /// `Fl`: bytes may be read and written without regard for other clients.
    pub const FILE_LAZYIO: Self = Self(1 << 15);

    /// All that is needed to cache every attribute (`CEPH_CAP_ANY_SHARED`).
    pub const ANY_SHARED: Self =
        Self(Self::AUTH_SHARED.0 | Self::LINK_SHARED.0 | Self::XATTR_SHARED.0 | Self::FILE_SHARED.0);
    /// What `stat` shows: everything but extended attributes.
    pub const STAT: Self = Self(Self::AUTH_SHARED.0 | Self::LINK_SHARED.0 | Self::FILE_SHARED.0);
    /// Everything that a reader may have (`CEPH_CAP_ANY_RD`).
    pub const ANY_RD: Self = Self(Self::ANY_SHARED.0 | Self::FILE_RD.0 | Self::FILE_CACHE.0);
    /// Exclusive rights (`CEPH_CAP_ANY_EXCL`).
    pub const ANY_EXCL: Self =
        Self(Self::AUTH_EXCL.0 | Self::LINK_EXCL.0 | Self::XATTR_EXCL.0 | Self::FILE_EXCL.0);
    /// What a file that is open for writing wants (`CEPH_CAP_ANY_FILE_WR`).
    pub const ANY_FILE_WR: Self = Self(Self::FILE_WR.0 | Self::FILE_BUFFER.0 | Self::FILE_EXCL.0);
    /// Everything a writer may have (`CEPH_CAP_ANY_WR`).
    pub const ANY_WR: Self = Self(Self::ANY_EXCL.0 | Self::ANY_FILE_WR.0);
    /// In a request's mask: recursive statistics of a directory are wanted (`CEPH_STAT_RSTAT`).
    pub const RSTAT: Self = Self::FILE_WREXTEND;

    /// Whether all of `other` are here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is here.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Caps {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Caps {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Caps {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitAndAssign for Caps {
    fn bitand_assign(&mut self, other: Self) {
        self.0 &= other.0;
    }
}

impl Sub for Caps {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl SubAssign for Caps {
    fn sub_assign(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl Not for Caps {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & 0xffff == 0 {
            return f.write_str("-");
        }
        if self.contains(Self::PIN) {
            f.write_str("p")?;
        }
        for (letter, shift, width) in [('A', 2, 2), ('L', 4, 2), ('X', 6, 2), ('F', 8, 8)] {
            let group = (self.0 >> shift) & ((1 << width) - 1);
            if group == 0 {
                continue;
            }
            write!(f, "{letter}")?;
            for (bit, shown) in SHOWN {
                if group & bit != 0 {
                    write!(f, "{shown}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_shown_as_ceph_shows_them() {
        assert_eq!(Caps(0).to_string(), "-");
        assert_eq!((Caps::PIN | Caps::ANY_RD).to_string(), "pAsLsXsFscr");
        assert_eq!(Caps(0xd55).to_string(), "pAsLsXsFscr");
        assert_eq!(Caps(0xffff - 2).to_string(), "pAsxLsxXsxFsxcrwbal");
        assert_eq!(Caps(1 << 20).to_string(), "-");
    }

    #[test]
    fn they_are_a_set() {
        let read = Caps::FILE_RD | Caps::FILE_CACHE;
        assert!(Caps::ANY_RD.contains(read) && !read.contains(Caps::ANY_RD));
        assert_eq!(Caps::ANY_RD - read, Caps::ANY_SHARED);
        assert!(!(Caps::ANY_RD - read).intersects(read));
        assert_eq!(!Caps::NONE & Caps::PIN, Caps::PIN);
    }
}
