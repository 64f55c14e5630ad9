//! Numbers by which the client and its user name things.

use crate::mds::ino;
use std::fmt;

/// An inode as of a snapshot: what a node of the file system is (`vinodeno_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vino {
    /// Number of the inode.
    pub ino: u64,
    /// [`ino::NO_SNAP`]: what is live, the *head*. [`ino::SNAP_DIR`]: the `.snap` directory of this directory. Otherwise the number of a snapshot.
    pub snap: u64,
}

impl Vino {
    /// The root of a file system.
    pub const ROOT: Self = Self::head(ino::ROOT);

    /// What is live.
    #[must_use]
    pub const fn head(number: u64) -> Self {
        Self { ino: number, snap: ino::NO_SNAP }
    }

    /// The directory of this directory's snapshots.
    #[must_use]
    pub const fn snapshots(self) -> Self {
        Self { ino: self.ino, snap: ino::SNAP_DIR }
    }

    /// Whether it is live.
    #[must_use]
    pub const fn is_head(self) -> bool {
        self.snap == ino::NO_SNAP
    }

    /// Whether it is a directory of snapshots.
    #[must_use]
    pub const fn is_snapshots(self) -> bool {
        self.snap == ino::SNAP_DIR
    }

    /// Whether it is in a snapshot: it never changes.
    #[must_use]
    pub const fn is_frozen(self) -> bool {
        !self.is_head() && !self.is_snapshots()
    }
}

impl fmt::Display for Vino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.snap {
            ino::NO_SNAP => write!(f, "{:#x}", self.ino),
            ino::SNAP_DIR => write!(f, "{:#x}/.snap", self.ino),
            snap => write!(f, "{:#x}@{snap}", self.ino),
        }
    }
}

/// A question of the user. Its answer is one [`Done::Call`](super::Done::Call), unless it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// A directory that is being listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListingId(pub u64);

/// Things that the user must forget, told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_shown_for_people() {
        assert_eq!(Vino::head(0x1000).to_string(), "0x1000");
        assert_eq!(Vino::head(0x1000).snapshots().to_string(), "0x1000/.snap");
        let frozen = Vino { ino: 16, snap: 3 };
        assert_eq!(frozen.to_string(), "0x10@3");
        assert!(frozen.is_frozen() && !Vino::ROOT.is_frozen() && !Vino::ROOT.snapshots().is_frozen());
    }
}
