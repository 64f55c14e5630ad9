//! Why something failed, and what a person can do about it.

use crate::read::ReadError;
use wasmount_ceph::cephfs::FsError;
use wasmount_ceph::rados::RadosError;
use wasmount_sdk::{Blame, Error, ErrorKind};

/// Who asks where: for sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// User, as in `client.USER`.
    pub user: String,
    /// Name of the file system, as far as the options tell it.
    pub fs: Option<String>,
    /// The directory that is mounted.
    pub root: String,
}

impl Scene {
    /// The error for the host; `what` was asked for.
    #[must_use]
    pub fn error(&self, what: &str, error: &FsError) -> Error {
        let say = |kind| Error::new(kind, format!("{what}: {error}"));
        match error {
            FsError::Stale | FsError::Unknown(_) => say(ErrorKind::Stale),
            FsError::NotDirectory => say(ErrorKind::NotDirectory),
            FsError::IsDirectory => say(ErrorKind::IsDirectory),
            FsError::NotSymlink => say(ErrorKind::Invalid).blame(Blame::Caller),
            // Whose fault it is depends on what was asked for: permissions of a file are the caller's business.
            FsError::Denied => Error::denied(format!(
                "{what}: neither the permissions there nor the MDS capability of client.{} allow it (`ceph auth get client.{}`)",
                self.user, self.user
            ))
            .blame(Blame::Caller)
            .code("EACCES"),
            FsError::NameTooLong => say(ErrorKind::NameTooLong),
            FsError::TimedOut(_) => say(ErrorKind::TimedOut).retry_after_ms(0),
            FsError::Unavailable(_) => say(ErrorKind::Unavailable).retry_after_ms(100),
            FsError::TooMany(_) => say(ErrorKind::Busy).blame(Blame::Host).retry_after_ms(100),
            FsError::Malformed(_) => say(ErrorKind::Corrupt),
            FsError::Errno(number) => errno(what, *number),
            _ => say(ErrorKind::Other),
        }
    }

    /// The root of the mount cannot be found.
    #[must_use]
    pub fn no_root(&self, error: &FsError) -> Error {
        let (user, root) = (&self.user, &self.root);
        let fs = self.fs.as_deref().unwrap_or("FS");
        let correct = "correct the path in mountPoint or option path";
        let found = match error {
            FsError::Stale => {
                Error::not_found(format!("there is no directory {root} in the file system: {correct}")).code("ENOENT")
            }
            FsError::NotDirectory => {
                Error::new(ErrorKind::NotDirectory, format!("{root} is not a directory of the file system: {correct}"))
            }
            FsError::Denied => Error::denied(format!(
                "client.{user} may not mount {root}: allow it with `ceph fs authorize {fs} client.{user} {root} r`, or name the \
                 directory that it may mount in mountPoint or option path"
            ))
            .code("EACCES"),
            other => return self.error(&format!("root {root}"), other),
        };
        found.blame(Blame::Plugin)
    }

    /// The same for a read that failed.
    #[must_use]
    pub fn read(&self, what: &str, error: &ReadError) -> Error {
        match error {
            ReadError::Layout(_) => Error::corrupt(format!("{what}: {error}")),
            ReadError::Object { error: RadosError::Denied, pool, .. } => {
                let fs = self.fs.as_deref().unwrap_or("FS");
                wasmount_ceph_guest::error(
                    &RadosError::Denied,
                    format!(
                        "{what}: client.{user} may not read pool id {pool}, where the data is: allow it with `ceph fs authorize {fs} \
                         client.{user} {root} r`, or add osd 'allow r tag cephfs data={fs}' to its capabilities (`ceph auth caps`)",
                        user = self.user,
                        root = self.root,
                    ),
                )
            }
            ReadError::Object { error: why, .. } => {
                wasmount_ceph_guest::error(why, format!("{what}: {error}"))
            }
        }
    }
}

/// Results that have no word of their own.
fn errno(what: &str, number: i32) -> Error {
    let (kind, name) = match number {
        5 => (ErrorKind::Corrupt, "EIO"),
        22 => (ErrorKind::Invalid, "EINVAL"),
        30 => (ErrorKind::ReadOnly, "EROFS"),
        61 => (ErrorKind::NoAttribute, "ENODATA"),
        95 => (ErrorKind::Unsupported, "EOPNOTSUPP"),
        108 => (ErrorKind::Fenced, "EBLOCKLISTED"),
        _ => (ErrorKind::Other, ""),
    };
    let error = Error::new(kind, format!("{what}: the MDS answered errno {number}")).blame(Blame::Origin);
    if name.is_empty() { error.code(format!("errno {number}")) } else { error.code(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_sdk::RetryAdvice;

    fn scene() -> Scene {
        Scene { user: "tst1".into(), fs: Some("cephfs".into()), root: "/tst1".into() }
    }

    #[test]
    fn kinds_and_advice_follow_the_error() {
        let error = |error| scene().error("look-up of a", &error);
        assert_eq!(error(FsError::Stale).kind, ErrorKind::Stale);
        assert_eq!(error(FsError::Unknown("open file")).message, "look-up of a: there is no open file");
        let late = error(FsError::TimedOut("mds.0 is not there".into()));
        assert!(matches!((late.kind, late.retry), (ErrorKind::TimedOut, RetryAdvice::AfterMs(0))));
        assert!(late.message.contains("mds.0 is not there"));
        let denied = error(FsError::Denied);
        assert_eq!((denied.kind, denied.blame), (ErrorKind::Denied, Blame::Caller));
        assert!(denied.message.contains("client.tst1"), "{}", denied.message);
        let other = error(FsError::Errno(75));
        assert_eq!((other.kind, other.origin_code.as_deref()), (ErrorKind::Other, Some("errno 75")));
        assert_eq!(error(FsError::Errno(5)).kind, ErrorKind::Corrupt);
    }

    #[test]
    fn a_root_that_is_not_there_is_an_option_to_correct() {
        let missing = scene().no_root(&FsError::Stale);
        assert_eq!((missing.kind, missing.blame), (ErrorKind::NotFound, Blame::Plugin));
        assert!(
            missing.message.contains("/tst1") && missing.message.contains("option path"),
            "{}",
            missing.message
        );
        assert_eq!(scene().no_root(&FsError::NotDirectory).kind, ErrorKind::NotDirectory);
        let denied = scene().no_root(&FsError::Denied);
        assert!(
            denied.message.contains("`ceph fs authorize cephfs client.tst1 /tst1 r`"),
            "{}",
            denied.message
        );
        let late = scene().no_root(&FsError::TimedOut("x".into()));
        assert_eq!((late.kind, late.message.as_str()), (ErrorKind::TimedOut, "root /tst1: timed out: x"));
    }

    #[test]
    fn missing_capabilities_are_spelled_out() {
        let error = |error| ReadError::Object { object: "100.00000000".into(), pool: 2, error };
        let denied = scene().read("reading", &error(RadosError::Denied));
        assert_eq!((denied.kind, denied.blame), (ErrorKind::Denied, Blame::Plugin));
        let remedy = "`ceph fs authorize cephfs client.tst1 /tst1 r`";
        assert!(
            denied.message.contains(remedy) && denied.message.contains("pool id 2"),
            "{}",
            denied.message
        );
        let damaged = scene().read("reading", &error(RadosError::Io));
        assert_eq!(damaged.kind, ErrorKind::Corrupt);
        assert!(
            damaged.message.starts_with("reading: object 100.00000000 in pool 2: "),
            "{}",
            damaged.message
        );
        assert_eq!(scene().read("reading", &ReadError::Layout("no pool".into())).kind, ErrorKind::Corrupt);
    }
}
