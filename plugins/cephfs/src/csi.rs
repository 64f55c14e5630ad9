//! What ceph-csi writes of its volumes.

use crate::location::Root;
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmount_sdk::{Error, Result};

/// A volume of `cephfs.csi.ceph.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Which cluster, by its id in ceph-csi's list.
    pub cluster_id: Option<String>,
    /// Monitors, where versions before 2.0 had them.
    pub monitors: Option<String>,
    /// Which file system; `None`: the cluster's only one.
    pub fs: Option<String>,
    /// Where the volume is in it.
    pub root: Root,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    volume_handle: String,
    #[serde(default)]
    volume_attributes: Option<BTreeMap<String, String>>,
}

impl Volume {
    /// Reads the attributes of a PersistentVolume (its `spec.csi`, as JSON). Which there are: `internal/cephfs/store/volumeoptions.go` of
    /// ceph-csi.
    ///
    /// # Errors
    /// `invalid`: something is missing; `unsupported`: it is encrypted, or a snapshot.
    pub fn parse(persistent_volume: &str) -> Result<Self> {
        let source: Source = serde_json::from_str(persistent_volume).map_err(|error| {
            Error::invalid(format!("the attributes of the PersistentVolume cannot be read: {error}"))
        })?;
        let attributes = source.volume_attributes.unwrap_or_default();
        let attribute = |name: &str| attributes.get(name).filter(|value| !value.is_empty());
        let handle = &source.volume_handle;
        if attribute("encrypted").is_some_and(|value| value == "true") {
            return Err(Error::unsupported(format!(
                "volume {handle} is encrypted by ceph-csi, and this plugin has no keys for that"
            )));
        }
        if attribute("backingSnapshotID").is_some()
            || attribute("backingSnapshot").is_some_and(|value| value == "true")
        {
            return Err(Error::unsupported(format!(
                "volume {handle} is a snapshot of another one, of which its attributes do not tell the directory: mount that directory with \
                 ceph:// and option path=/…/.snap/SNAPSHOT/…"
            )));
        }
        // Made by ceph-csi, or beforehand by an administrator.
        let root = attribute("subvolumePath").or(attribute("rootPath")).ok_or_else(|| {
            Error::invalid(format!(
                "the PersistentVolume {handle} has neither attribute subvolumePath nor rootPath: it was made by a version of ceph-csi before \
                 3.4; mount its directory (`ceph fs subvolume getpath`) with ceph:// and option path"
            ))
        })?;
        let root =
            Root::parse(root).map_err(|error| error.context(format_args!("PersistentVolume {handle}")))?;
        Ok(Self {
            cluster_id: attribute("clusterID").cloned(),
            monitors: attribute("monitors").cloned(),
            fs: attribute("fsName").cloned(),
            root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(attributes: &str) -> Result<Volume> {
        Volume::parse(&format!(
            r#"{{"driver": "cephfs.csi.ceph.com", "volumeHandle": "0001-0009-rook-ceph-1", "volumeAttributes": {{{attributes}}}}}"#
        ))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn volumes_name_their_directory() {
        let path = "/volumes/csi/csi-vol-2c3a/7d1e";
        let dynamic = volume(&format!(
            r#""clusterID": "rook-ceph", "fsName": "myfs", "pool": "p", "subvolumeName": "csi-vol-2c3a", "subvolumePath": "{path}""#
        ));
        let expected = Volume {
            cluster_id: some("rook-ceph"),
            monitors: None,
            fs: some("myfs"),
            root: Root::parse(path).unwrap(),
        };
        assert_eq!(dynamic.unwrap(), expected);
        let fixed =
            volume(r#""clusterID": "c", "fsName": "f", "staticVolume": "true", "rootPath": "/a-b""#).unwrap();
        assert_eq!((fixed.root.as_str(), fixed.fs), ("/a-b", some("f")));
        let old = volume(
            r#""monitors": "10.0.0.1:6789,10.0.0.2:6789", "rootPath": "/x", "provisionVolume": "false""#,
        );
        assert_eq!(old.unwrap().monitors, some("10.0.0.1:6789,10.0.0.2:6789"));
    }

    #[test]
    fn volumes_that_cannot_be_mounted_are_refused() {
        let fails = |attributes: &str| volume(attributes).unwrap_err().message;
        assert!(fails(r#""rootPath": "/a", "encrypted": "true""#).contains("encrypted"));
        assert!(
            fails(r#""subvolumePath": "/a", "backingSnapshotID": "s""#).contains("a snapshot of another one")
        );
        assert!(fails(r#""clusterID": "c""#).contains("neither attribute subvolumePath nor rootPath"));
        assert!(fails(r#""rootPath": "/a/../b""#).contains("PersistentVolume 0001-0009-rook-ceph-1"));
        assert!(Volume::parse("{}").is_err());
    }
}
