//! Why a call failed.

/// A call that failed. [`TimedOut`](Self::TimedOut) and [`Unavailable`](Self::Unavailable) may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The inode does not exist any more.
    #[error("it was removed")]
    Stale,
    /// There is no such thing: an inode that nobody has shown to this client, an open file that was released.
    #[error("there is no {0}")]
    Unknown(&'static str),
    /// Not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// A directory, where a file is needed.
    #[error("a directory")]
    IsDirectory,
    /// Not a symbolic link.
    #[error("not a symbolic link")]
    NotSymlink,
    /// The user's capabilities or the file's permissions do not allow it.
    #[error("the MDS does not allow it (see `ceph auth get`)")]
    Denied,
    /// The name is longer than names can be.
    #[error("the name is too long")]
    NameTooLong,
    /// The deadline came first.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The file system cannot be used at present.
    #[error("{0}")]
    Unavailable(String),
    /// There is more of something than this client takes.
    #[error("{0}")]
    TooMany(String),
    /// The MDS answered something that is not an answer to the question.
    #[error("the MDS answered nonsense: {0}")]
    Malformed(String),
    /// Any other result.
    #[error("the MDS answered errno {0}")]
    Errno(i32),
}

/// Numbers as Linux has them: Ceph sends these whatever it runs on.
pub(super) mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const ENXIO: i32 = 6;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const ENOTDIR: i32 = 20;
    pub(crate) const EISDIR: i32 = 21;
    pub(crate) const ENAMETOOLONG: i32 = 36;
    pub(crate) const ESTALE: i32 = 116;
}

impl FsError {
    /// What a result below 0 means.
    #[must_use]
    pub fn from_result(result: i32) -> Self {
        match result.saturating_neg() {
            errno::ENOENT | errno::ESTALE => Self::Stale,
            errno::EPERM | errno::EACCES => Self::Denied,
            errno::ENOTDIR => Self::NotDirectory,
            errno::EISDIR => Self::IsDirectory,
            errno::ENAMETOOLONG => Self::NameTooLong,
            other => Self::Errno(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_words() {
        assert_eq!(FsError::from_result(-2), FsError::Stale);
        assert_eq!(FsError::from_result(-13), FsError::Denied);
        assert_eq!(FsError::from_result(i32::MIN), FsError::Errno(i32::MAX));
    }
}
