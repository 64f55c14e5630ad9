//! What a map knows of an OSD.

use crate::types::AddrVec;

/// An OSD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Osd {
    /// What is true of it: [`Osd::EXISTS`] and others (`CEPH_OSD_*` of `include/rados.h`).
    pub(super) state: u32,
    /// The share of its turns at which it becomes primary, of [`Osd::DEFAULT_PRIMARY_AFFINITY`].
    pub(super) primary_affinity: u32,
    /// Where clients reach it.
    pub(super) addrs: AddrVec,
}

impl Osd {
    /// It was made and not destroyed.
    pub(super) const EXISTS: u32 = 1 << 0;
    /// It serves.
    pub(super) const UP: u32 = 1 << 1;
    /// It was marked out by the monitors, not by a person.
    pub(super) const AUTO_OUT: u32 = 1 << 2;
    /// It was made and never marked in.
    pub(super) const NEW: u32 = 1 << 3;
    /// It was told to stop.
    pub(super) const STOP: u32 = 1 << 12;

    /// Affinity of an OSD about which nobody said anything: it becomes primary whenever it is its turn.
    pub(super) const DEFAULT_PRIMARY_AFFINITY: u32 = 0x1_0000;

    pub(super) fn exists(&self) -> bool {
        self.state & Self::EXISTS != 0
    }

    pub(super) fn is_up(&self) -> bool {
        self.exists() && self.state & Self::UP != 0
    }
}

impl Default for Osd {
    /// A number that no OSD has.
    fn default() -> Self {
        Self { state: 0, primary_affinity: Self::DEFAULT_PRIMARY_AFFINITY, addrs: AddrVec::default() }
    }
}
