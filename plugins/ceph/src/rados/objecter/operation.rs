//! One request under way.

use super::super::request::{OpId, OpRequest};
use super::super::target::{Pause, Target};
use super::LAGGY_MS;
use crate::osd::{Op, Redirect};
use crate::payload::Payload;
use crate::time::Now;
use crate::types::Epoch;

/// What a read "to the end" is counted as: the usual size of an object.
const UNKNOWN_COST: u64 = 4 << 20;

/// A request, and how far it is.
pub(super) struct Operation<P> {
    pub(super) id: OpId,
    pub(super) request: OpRequest<P>,
    /// Its flags and those that follow from its operations.
    pub(super) flags: u32,
    /// Bytes that it counts for while it is in flight.
    pub(super) cost: u64,
    /// Where an OSD said that the object is.
    pub(super) redirect: Option<Redirect>,
    /// How often it was sent from one place to another.
    pub(super) redirects: u32,
    /// How often an OSD said "try again".
    pub(super) refusals: u32,
    /// Where it goes; `None`: never known yet.
    pub(super) target: Option<Target>,
    /// How often it was sent.
    pub(super) attempts: i32,
    pub(super) place: Place,
}

/// Where a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No map, or no OSD is up for it.
    Nowhere,
    /// The map has no such pool.
    PoolMissing {
        /// Its id.
        pool: i64,
        /// If it is not in this map either, it does not exist.
        bound: Option<Epoch>,
    },
    /// This OSD speaks the old protocol only.
    NoAddress(i32),
    /// The cluster lets nobody do this now.
    Paused(Pause),
    /// The OSD refused; it is tried again at this time.
    Delayed {
        /// Then.
        until: u64,
    },
    /// It waits for its turn with this OSD.
    Queued(i32),
    /// This OSD has it.
    Sent {
        /// The OSD.
        osd: i32,
        /// Since this moment of the monotonic clock.
        since: u64,
    },
}

impl Place {
    /// The OSD whose session has it.
    pub(super) fn osd(&self) -> Option<i32> {
        match self {
            Self::Queued(osd) | Self::Sent { osd, .. } => Some(*osd),
            Self::Nowhere
            | Self::PoolMissing { .. }
            | Self::NoAddress(_)
            | Self::Paused(_)
            | Self::Delayed { .. } => None,
        }
    }
}

impl<P: Payload> Operation<P> {
    pub(super) fn new(id: OpId, request: OpRequest<P>) -> Self {
        let flags = request.ops.iter().fold(request.flags, |flags, op| flags | op.request_flags());
        let cost = |op: &Op<P>| match op {
            Op::Read(extent) | Op::SparseRead(extent) if extent.length == 0 => UNKNOWN_COST,
            op => op.cost(),
        };
        let cost = request.ops.iter().map(cost).fold(0, u64::saturating_add);
        Self {
            id,
            request,
            flags,
            cost,
            redirect: None,
            redirects: 0,
            refusals: 0,
            target: None,
            attempts: 0,
            place: Place::Nowhere,
        }
    }

    /// Whether it waits so long, or for such a thing, that a newer map may help.
    pub(super) fn is_laggy(&self, now: Now) -> bool {
        match self.place {
            Place::Sent { since, .. } => now.reached(since.saturating_add(LAGGY_MS)),
            Place::Delayed { .. } => false,
            _ => true,
        }
    }
}
