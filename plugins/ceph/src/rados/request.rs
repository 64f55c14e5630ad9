//! What a user of the cluster asks for, and gets.

use crate::osd::{Op, OpResult, SnapContext, snap};
use crate::types::UTime;

/// Number of a request, unique in a [`Cluster`](super::Cluster).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub(super) u64);

/// Operations on one object, done in order and as a whole.
#[derive(Clone, Debug)]
pub struct OpRequest<P> {
    /// Pool.
    pub pool: i64,
    /// Namespace in the pool; empty: the default one.
    pub namespace: Vec<u8>,
    /// Name of the object.
    pub object: Vec<u8>,
    /// Hashed instead of the name, so that objects with the same key lie together; empty: none.
    pub key: Vec<u8>,
    /// Snapshot to read from; [`snap::HEAD`]: the live object.
    pub snap: u64,
    /// What to do.
    pub ops: Vec<Op<P>>,
    /// More of [`flags`](crate::osd::flags); those that follow from the operations are added.
    pub flags: u32,
    /// For requests that write.
    pub mutation: Mutation,
    /// When to give up, on the monotonic clock; `None`: never.
    pub deadline_ms: Option<u64>,
}

/// What a request that writes carries beside its operations.
#[derive(Clone, Debug, Default)]
pub struct Mutation {
    /// Snapshots of the object that must be kept.
    pub snap_context: SnapContext,
    /// Time of the change.
    pub mtime: UTime,
}

impl<P> OpRequest<P> {
    /// Operations on the live object in the default namespace, without a deadline.
    #[must_use]
    pub fn new(pool: i64, object: impl Into<Vec<u8>>, ops: Vec<Op<P>>) -> Self {
        Self {
            pool,
            namespace: Vec::new(),
            object: object.into(),
            key: Vec::new(),
            snap: snap::HEAD,
            ops,
            flags: 0,
            mutation: Mutation::default(),
            deadline_ms: None,
        }
    }

    /// Gives up at this moment of the monotonic clock.
    #[must_use]
    pub fn deadline(mut self, at_ms: u64) -> Self {
        self.deadline_ms = Some(at_ms);
        self
    }

    /// In this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Vec<u8>>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// As of this snapshot.
    #[must_use]
    pub fn snap(mut self, snap: u64) -> Self {
        self.snap = snap;
        self
    }
}

/// The results of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpReply<P> {
    /// What the request as a whole returned, 0 or more.
    pub result: i32,
    /// Version of the object; 0 where it does not exist.
    pub version: u64,
    /// One for each operation.
    pub results: Vec<OpResult<P>>,
}
