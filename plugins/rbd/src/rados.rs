//! What this plugin needs of a cluster: operations on one object at a time.

use wasmount_ceph::osd::{OpResult, Output};

pub use wasmount_ceph_guest::objects::{Place, Rados};

/// The small output of an operation; empty if it is none.
pub(crate) fn bytes<P>(result: &OpResult<P>) -> &[u8] {
    match &result.output {
        Output::Bytes(bytes) => bytes,
        Output::Payload(_) | Output::Sparse { .. } => &[],
    }
}
