//! What is said about a capability.

/// What a [`CapsMessage`](super::CapsMessage) says (`CEPH_CAP_OP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CapOp {
    /// MDS: this is what you may do.
    Grant,
    /// MDS: this is what you may do; stop the rest, and say when you have.
    Revoke,
    /// MDS: the file was cut.
    Trunc,
    /// MDS: another rank gives it from now on.
    Export,
    /// MDS: I give it from now on.
    Import,
    /// Client: this is what I do and want.
    Update,
    /// Client: I need it no more.
    Drop,
    /// Client: this was changed here.
    Flush,
    /// MDS: that is written.
    FlushAck,
    /// Client: this was changed here before a snapshot.
    FlushSnap,
    /// MDS: that is written.
    FlushSnapAck,
    /// Client: I give it back.
    Release,
    /// Client: I still want it.
    Renew,
    /// Something newer.
    Other(u32),
}

/// In the order of their numbers.
const OPS: [CapOp; 13] = [
    CapOp::Grant,
    CapOp::Revoke,
    CapOp::Trunc,
    CapOp::Export,
    CapOp::Import,
    CapOp::Update,
    CapOp::Drop,
    CapOp::Flush,
    CapOp::FlushAck,
    CapOp::FlushSnap,
    CapOp::FlushSnapAck,
    CapOp::Release,
    CapOp::Renew,
];

impl CapOp {
    pub(super) fn from_raw(raw: u32) -> Self {
        OPS.get(raw as usize).copied().unwrap_or(Self::Other(raw))
    }

    pub(super) fn raw(self) -> u32 {
        match self {
            Self::Other(raw) => raw,
            known => OPS.iter().position(|op| *op == known).unwrap_or(OPS.len()) as u32,
        }
    }
}
