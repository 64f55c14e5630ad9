//! How one object store looks as a file system.

use std::time::Duration;

/// When a file is compared with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// A new open sees a new version at the latest after `attr_ttl`.
    #[default]
    Ttl,
    /// Each open asks the store first: one HEAD more per open.
    Open,
}

/// Settings of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFsConfig {
    /// Owner of everything (`uid`).
    pub uid: u32,
    /// Group of everything (`gid`).
    pub gid: u32,
    /// Permission bits of files (`file-mode`).
    pub file_mode: u16,
    /// Permission bits of directories (`dir-mode`).
    pub dir_mode: u16,
    /// How long names, attributes and listings hold (`attr-ttl`).
    pub attr_ttl: Duration,
    /// How long the absence of a name holds (`negative-ttl`).
    pub negative_ttl: Duration,
    /// When a file is compared with the store (`consistency`).
    pub consistency: Consistency,
    /// Entries kept in the listings of all directories together; the least recently used listings go first.
    pub listing_entries: usize,
    /// A directory with more entries than this cannot be listed: `too-large`. Its files stay reachable by name.
    pub directory_entries: usize,
}

impl Default for ObjectFsConfig {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            dir_mode: 0o755,
            attr_ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(10),
            consistency: Consistency::Ttl,
            listing_entries: 1_000_000,
            directory_entries: 4_000_000,
        }
    }
}
