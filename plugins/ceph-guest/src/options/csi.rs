//! ceph-csi's list of clusters.

use serde::Deserialize;
use wasmount_sdk::{Error, Result};

/// A cluster in ceph-csi's `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Entry {
    #[serde(rename = "clusterID")]
    cluster_id: String,
    #[serde(default)]
    monitors: Vec<String>,
    #[serde(default)]
    rbd: Rbd,
    /// Where versions before 3.2 had it.
    #[serde(default, rename = "radosNamespace")]
    rados_namespace: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Rbd {
    #[serde(default, rename = "radosNamespace")]
    rados_namespace: Option<String>,
}

/// A cluster that was found by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Monitors, separated by commas.
    pub monitors: String,
    /// Namespace that RBD volumes of this cluster are in.
    pub rbd_namespace: Option<String>,
}

impl Cluster {
    /// Looks a cluster up in the text of `config.json`. Without an id, the list must have exactly one.
    ///
    /// # Errors
    /// `invalid`: it is no such list, or has no such cluster.
    pub fn find(config: &str, id: Option<&str>) -> Result<Self> {
        let entries: Vec<Entry> = serde_json::from_str(config).map_err(|error| {
            Error::invalid(format!(
                "option csi-config is not ceph-csi's list of clusters ([{{\"clusterID\": …, \"monitors\": […]}}]): {error}"
            ))
        })?;
        let known = || {
            let ids: Vec<&str> = entries.iter().map(|entry| entry.cluster_id.as_str()).collect();
            if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
        };
        let found = match (id, entries.as_slice()) {
            (Some(id), entries) => entries.iter().find(|entry| entry.cluster_id == id).ok_or_else(|| {
                format!(
                    "there is no cluster {id} in option csi-config (it has {}): correct option cluster-id",
                    known()
                )
            }),
            (None, [only]) => Ok(only),
            (None, _) => Err(format!(
                "option csi-config lists clusters {}: choose one with option cluster-id",
                known()
            )),
        };
        let entry = found.map_err(Error::invalid)?;
        if entry.monitors.is_empty() {
            return Err(Error::invalid(format!(
                "cluster {} in option csi-config has no monitors",
                entry.cluster_id
            )));
        }
        let namespace = entry.rbd.rados_namespace.as_ref().or(entry.rados_namespace.as_ref());
        Ok(Self {
            monitors: entry.monitors.join(","),
            rbd_namespace: namespace.filter(|namespace| !namespace.is_empty()).cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"[
        {"clusterID": "806762f5-9823-4f93-9afa-bd627436e0c8",
         "monitors": ["10.10.197.200:6789", "10.10.197.201:6789"]},
        {"clusterID": "rook", "monitors": ["v2:10.0.0.1:3300"], "rbd": {"radosNamespace": "ns"}, "cephFS": {"x": 1}},
        {"clusterID": "empty", "monitors": []}
    ]"#;

    #[test]
    fn clusters_are_found_by_id() {
        let found = Cluster::find(CONFIG, Some("806762f5-9823-4f93-9afa-bd627436e0c8")).unwrap();
        assert_eq!(found.monitors, "10.10.197.200:6789,10.10.197.201:6789");
        assert_eq!(found.rbd_namespace, None);
        let found = Cluster::find(CONFIG, Some("rook")).unwrap();
        assert_eq!(
            (found.monitors.as_str(), found.rbd_namespace.as_deref()),
            ("v2:10.0.0.1:3300", Some("ns"))
        );
        let only = r#"[{"clusterID": "a", "monitors": ["h"], "radosNamespace": "old"}]"#;
        assert_eq!(Cluster::find(only, None).unwrap().rbd_namespace.as_deref(), Some("old"));
    }

    #[test]
    fn what_is_not_found_is_said_with_what_there_is() {
        let fails = |id| Cluster::find(CONFIG, id).unwrap_err().message;
        assert!(fails(Some("x")).contains("it has 806762f5-9823-4f93-9afa-bd627436e0c8, rook, empty"));
        assert!(fails(None).contains("choose one with option cluster-id"));
        assert!(fails(Some("empty")).contains("has no monitors"));
        assert!(Cluster::find("monitors", None).unwrap_err().message.contains("not ceph-csi's list"));
    }
}
