//! What a client has to know beforehand.

use super::objecter::Limits;
use crate::auth::Key;
use crate::mon::MonHosts;
use crate::msgr::Mode;
use crate::types::{Fsid, entity};

/// What a client of a cluster has to know beforehand.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where monitors are.
    pub monitors: MonHosts,
    /// Who the client is: `client.admin`.
    pub entity: String,
    /// Its key; `None`: the cluster believes everybody.
    pub key: Option<Key>,
    /// The cluster it must be; `None`: whichever answers.
    pub fsid: Option<Fsid>,
    /// Modes of connections to monitors, the most wanted first. Ceph's own clients want `secure` (`ms_mon_client_mode`).
    pub monitor_modes: Vec<Mode>,
    /// Modes of connections to OSDs and metadata servers, the most wanted first. Ceph's own clients want `crc` (`ms_client_mode`).
    pub osd_modes: Vec<Mode>,
    /// Kinds of daemons to talk to, of [`entity`]: tickets are had for these.
    pub services: Vec<u8>,
    /// Name of this machine; monitors show it to administrators.
    pub hostname: String,
    /// What may be in flight to one OSD.
    pub limits: Limits,
    /// Milliseconds until a connection must stand, its handshake included.
    pub connect_ms: u64,
}

impl Config {
    /// The usual configuration.
    #[must_use]
    pub fn new(monitors: MonHosts, entity: impl Into<String>, key: Option<Key>) -> Self {
        Self {
            monitors,
            entity: entity.into(),
            key,
            fsid: None,
            monitor_modes: vec![Mode::Secure, Mode::Crc],
            osd_modes: vec![Mode::Crc, Mode::Secure],
            services: vec![entity::OSD],
            hostname: String::new(),
            limits: Limits::default(),
            connect_ms: 10_000,
        }
    }
}
