//! What this plugin needs of a cluster: operations on one object at a time.

use std::fmt;
use wasmount_ceph::Payload;
use wasmount_ceph::osd::{Op, OpResult, Output};
use wasmount_ceph::rados::RadosError;

/// Where objects are: a pool and a namespace in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Id of the pool.
    pub pool: i64,
    /// Name of the namespace; empty: the default one.
    pub namespace: String,
}

/// A cluster.
pub trait Rados {
    /// Bytes of objects.
    type Payload: Payload + fmt::Debug;

    /// Does these operations on an object, in order and as a whole, and waits for their results, one for each.
    ///
    /// # Errors
    /// Why the request failed; [`RadosError::NotFound`] if the object does not exist.
    fn exec(
        &self,
        place: &Place,
        object: &str,
        snap: u64,
        ops: Vec<Op<Self::Payload>>,
    ) -> impl Future<Output = Result<Vec<OpResult<Self::Payload>>, RadosError>>;

    /// Milliseconds on a clock that never goes back.
    fn monotonic_ms(&self) -> u64;
}

/// The small output of an operation; empty if it is none.
pub(crate) fn bytes<P>(result: &OpResult<P>) -> &[u8] {
    match &result.output {
        Output::Bytes(bytes) => bytes,
        Output::Payload(_) | Output::Sparse { .. } => &[],
    }
}
