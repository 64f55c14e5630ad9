//! What a change of the configuration means for plugins: nothing. Those of the start serve whatever comes later.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::bounded::{SOON, names, read, wait_for};
use wasmount_tests::live::{
    Cluster, Reader, SEEN, bucket, config_of, in_force, soon_gone, soon_in_force, soon_reads,
};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths;
use wasmount_tests::plugin_tool::{Tool, another_version, plugin_file, push};
use wasmount_tests::prng::Prng;
use wasmount_tests::registry::{Registry, sha256};

/// As long as the program may take to look again when nothing has happened that it could notice, and then some.
const SELDOM: Duration = Duration::from_secs(15);

/// A mount as `.wasmount/config` shows it.
fn shown(mount: &Mount, name: &str) -> Result<Value> {
    let config: Value = serde_json::from_slice(&read(mount.path(".wasmount/config"))??)?;
    let mounts = config["mounts"].as_array().context("mounts")?;
    Ok(mounts.iter().find(|mount| mount["name"] == name).context("a mount")?.clone())
}

#[test]
fn an_edit_asks_no_registry() -> Result<()> {
    let mut registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let (host, tag) = (registry.host(), registry.reference("wasmount/s3:v1"));
    let minio = Minio::start()?;
    let big = Prng::new(5).bytes(24 << 20);
    minio.client()?.make_bucket("bucket-a")?;
    minio.client()?.put("bucket-a", "f", b"content")?;
    minio.client()?.put("bucket-a", "big", &big)?;
    let mount_of = |name: &str| bucket(&minio, name, "a", None);
    // Whoever looked for these would have to ask what the tag means. A plugin that would do is beside the program.
    let unserved = [
        json!({"mountPoint": "rbd://127.0.0.1:1/pool", "name": "unserved"}),
        json!({"mountPoint": "pvc://claim", "name": "volume"}),
    ];
    plugin_file("rbd")?;
    let config = |names: &[&str]| {
        let mounts: Vec<Value> =
            unserved.iter().cloned().chain(names.iter().map(|name| mount_of(name))).collect();
        config_of(&mounts)
    };

    let cluster = Cluster::new(&config(&["a"]))?;
    let mount = Launch::bare_run(&cluster.files)
        .arg("--no-passthrough")
        .arg("--allow-net")
        .arg("127.0.0.1")
        .arg("--plain-http-registry")
        .arg(&host)
        .arg("--plugin")
        .arg(&tag)
        .start()?;
    mount.log().wait_for(&["plugin is fetched", &tag], SOON)?;
    wait_for("the first mount", SOON, || read(mount.path("a/f")).ok()?.ok())?;
    let open = File::open(mount.path("a/f"))?;
    let reader = Reader::start(File::open(mount.path("a/big"))?, big);

    // The tag means another plugin now: that is for the next start.
    let dir = tempfile::tempdir()?;
    let other = dir.path().join("s3.wasm");
    another_version("s3", &other)?;
    let other = other.to_str().context("UTF-8")?;
    Tool::new()?.succeeds(&["push", other, &tag, "--plain-http-registry", &host])?;
    cluster.publish(&config(&["a", "b"]))?;
    soon_in_force(&mount, 2)?;
    soon_reads(mount.path("b/f"), b"content")?;
    let digest = sha256(&std::fs::read(paths::plugin("s3")?)?);
    for name in ["a", "b"] {
        assert_eq!(shown(&mount, name)?["plugin"]["digest"], json!(digest), "{name}");
    }
    assert_eq!(open.read_at(&mut [0; 7], 0)?, 7, "what was open stays open");

    // It hangs, and then it is gone.
    registry.paused(|| -> Result<()> {
        cluster.publish(&config(&["a"]))?;
        soon_gone(&mount.path("b"))?;
        soon_in_force(&mount, 3)
    })?;
    registry.stop();
    cluster.publish(&config(&["a", "c"]))?;
    soon_in_force(&mount, 4)?;
    soon_reads(mount.path("c/f"), b"content")?;
    reader.was_not_disturbed()?;
    assert_eq!(open.read_at(&mut [0; 7], 0)?, 7);
    for (text, times) in [("plugin is fetched", 1), ("plugin is loaded", 1), ("cannot be asked", 0)] {
        assert_eq!(mount.log().lines_with(&[text]).len(), times, "{text}\n{}", mount.log().text());
    }
    for name in ["unserved", "volume"] {
        assert!(names(mount.path(name))?.is_err());
    }
    Ok(())
}

#[test]
fn what_a_look_at_the_plugins_finds_wrong_is_looked_at_again() -> Result<()> {
    // The default set is beside the program.
    let dir = tempfile::tempdir()?;
    let (program, plugins) = (dir.path().join("wasmount"), dir.path().join("plugins"));
    std::fs::copy(paths::wasmount()?, &program)?;
    std::fs::create_dir(&plugins)?;
    std::fs::copy(paths::plugin("s3")?, plugins.join("s3.wasm"))?;
    let second = plugins.join("second.wasm");
    another_version("s3", &second)?;
    let minio = Minio::start()?;
    minio.client()?.make_bucket("bucket-a")?;
    minio.client()?.put("bucket-a", "f", b"content")?;

    let cluster = Cluster::new(&config_of(&[]))?;
    let script = format!("exec {} \"$@\"", program.display());
    let launch = Launch::bare_run(&cluster.files).arg("--allow-net").arg("127.0.0.1");
    let launch = launch.replace_arg("--state-dir", paths::state()).under("sh", &["-c", &script]);
    let mount = launch.start()?;
    assert!(mount.log().lines_with(&["plugin is loaded"]).is_empty(), "nobody has needed one yet");

    cluster.publish(&config_of(&[bucket(&minio, "a", "a", Some("/a"))]))?;
    // Both are compiled first.
    mount.log().wait_for(&["not put in force", "both serve", file_name(&second)?], SOON)?;
    assert_eq!(in_force(&mount)?.0, 1);
    // config.json stays as it is.
    std::fs::remove_file(&second)?;
    wait_for("it is in force", SELDOM + SEEN, || in_force(&mount).ok().filter(|now| *now == (2, None)))?;
    soon_reads(mount.path("a/f"), b"content")?;
    assert_eq!(mount.log().lines_with(&["not put in force"]).len(), 1, "said once\n{}", mount.log().text());
    Ok(())
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).context("a name")
}
