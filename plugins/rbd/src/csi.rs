//! What ceph-csi writes of its volumes.

use serde::Deserialize;
use std::collections::BTreeMap;
use wasmount_sdk::{Error, Result};

/// How a volume names its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pool {
    /// By name.
    Name(String),
    /// By id.
    Id(i64),
}

/// A volume of ceph-csi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Which cluster.
    pub cluster_id: String,
    /// Which pool.
    pub pool: Pool,
    /// Which namespace, if the volume says so.
    pub namespace: Option<String>,
    /// Which image.
    pub image: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    volume_handle: String,
    #[serde(default)]
    volume_attributes: Option<BTreeMap<String, String>>,
}

impl Volume {
    /// Reads the attributes of a PersistentVolume (its `spec.csi`, as JSON).
    ///
    /// # Errors
    /// `invalid`: something is missing; `unsupported`: it is encrypted.
    pub fn parse(persistent_volume: &str) -> Result<Self> {
        let source: Source = serde_json::from_str(persistent_volume).map_err(|error| {
            Error::invalid(format!("the attributes of the PersistentVolume cannot be read: {error}"))
        })?;
        let attributes = source.volume_attributes.unwrap_or_default();
        let attribute =
            |name: &str| attributes.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let is = |name: &str| attribute(name) == Some("true");
        if is("encrypted") {
            return Err(Error::unsupported(format!(
                "volume {} is encrypted by ceph-csi, and this plugin has no keys for that",
                source.volume_handle
            )));
        }
        let handle = Handle::parse(&source.volume_handle);
        let missing = |what: &str| {
            Error::invalid(format!(
                "the PersistentVolume {} has no attribute {what}, and its handle does not tell it",
                source.volume_handle
            ))
        };
        let image = match (attribute("imageName"), &handle) {
            (Some(image), _) => image.to_owned(),
            (None, _) if is("staticVolume") => source.volume_handle.clone(),
            (None, Some(handle)) => {
                format!("{}{}", attribute("volumeNamePrefix").unwrap_or("csi-vol-"), handle.uuid)
            }
            (None, None) => return Err(missing("imageName")),
        };
        let pool = match (attribute("pool"), &handle) {
            (Some(pool), _) => Pool::Name(pool.to_owned()),
            (None, Some(handle)) => Pool::Id(handle.pool),
            (None, None) => return Err(missing("pool")),
        };
        let cluster_id = match (attribute("clusterID"), &handle) {
            (Some(id), _) => id.to_owned(),
            (None, Some(handle)) => handle.cluster_id.clone(),
            (None, None) => return Err(missing("clusterID")),
        };
        let namespace = attribute("radosNamespace").map(str::to_owned);
        Ok(Self { cluster_id, pool, namespace, image })
    }
}

/// The handle of a volume that ceph-csi has made: version, length of the cluster's id, that id, id of the pool, and a UUID, with hyphens
/// between them (`internal/util/volid.go` of ceph-csi).
struct Handle {
    cluster_id: String,
    pool: i64,
    uuid: String,
}

impl Handle {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("0001-")?;
        let (length, rest) = rest.split_once('-')?;
        let length = usize::from_str_radix(length, 16).ok()?;
        let (cluster_id, rest) = rest.split_at_checked(length)?;
        let (pool, uuid) = rest.strip_prefix('-')?.split_once('-')?;
        let pool = i64::from_str_radix(pool, 16).ok()?;
        (uuid.len() == 36).then(|| Self { cluster_id: cluster_id.into(), pool, uuid: uuid.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: &str = "0001-0024-b9127830-b0cc-4e34-aa47-9d1a2e9949a8-0000000000000004-0ddf9b1b-9d4c-11e9-8ef6-0242ac110003";

    fn volume(attributes: &str) -> Result<Volume> {
        let handle = if attributes.contains("staticVolume") { "my-image" } else { HANDLE };
        Volume::parse(&format!(
            r#"{{"driver": "rbd.csi.ceph.com", "volumeHandle": "{handle}", "fsType": "ext4", "volumeAttributes": {{{attributes}}}}}"#
        ))
    }

    #[test]
    fn volumes_name_their_image() {
        let new =
            volume(r#""clusterID": "c", "pool": "p", "imageName": "csi-vol-1", "imageFeatures": "layering""#);
        let expected = |cluster_id: &str, pool, image: &str| Volume {
            cluster_id: cluster_id.into(),
            pool,
            namespace: None,
            image: image.into(),
        };
        assert_eq!(new.unwrap(), expected("c", Pool::Name("p".into()), "csi-vol-1"));
        let old = volume("").unwrap();
        let image = "csi-vol-0ddf9b1b-9d4c-11e9-8ef6-0242ac110003";
        assert_eq!(old, expected("b9127830-b0cc-4e34-aa47-9d1a2e9949a8", Pool::Id(4), image));
        let own = volume(r#""clusterID": "c", "pool": "p", "staticVolume": "true""#);
        assert_eq!(own.unwrap(), expected("c", Pool::Name("p".into()), "my-image"));
        let prefixed = volume(r#""volumeNamePrefix": "x-", "radosNamespace": "n""#).unwrap();
        assert_eq!((&prefixed.image[..3], prefixed.namespace.as_deref()), ("x-0", Some("n")));
    }

    #[test]
    fn volumes_that_cannot_be_mounted_are_refused() {
        assert!(volume(r#""encrypted": "true""#).unwrap_err().message.contains("encrypted"));
        let error = Volume::parse(r#"{"volumeHandle": "x", "volumeAttributes": {"pool": "p"}}"#).unwrap_err();
        assert!(error.message.contains("no attribute imageName"), "{}", error.message);
        assert!(Volume::parse("{}").is_err());
        assert!(Volume::parse(r#"{"volumeHandle": "0001-ffff-x-1-2"}"#).is_err());
    }
}
