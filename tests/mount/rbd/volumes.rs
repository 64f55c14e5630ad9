//! Volumes of ceph-csi: what Fluid hands over of a `pvc://` mount, from its config.json to the image's bytes.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::bounded::{SOON, names};
use wasmount_tests::ceph::{Cluster, Image, left_out};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths::plugin;

use super::{make_pool, same};

/// What ceph-csi calls a volume behind the prefix of its image.
const VOLUME: &str = "8f0b1d4e-1f0a-4a52-9d51-0d9f5ed3a0c1";

/// Mounts a claim as Fluid does.
fn claimed(files: &FluidFiles, handle: &str, attributes: &Value, options: &Value) -> Result<Mount> {
    files.write_config(&json!({
        "mounts": [{"mountPoint": "pvc://training", "name": "training", "options": options}],
        "targetPath": files.target(),
        "persistentVolumeAttrs": {"training": {
            "driver": "rbd.csi.ceph.com",
            "volumeHandle": handle,
            "volumeAttributes": attributes,
            "nodeStageSecretRef": {"name": "csi-rbd-secret", "namespace": "ceph"},
        }},
        "persistentVolumeMountOptions": {"training": null},
        "accessModes": ["ReadOnlyMany"],
    }))?;
    Launch::bare_run(files)
        .shared_state()
        .arg("--plugin")
        .arg(plugin("rbd")?)
        .arg("--allow-net")
        .arg("127.0.0.1")
        .start()
}

#[test]
fn a_volume_of_ceph_csi_shows_its_image_and_no_other() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let name = format!("csi-vol-{VOLUME}");
    make_pool(cluster, "volumes")?;
    cluster.run("rbd", &["cp", "--no-progress", "rbd/plain", &format!("volumes/{name}")])?;
    cluster.run("rbd", &["cp", "--no-progress", "rbd/odd-size", "volumes/of-somebody-else"])?;
    let pools: Vec<Value> =
        serde_json::from_str(&cluster.run("ceph", &["osd", "lspools", "--format", "json"])?)?;
    let pool = pools.iter().find(|pool| pool["poolname"] == "volumes").context("the pool")?;
    let pool = pool["poolnum"].as_i64().context("its number")?;
    let plain = cluster.images()?.into_iter().find(|image| image.spec() == "rbd/plain");
    let plain: Image = plain.context("rbd/plain")?;
    let key =
        cluster.user("csi-node", &["mon", "profile rbd", "osd", "profile rbd-read-only pool=volumes"])?;

    let handle = format!("0001-0024-{}-{pool:016x}-{VOLUME}", cluster.fsid());
    let named = json!({"clusterID": cluster.fsid(), "pool": "volumes", "imageName": name});
    // Old volumes have only their handle, which numbers the pool.
    for attributes in [named, json!({"clusterID": cluster.fsid()})] {
        let files = FluidFiles::new()?;
        let user_key = files.write_secret("ceph", "userKey", &key)?;
        let options = json!({"userID": "csi-node", "userKey": user_key, "monitors": cluster.mon()});
        let mount = claimed(&files, &handle, &attributes, &options)?;
        let shown = names(mount.target())?.with_context(|| format!("the log:\n{}", mount.log().text()))?;
        assert_eq!(shown, [name.as_str()], "{attributes}");
        same(cluster, &plain, &mount.path(&name)).with_context(|| attributes.to_string())?;
    }
    Ok(())
}

/// Fluid does not mount the node-stage secret of a volume: whoever writes the Dataset has to name user and key.
#[test]
fn a_volume_without_a_user_says_which_options_are_missing() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let files = FluidFiles::new()?;
    let handle = format!("0001-0024-{}-0000000000000002-{VOLUME}", cluster.fsid());
    let attributes = json!({"clusterID": cluster.fsid(), "pool": "rbd", "imageName": "plain"});
    let mount = claimed(&files, &handle, &attributes, &json!({"monitors": cluster.mon()}))?;
    mount.log().wait_for(&["training", "userID", "userKey"], SOON)?;
    anyhow::ensure!(names(mount.target())?.is_err(), "it lists");
    Ok(())
}
