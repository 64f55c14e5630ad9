//! Why a request failed.

use crate::encoding::DecodeError;

/// A request that failed. [`TimedOut`](Self::TimedOut), [`Cluster`](Self::Cluster) and [`Unavailable`](Self::Unavailable) may succeed
/// later; of the rest, the same request fails again until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RadosError {
    /// The object does not exist (or what a class method looked for in it).
    #[error("no such object")]
    NotFound,
    /// It exists already.
    #[error("it exists already")]
    Exists,
    /// The pool does not exist, according to the newest map.
    #[error("the cluster has no pool with id {pool}: it was removed")]
    PoolNotFound {
        /// Id of the pool.
        pool: i64,
    },
    /// The user's capabilities do not allow it.
    #[error("the user's OSD capabilities do not allow it (see `ceph auth get`)")]
    Denied,
    /// The cluster has locked this client out.
    #[error("the cluster has blocklisted this client ({address}); see `ceph osd blocklist ls`")]
    Blocklisted {
        /// The address under which it is listed.
        address: String,
    },
    /// The deadline came first.
    #[error("timed out: {waiting}")]
    TimedOut {
        /// What it was waiting for.
        waiting: String,
    },
    /// The caller does not want it any more.
    #[error("cancelled")]
    Cancelled,
    /// There is no connection to the cluster, and trying again with the same configuration does not help.
    #[error("{0}")]
    Cluster(String),
    /// The OSD cannot do it now.
    #[error("{0}")]
    Unavailable(String),
    /// The pool or the cluster is full.
    #[error("the pool or the cluster is full")]
    NoSpace,
    /// The pool's or the user's quota is used up.
    #[error("a quota is used up")]
    Quota,
    /// The data is damaged on all replicas, or their disks fail.
    #[error("the OSD could not read the object: its data is damaged, or its disk fails")]
    Io,
    /// The OSD does not know the operation, the class or the method.
    #[error("the OSD does not know the operation, or its class is not loaded there")]
    Unsupported,
    /// The OSD answered something that is not an answer to the request.
    #[error("the OSD's answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Any other result.
    #[error("the OSD answered errno {0}")]
    Errno(i32),
}

/// Numbers as Linux has them: Ceph sends these whatever it runs on.
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EIO: i32 = 5;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EEXIST: i32 = 17;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EOPNOTSUPP: i32 = 95;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const EDQUOT: i32 = 122;
    pub(super) const ECANCELED: i32 = 125;
}

/// The OSD lost its interval with its peers, or the client chose a wrong replica: ask again.
pub(super) const EAGAIN: i32 = 11;
/// Ceph's use of `ESHUTDOWN` (`EBLOCKLISTED` of `include/rados.h`).
const EBLOCKLISTED: i32 = 108;

impl RadosError {
    /// What a result below 0 means; `address` is how the cluster knows this client.
    #[must_use]
    pub fn from_result(result: i32, address: &str) -> Self {
        match result.saturating_neg() {
            errno::ENOENT => Self::NotFound,
            errno::EPERM | errno::EACCES => Self::Denied,
            errno::EEXIST => Self::Exists,
            errno::EIO => Self::Io,
            errno::ENOSPC => Self::NoSpace,
            errno::EDQUOT => Self::Quota,
            errno::EOPNOTSUPP => Self::Unsupported,
            errno::ETIMEDOUT => Self::TimedOut { waiting: "the OSD gave up".into() },
            errno::ECANCELED => Self::Cancelled,
            EBLOCKLISTED => Self::Blocklisted { address: address.into() },
            other => Self::Errno(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_words() {
        let error = |result| RadosError::from_result(result, "10.0.0.1:0/7");
        assert_eq!(error(-2), RadosError::NotFound);
        assert_eq!(error(-13), RadosError::Denied);
        assert_eq!(error(i32::MIN), RadosError::Errno(i32::MAX));
        assert!(error(-108).to_string().contains("10.0.0.1:0/7"));
    }
}
