//! Extended attributes: those that are stored, and those that the client answers itself, which tell about file and directory what CephFS
//! knows of them (`_dir_vxattrs` and `_file_vxattrs` of `client/Client.cc`).
//!
//! Listings name only what is stored, as with ceph-fuse: tools that copy all attributes would fail on the others.

use wasmount_ceph::cephfs::{Attributes, Kind};
use wasmount_ceph::osdmap::OsdMap;
use wasmount_ceph::types::UTime;
use wasmount_sdk::{Error, ErrorKind, Result};

/// What some attributes tell of the cluster.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the pool of the inode's layout; `None`: the map has no such pool.
    pub pool: Option<String>,
    /// Id of the cluster.
    pub fsid: String,
    /// The client's number.
    pub client: u64,
}

impl About {
    /// As a map tells it.
    #[must_use]
    pub fn new(map: &OsdMap, of: &Attributes, client: u64) -> Self {
        let pool = map.pool(of.layout.pool).map(|pool| pool.name.clone());
        Self { pool, fsid: map.fsid.to_string(), client }
    }
}

/// Whether an attribute is stored, so that its value is asked of the MDS. If not, it is of those that the client answers.
#[must_use]
pub fn is_stored(name: &[u8]) -> bool {
    !name.starts_with(b"ceph.")
}

/// Whether an attribute tells of all that is below a directory: the MDS brings that up to date some time after a change, and tells nobody.
#[must_use]
pub fn is_recursive(name: &[u8]) -> bool {
    name.starts_with(b"ceph.dir.r")
}

/// The value of a stored attribute of an inode whose attributes the MDS has told.
///
/// # Errors
/// `no-attribute`; `unsupported`: access control lists, which are not enforced and therefore not shown either.
pub fn stored(of: &Attributes, name: &[u8]) -> Result<Vec<u8>> {
    if name.starts_with(b"system.") {
        return Err(Error::unsupported(
            "attributes that begin with \"system.\" are not shown: ACLs are not enforced here",
        ));
    }
    of.xattrs.as_ref().and_then(|xattrs| xattrs.get(name)).cloned().ok_or_else(|| missing(name))
}

/// Names of all stored attributes of an inode.
#[must_use]
pub fn names(of: &Attributes) -> Vec<Vec<u8>> {
    of.xattrs.iter().flat_map(|xattrs| xattrs.keys().cloned()).collect()
}

/// The value of an attribute that the client answers.
///
/// # Errors
/// `no-attribute`: there is none of that name, or it says nothing about this inode.
pub fn answered(of: &Attributes, name: &[u8], about: &About) -> Result<Vec<u8>> {
    let value = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("ceph.")).and_then(|name| {
        let (subject, rest) = name.split_once('.').unwrap_or((name, ""));
        match (subject, of.kind) {
            ("file", Kind::Regular) | ("dir", Kind::Directory) if rest == "layout" => layout(of, about),
            ("file", Kind::Regular) => layout_field(of, rest.strip_prefix("layout.")?, about),
            ("dir", Kind::Directory) => match rest.strip_prefix("layout.") {
                Some(field) => layout_field(of, field, about),
                None => directory(of, rest),
            },
            ("quota", Kind::Directory) => quota(of, rest),
            // Of files and directories only, as other clients have it.
            ("snap", Kind::Regular | Kind::Directory) => {
                (rest == "btime" && of.snap_btime != UTime::default()).then(|| time(of.snap_btime))
            }
            _ if name == "cluster_fsid" => Some(about.fsid.clone()),
            _ if name == "client_id" => Some(format!("client{}", about.client)),
            _ => None,
        }
    });
    value.map(String::into_bytes).ok_or_else(|| missing(name))
}

fn missing(name: &[u8]) -> Error {
    Error::new(ErrorKind::NoAttribute, format!("there is no attribute {}", String::from_utf8_lossy(name)))
}

/// All of a layout. A directory has one only if it was given one.
fn layout(of: &Attributes, about: &About) -> Option<String> {
    let field = |field| layout_field(of, field, about);
    let (unit, count, size) = (field("stripe_unit")?, field("stripe_count")?, field("object_size")?);
    let pool = field("pool")?;
    let namespace = match field("pool_namespace")? {
        namespace if namespace.is_empty() => String::new(),
        namespace => format!(" pool_namespace={namespace}"),
    };
    Some(format!("stripe_unit={unit} stripe_count={count} object_size={size} pool={pool}{namespace}"))
}

fn layout_field(of: &Attributes, field: &str, about: &About) -> Option<String> {
    let layout = &of.layout;
    // The directory of snapshots looks like its directory, but nothing can be made in it.
    if layout.stripe_unit == 0 || of.vino.is_snapshots() {
        return None;
    }
    Some(match field {
        "stripe_unit" => layout.stripe_unit.to_string(),
        "stripe_count" => layout.stripe_count.to_string(),
        "object_size" => layout.object_size.to_string(),
        "pool" => about.pool.clone().unwrap_or_else(|| layout.pool.to_string()),
        "pool_name" => about.pool.clone()?,
        "pool_id" => layout.pool.to_string(),
        "pool_namespace" => String::from_utf8_lossy(&layout.namespace).into_owned(),
        _ => return None,
    })
}

fn directory(of: &Attributes, what: &str) -> Option<String> {
    let (files, subdirs, below) = (of.dir_files, of.dir_subdirs, &of.recursive);
    Some(match what {
        "entries" => files.saturating_add(subdirs).to_string(),
        "files" => files.to_string(),
        "subdirs" => subdirs.to_string(),
        "rentries" => below.files.saturating_add(below.subdirs).to_string(),
        "rfiles" => below.files.to_string(),
        "rsubdirs" => below.subdirs.to_string(),
        "rsnaps" => below.snaps.to_string(),
        "rbytes" => below.bytes.to_string(),
        "rctime" => time(below.ctime),
        "pin" => of.dir_pin.to_string(),
        _ => return None,
    })
}

fn quota(of: &Attributes, what: &str) -> Option<String> {
    let (bytes, files) = (of.quota.max_bytes, of.quota.max_files);
    if bytes == 0 && files == 0 {
        return None;
    }
    Some(match what {
        "" => format!("max_bytes={bytes} max_files={files}"),
        "max_bytes" => bytes.to_string(),
        "max_files" => files.to_string(),
        _ => return None,
    })
}

fn time(time: UTime) -> String {
    format!("{}.{:09}", time.seconds, time.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use wasmount_ceph::cephfs::{RecursiveStat, Vino};
    use wasmount_ceph::mds::{FileLayout, QuotaInfo};

    fn about() -> About {
        About {
            pool: Some("cephfs_data".into()),
            fsid: "0d59323b-7668-41b0-b6d7-c7a413842814".into(),
            client: 4142,
        }
    }

    fn file() -> Attributes {
        fake::attributes(Vino::head(0x100), 0o100_644)
    }

    fn directory() -> Attributes {
        fake::attributes(Vino::head(0x100), 0o040_755)
    }

    fn value(of: &Attributes, name: &str) -> Option<String> {
        match answered(of, name.as_bytes(), &about()) {
            Ok(value) => Some(String::from_utf8(value).unwrap()),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::NoAttribute);
                assert!(error.message.contains(name), "{}", error.message);
                None
            }
        }
    }

    fn is(text: &str) -> Option<String> {
        Some(text.into())
    }

    /// What ceph-fuse 16.2.15 says of such a file.
    #[test]
    fn files_tell_their_layout() {
        let of = file();
        let all = "stripe_unit=4194304 stripe_count=1 object_size=4194304 pool=cephfs_data";
        assert_eq!(value(&of, "ceph.file.layout"), is(all));
        assert_eq!(value(&of, "ceph.file.layout.pool"), is("cephfs_data"));
        assert_eq!(value(&of, "ceph.file.layout.pool_id"), is("2"));
        assert_eq!(value(&of, "ceph.file.layout.pool_namespace"), is(""));
        for other in [
            "ceph.dir.layout",
            "ceph.dir.entries",
            "ceph.file.layout.",
            "ceph.file",
            "ceph.x",
            "ceph.quota",
            "ceph.",
        ] {
            assert_eq!(value(&of, other), None, "{other}");
        }
        let layout = FileLayout { namespace: b"ns".to_vec(), pool: 9, ..(*of.layout).clone() };
        let spaced = Attributes { layout: Arc::new(layout), ..of };
        let unknown = About { pool: None, ..about() };
        let found = answered(&spaced, b"ceph.file.layout", &unknown).unwrap();
        assert!(found.ends_with(b" pool=9 pool_namespace=ns"), "{found:?}");
    }

    /// What ceph-fuse 16.2.15 says of such a directory.
    #[test]
    fn directories_tell_what_is_in_them() {
        let mut of = directory();
        (of.dir_files, of.dir_subdirs) = (10, 1);
        let ctime = UTime { seconds: 1_795_256_978, nanoseconds: 3_588_858 };
        of.recursive = RecursiveStat { ctime, bytes: 1_093_227_651, files: 10, subdirs: 2, snaps: 0 };
        for (name, expected) in [
            ("entries", "11"),
            ("files", "10"),
            ("subdirs", "1"),
            ("rentries", "12"),
            ("rfiles", "10"),
            ("rsubdirs", "2"),
            ("rbytes", "1093227651"),
            ("rctime", "1795256978.003588858"),
            ("pin", "-1"),
        ] {
            assert_eq!(value(&of, &format!("ceph.dir.{name}")), is(expected), "{name}");
        }
        of.layout = Arc::new(FileLayout::default());
        assert_eq!(value(&of, "ceph.dir.layout"), None, "it was given none");
        assert_eq!(value(&of, "ceph.dir.layout.pool"), None);
        assert_eq!(value(&of, "ceph.quota"), None);
        of.quota = QuotaInfo { max_bytes: 10 << 20, max_files: 20 };
        assert_eq!(value(&of, "ceph.quota"), is("max_bytes=10485760 max_files=20"));
        assert_eq!(value(&of, "ceph.quota.max_files"), is("20"));
    }

    #[test]
    fn snapshots_and_clusters_are_named() {
        let mut of = file();
        assert_eq!(value(&of, "ceph.snap.btime"), None);
        of.snap_btime = UTime { seconds: 5, nanoseconds: 1 };
        assert_eq!(value(&of, "ceph.snap.btime"), is("5.000000001"));
        assert_eq!(value(&of, "ceph.cluster_fsid"), is("0d59323b-7668-41b0-b6d7-c7a413842814"));
        assert_eq!(value(&of, "ceph.client_id"), is("client4142"));
    }

    #[test]
    fn what_is_stored_is_listed() {
        let stored_ones = BTreeMap::from([
            (b"user.colour".to_vec(), b"bl\0ue".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
            (b"system.posix_acl_access".to_vec(), vec![2]),
        ]);
        let of = Attributes { xattrs: Some(Arc::new(stored_ones)), ..file() };
        assert_eq!(stored(&of, b"user.colour").unwrap(), b"bl\0ue");
        assert_eq!(stored(&of, b"user.empty").unwrap(), b"");
        assert_eq!(stored(&of, b"user.x").unwrap_err().kind, ErrorKind::NoAttribute);
        assert_eq!(stored(&of, b"system.posix_acl_access").unwrap_err().kind, ErrorKind::Unsupported);
        assert_eq!(names(&of).len(), 3);
        assert!(is_stored(b"user.ceph.x") && !is_stored(b"ceph.file.layout"));
        assert_eq!(stored(&file(), b"user.x").unwrap_err().kind, ErrorKind::NoAttribute);
    }
}
