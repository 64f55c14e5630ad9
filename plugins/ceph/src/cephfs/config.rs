//! What a mount has to know beforehand.

/// What an inode takes in memory, about: with its capability, a name that leads to it, and its places in tables.
pub const INODE_BYTES: usize = 1024;

/// How the client of a file system behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsConfig {
    /// Inodes kept although the user has no reference to them. Each has at least one capability, which the MDS has to remember too.
    pub idle_inodes: usize,
    /// Inodes kept at all: beyond that, rights are taken back from the user, and inodes forgotten that can be found again by their number.
    pub all_inodes: usize,
    /// Bytes that all inodes may take, each counted as [`INODE_BYTES`] and what is stored with it (extended attributes, inline data). Beyond that,
    /// what is stored is let go of, and asked for again when somebody wants it; a quarter is always for that.
    pub memory: usize,
    /// Names kept of directories whose inodes are not known any more or not yet, and names that do not exist.
    pub absent_names: usize,
    /// Calls at one time; more are refused.
    pub calls: usize,
    /// Directories that are being listed, and open files, at one time; more are refused.
    pub handles: usize,
    /// Entries asked for at a time when a directory is listed.
    pub readdir_entries: u32,
    /// Bytes asked for at a time when a directory is listed.
    pub readdir_bytes: u32,
    /// Milliseconds after the last close of a file until its capabilities are not wanted any more (`caps_wanted_delay_min` of Linux).
    pub unwanted_after_ms: u64,
    /// Milliseconds after which a reader that waits for the right to read asks again.
    pub ask_again_ms: u64,
}

impl Default for FsConfig {
    fn default() -> Self {
        Self {
            idle_inodes: 16 * 1024,
            all_inodes: 256 * 1024,
            memory: 256 << 20,
            absent_names: 16 * 1024,
            calls: 16 * 1024,
            handles: 64 * 1024,
            readdir_entries: 2048,
            readdir_bytes: 1 << 20,
            unwanted_after_ms: 5_000,
            ask_again_ms: 5_000,
        }
    }
}
