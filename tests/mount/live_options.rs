//! Options change under a live mount: in the file of a Secret, and in `runtimeOptions`, which hold for several mounts.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::bounded::{SOON, names, read, wait_for};
use wasmount_tests::kubelet::Volume;
use wasmount_tests::live::{
    Cluster, Reader, SEEN, bucket, config_of, in_force, soon_gone, soon_in_force, soon_reads, soon_stale,
};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Mount;
use wasmount_tests::prng::Prng;

#[test]
fn an_option_whose_file_changes_is_read_again() -> Result<()> {
    let (first, second) = (Minio::start()?, Minio::start()?);
    for (minio, content) in [(&first, b"first "), (&second, b"second")] {
        minio.client()?.make_bucket("bucket-a")?;
        minio.client()?.put("bucket-a", "f", content)?;
    }
    let mut config = bucket(&first, "a", "a", None);
    config["options"]["endpoint"] = json!("/etc/fluid/secrets/where/endpoint");
    let cluster = Cluster::new(&config_of(&[config]))?;
    let volume = Volume::new(&cluster.files.secrets_dir().join("where"))?;
    volume.publish(&[("endpoint", first.endpoint().as_bytes())])?;
    let mount = cluster.launch()?.start()?;
    wait_for("the first server", SOON, || read(mount.path("f")).ok()?.ok().filter(|text| text == b"first "))?;

    // The same bytes in a new generation are no change.
    volume.publish(&[("endpoint", first.endpoint().as_bytes())])?;
    std::thread::sleep(Duration::from_millis(500));
    assert!(mount.log().lines_with(&["opened again"]).is_empty());
    volume.publish(&[("endpoint", second.endpoint().as_bytes())])?;
    mount.log().wait_for(&["opened again", "endpoint", "has changed"], SEEN)?;
    drop(first);
    wait_for("the second server answers", SOON, || {
        names(mount.target()).ok()?.ok().filter(|names| *names == ["f"])
    })?;
    assert_eq!(in_force(&mount)?, (1, None), "config.json has not changed");
    Ok(())
}

/// Two mounts of the same bucket, of which one says itself where it is, and these `runtimeOptions`.
fn two(minio: &Minio, runtime: &Value) -> String {
    let (free, mut own) = (bucket(minio, "free", "a", None), bucket(minio, "own", "a", None));
    own["options"]["region"] = json!("us-east-1");
    let mut config: Value =
        json!({"mounts": [free, own], "targetPath": "TARGET", "accessModes": ["ReadOnlyMany"]});
    config["runtimeOptions"] = runtime.clone();
    config.to_string()
}

#[test]
fn a_runtime_option_replaces_the_mounts_it_changes_and_no_others() -> Result<()> {
    let minio = Minio::start()?;
    let big = Prng::new(11).bytes(24 << 20);
    minio.client()?.make_bucket("bucket-a")?;
    minio.client()?.put("bucket-a", "f", b"content")?;
    minio.client()?.put("bucket-a", "big", &big)?;
    let cluster = Cluster::new(&two(&minio, &json!({})))?;
    let mount = cluster.launch()?.start()?;
    wait_for("both", SOON, || {
        read(mount.path("own/f")).ok()?.ok().and(read(mount.path("free/f")).ok()?.ok())
    })?;
    let own = Reader::start(File::open(mount.path("own/big"))?, big.clone());
    let free = Reader::start(File::open(mount.path("free/big"))?, big);

    // Of another plugin, or of nobody.
    cluster.publish(&two(&minio, &json!({"tier": "hot"})))?;
    soon_in_force(&mount, 2)?;
    free.was_not_disturbed()?;

    // One mount says itself what it is, and stays.
    let open = File::open(mount.path("free/f"))?;
    cluster.publish(&two(&minio, &json!({"tier": "hot", "region": "eu-west-1"})))?;
    soon_in_force(&mount, 3)?;
    soon_stale(&open)?;
    assert_eq!(shown(&mount, "free", "region")?, "eu-west-1");
    assert_eq!(shown(&mount, "own", "region")?, "us-east-1");
    own.was_not_disturbed()?;

    // One of wasmount's own, for both.
    let open = [File::open(mount.path("own/f"))?, File::open(mount.path("own"))?];
    cluster.publish(&two(&minio, &json!({"uid": "4711"})))?;
    soon_in_force(&mount, 4)?;
    soon_stale(&open[0])?;
    soon_reads(mount.path("own/f"), b"content")?;
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(mount.path("own/f"))?), 4711);
    assert!(mount.log().lines_with(&["plugin died"]).is_empty(), "{}", mount.log().text());
    Ok(())
}

/// `.wasmount/config`
fn config(mount: &Mount) -> Result<Value> {
    Ok(serde_json::from_slice(&read(mount.path(".wasmount/config"))??)?)
}

/// An option of a mount as it is in force.
fn shown(mount: &Mount, name: &str, option: &str) -> Result<String> {
    let config = config(mount)?;
    let of_name = config["mounts"].as_array().into_iter().flatten().find(|mount| mount["name"] == name);
    let value = of_name.context("a mount")?["options"][option].as_str().context("an option")?;
    Ok(value.to_owned())
}

#[test]
fn connections_are_shared_by_the_mounts_that_there_are() -> Result<()> {
    let minio = Minio::start()?;
    minio.client()?.make_bucket("bucket-a")?;
    let mounts: Vec<Value> = ["a", "b", "c"].iter().map(|name| bucket(&minio, name, "a", None)).collect();
    let cluster = Cluster::new(&config_of(&mounts[..1]))?;
    let mount = cluster.launch()?.arg("--memory").arg("96MiB").start()?;
    let each = || config(&mount)?["network"]["connectionsPerOrigin"].as_u64().context("a number");
    let alone = each()?;
    cluster.publish(&config_of(&mounts))?;
    soon_in_force(&mount, 2)?;
    assert_eq!(each()?, alone / 3, "of {alone}");
    cluster.publish(&config_of(&mounts[1..2]))?;
    soon_gone(&mount.path("c"))?;
    soon_in_force(&mount, 3)?;
    assert_eq!(each()?, alone);
    Ok(())
}
