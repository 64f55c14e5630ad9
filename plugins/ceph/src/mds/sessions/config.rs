//! What sessions have to know beforehand.

use std::collections::BTreeMap;

/// What sessions have to know beforehand.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The directory that is mounted, from the file system's root on: `/volumes/a`. An MDS compares it with the user's capabilities.
    pub root: String,
    /// Name of this machine; administrators see it.
    pub hostname: String,
    /// The user, without `client.`.
    pub entity_id: String,
    /// More for administrators to see (`ceph tell mds.N session ls`): `mount_point`.
    pub metadata: BTreeMap<String, String>,
    /// The file system; `None`: the cluster's default.
    pub fs_name: Option<String>,
    /// How long an MDS may leave a request for a session unanswered before it is asked again.
    pub open_again_ms: u64,
    /// The first pause before a session that ended is opened again; it doubles up to [`pause_max_ms`](Self::pause_max_ms) while sessions do not last.
    pub pause_ms: u64,
    /// The longest such pause.
    pub pause_max_ms: u64,
    /// After an MDS has refused a session, requests fail for so long without asking again.
    pub refused_ms: u64,
    /// How often a request may be sent on to another rank. Ranks do so while they hand parts of the tree to each other, once or twice.
    pub forwards_max: u32,
}

impl SessionConfig {
    /// The usual configuration.
    #[must_use]
    pub fn new(root: impl Into<String>, entity_id: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            hostname: String::new(),
            entity_id: entity_id.into(),
            metadata: BTreeMap::new(),
            fs_name: None,
            open_again_ms: 15_000,
            pause_ms: 1_000,
            pause_max_ms: 30_000,
            refused_ms: 5_000,
            forwards_max: 32,
        }
    }
}
