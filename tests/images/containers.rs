//! The images as Fluid's DaemonSet runs them, and an application beside them that reads.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wasmount_tests::bounded::{SOON, names, read, wait_for};
use wasmount_tests::ceph::{self, Cluster, Setup};
use wasmount_tests::containers::{Container, Containers, Image, Node, Rights, left_out};
use wasmount_tests::fluid::{documents, manifests, render};
use wasmount_tests::minio::Minio;
use wasmount_tests::mountinfo;
use wasmount_tests::paths::{fixture, repository};
use wasmount_tests::prng::Prng;

/// What kubelet allows by default from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(30);

const GREETING: &str = "fluid-minio-test\n";

const MINIO_TARGET: &str = "/runtime-mnt/thin/default/minio-demo/thin-fuse";

/// A MinIO with the bucket of the sample, and some megabytes to read.
fn minio() -> Result<(Minio, Vec<u8>)> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket("my-first-bucket")?;
    client.put("my-first-bucket", "testfile", GREETING.as_bytes())?;
    let large = Prng::new(5).bytes(5_000_000);
    client.put("my-first-bucket", "dir/large", &large)?;
    Ok((minio, large))
}

/// The pod of the real DaemonSet, with wasmount's image in it in place of goofys and a script.
fn captured_pod(plugin: &str) -> Result<Value> {
    let daemon_set = documents(&fixture("fluid/minio-demo.daemonset.yaml"))?.pop().context("a DaemonSet")?;
    let mut pod = daemon_set.pointer("/spec/template/spec").context("a pod")?.clone();
    let container = pod.pointer_mut("/containers/0").context("a container")?;
    container["command"] = json!(["wasmount"]);
    // The servers of the tests are on loopback.
    container["args"] = json!(["run", format!("--plugin=/plugins/{plugin}.wasm"), "--allow-net=127.0.0.1"]);
    Ok(pod)
}

/// The real config.json and its secret, for this server.
fn write_minio_demo(node: &Node<'_>, minio: &Minio) -> Result<()> {
    let config = std::fs::read_to_string(fixture("fluid/minio-demo.config.json"))?;
    let config = config.replace("http://minio:9000", &minio.endpoint());
    node.write("configMap", "minio-demo-fuse-conf", &[("config.json", &config)])?;
    let keys = [("minio-access-key", "minioadmin\n"), ("minio-access-secret", "minioadmin\n")];
    node.write("secret", "minio-secret", &keys)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of a file as an application's container reads it.
fn digest_in_application(node: &Node<'_>, directory: &str, file: &str) -> Result<String> {
    let printed = node.application(directory, &["sha256sum", &format!("/data/{file}")])?;
    printed.split_whitespace().next().map(str::to_owned).context("no digest")
}

/// Everything that Fluid and an application do with the sample.
fn minio_demo_is_served(image: Image, rights: Rights) -> Result<()> {
    let containers = Containers::shared()?;
    let (minio, large) = minio()?;
    let node = containers.node()?;
    write_minio_demo(&node, &minio)?;
    let container = node.start(&captured_pod("s3")?, image, rights)?;
    container.wait_mounted(MINIO_TARGET)?;

    // On the node, and in another container that was there before.
    let target = node.path(MINIO_TARGET);
    assert_eq!(mountinfo::at(&target)?.len(), 1);
    assert_eq!(read(target.join("testfile"))??, GREETING.as_bytes(), "{}", container.log()?);
    assert_eq!(names(target.clone())??, ["dir", "testfile"]);
    let directory = Path::new(MINIO_TARGET).parent().and_then(Path::to_str).context("a parent")?;
    assert_eq!(node.application(directory, &["cat", "/data/thin-fuse/testfile"])?, GREETING);
    assert_eq!(digest_in_application(&node, directory, "thin-fuse/dir/large")?, sha256(&large));

    probes_agree(&container)?;
    says_what_is_given_up(&container, rights)?;

    // Fluid's preStop, and then the container ends by itself: there would be no SIGTERM in sidecar mode.
    container.pre_stop()?;
    assert_eq!(container.ended(GRACE)?, 0, "{}", container.log()?);
    assert!(mountinfo::at(&target)?.is_empty(), "the mount is still there");
    Ok(())
}

/// Without a writable /sys.
fn says_what_is_given_up(container: &Container<'_>, rights: Rights) -> Result<()> {
    match rights {
        Rights::OfThePod => assert!(!container.log()?.contains("128 KiB"), "{}", container.log()?),
        Rights::OnlySysAdmin => drop(container.wait_log(&["reads stay at 128 KiB"])?),
    }
    Ok(())
}

fn probes_agree(container: &Container<'_>) -> Result<()> {
    for probe in ["live", "ready"] {
        let passes = || container.exec(&["wasmount", "probe", probe]).ok();
        wait_for(&format!("probe {probe} passes"), SOON, passes)?;
    }
    Ok(())
}

#[test]
fn slim_serves_minio_as_the_real_daemon_set_runs_it() -> Result<()> {
    if left_out() { Ok(()) } else { minio_demo_is_served(Image::Slim, Rights::OfThePod) }
}

#[test]
fn full_serves_minio_as_the_real_daemon_set_runs_it() -> Result<()> {
    if left_out() { Ok(()) } else { minio_demo_is_served(Image::Full, Rights::OfThePod) }
}

#[test]
fn sys_admin_alone_and_a_read_only_root_are_enough() -> Result<()> {
    if left_out() { Ok(()) } else { minio_demo_is_served(Image::Slim, Rights::OnlySysAdmin) }
}

/// As podman does it: the capability is given to the user's process too.
#[test]
fn another_user_than_root_will_do() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    const USER: u32 = 1000;
    let (minio, large) = minio()?;
    let node = Containers::shared()?.node()?;
    write_minio_demo(&node, &minio)?;
    let mut pod = captured_pod("s3")?;
    for id in ["runAsUser", "runAsGroup"] {
        *pod.pointer_mut(&format!("/containers/0/securityContext/{id}")).context(id)? = json!(USER);
    }
    let directory = Path::new(MINIO_TARGET).parent().and_then(Path::to_str).context("a parent")?;
    std::fs::create_dir_all(node.path(directory))?;
    std::os::unix::fs::chown(node.path(directory), Some(USER), Some(USER))?;

    let container = node.start(&pod, Image::Slim, Rights::OnlySysAdmin)?;
    container.wait_mounted(MINIO_TARGET)?;
    // Who serves is what was asked for.
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.process()?))?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("its user")?;
    assert!(ids.split_whitespace().all(|id| id == USER.to_string()), "{ids}");
    assert_eq!(digest_in_application(&node, directory, "thin-fuse/dir/large")?, sha256(&large));
    probes_agree(&container)?;
    container.terminate()?;
    assert_eq!(container.ended(GRACE)?, 0, "{}", container.log()?);
    assert!(mountinfo::at(&node.path(MINIO_TARGET))?.is_empty());
    Ok(())
}

#[test]
fn sigterm_ends_it_in_time_and_leaves_no_mount() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let (minio, _) = minio()?;
    let node = Containers::shared()?.node()?;
    write_minio_demo(&node, &minio)?;
    let container = node.start(&captured_pod("s3")?, Image::Slim, Rights::OfThePod)?;
    container.wait_mounted(MINIO_TARGET)?;
    container.terminate()?;
    assert_eq!(container.ended(GRACE)?, 0, "{}", container.log()?);
    assert!(mountinfo::at(&node.path(MINIO_TARGET))?.is_empty());
    Ok(())
}

#[test]
fn slim_is_small_and_both_say_what_is_in_them() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let containers = Containers::shared()?;
    for image in [Image::Slim, Image::Full] {
        let size = containers.image_size(image)?;
        eprintln!("{}: {:.1} MB", image.name(), size as f64 / 1e6);
        if image == Image::Slim {
            assert!(size < 40_000_000, "slim has {size} bytes");
        }
        let text = containers.file(image, "/usr/share/doc/wasmount/sbom.cdx.json")?;
        let bom: Value = serde_json::from_str(&text)?;
        assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
        let listed =
            |name: &str| bom["components"].as_array().into_iter().flatten().any(|each| each["name"] == name);
        for name in ["wasmtime", "rustls", "wasmount-plugin-cephfs", "rust-std", "libc6-dev"] {
            assert!(listed(name), "{name} is not in the bill of materials of {image:?}");
        }
        // Only of Debian.
        for name in ["bash", "mount", "coreutils"] {
            assert_eq!(listed(name), image == Image::Full, "{name} in {image:?}");
        }
        // Only of tests.
        assert!(!listed("s3s") && !listed("wasmount-hostile-guest"), "{image:?}");
    }
    Ok(())
}

/// A script with the steps of the hook that Fluid's webhook injects (`pkg/application/inject/fuse/poststart/check_fuse_default.go`):
/// output to the log of process 1, the mount's line by `cat` and `grep`, counting by `expr`, and the sub path by a glob.
const POST_START: &str = r#"#!/bin/bash
set -e
exec 1>>/proc/1/fd/1 2>&1
parent=$1 type=$2 below=$3 attempt=1
say() { echo -e ">>> $(date '+%Y-%m-%d %H:%M:%S') $1"; }
until cat /proc/self/mountinfo | grep "$parent" | grep "$type"; do
  sleep 1
  attempt=`expr $attempt + 1`
  if test $attempt -eq 30; then say "no mount"; exit 1; fi
done
until [ -e $parent/*/$below ]; do sleep 1; done
say "found after $attempt attempts"
"#;

/// Sidecar mode: the hook runs in our container, and Fluid ends us by unmounting.
#[test]
fn full_passes_the_hook_of_sidecar_mode() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let (minio, _) = minio()?;
    let node = Containers::shared()?.node()?;
    write_minio_demo(&node, &minio)?;
    node.write("configMap", "check-mount", &[("check-mount.sh", POST_START)])?;
    let mut pod = captured_pod("s3")?;
    mount_of(&mut pod)?.push(json!({"name": "check", "mountPath": "/check", "readOnly": true}));
    list_of(&mut pod, "/volumes")?.push(json!({"name": "check", "configMap": {"name": "check-mount"}}));
    // A platform without privileges takes the propagation away: applications then share a pod's own volume.
    for propagated in [true, false] {
        if !propagated {
            for mount in mount_of(&mut pod)? {
                mount.as_object_mut().context("a mount")?.remove("mountPropagation");
            }
        }
        let container = node.start(&pod, Image::Full, Rights::OfThePod)?;
        let parent = Path::new(MINIO_TARGET).parent().and_then(Path::to_str).context("a parent")?;
        let hook = format!("time bash /check/check-mount.sh {parent} fuse.wasmount testfile");
        container.exec(&["bash", "-c", &hook])?;
        container.wait_log(&["found after"])?;
        assert_eq!(container.exec(&["cat", &format!("{MINIO_TARGET}/testfile")])?, GREETING);
        assert_eq!(mountinfo::at(&node.path(MINIO_TARGET))?.len(), usize::from(propagated));
        // What Fluid runs for its statistics.
        let summed = container.exec(&["bash", "-c", &format!("df --block-size=1 | grep {MINIO_TARGET}")])?;
        assert_eq!(summed.split_whitespace().count(), 6, "{summed}");
        let files = container.exec(&["bash", "-c", &format!("ls -lR {MINIO_TARGET} | grep ^- | wc -l")])?;
        assert_eq!(files.trim(), "2");
        container.pre_stop()?;
        assert_eq!(container.ended(GRACE)?, 0);
    }
    Ok(())
}

fn list_of<'a>(pod: &'a mut Value, pointer: &str) -> Result<&'a mut Vec<Value>> {
    pod.pointer_mut(pointer).and_then(Value::as_array_mut).with_context(|| pointer.to_owned())
}

fn mount_of(pod: &mut Value) -> Result<&mut Vec<Value>> {
    list_of(pod, "/containers/0/volumeMounts")
}

/// A cluster with a file in the CephFS directory of the example, which only its user may read, and an image of the same bytes.
fn cluster() -> Result<&'static (Cluster, Vec<u8>)> {
    static SHARED: OnceLock<Result<(Cluster, Vec<u8>), String>> = OnceLock::new();
    let made = SHARED.get_or_init(|| make_cluster().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn make_cluster() -> Result<(Cluster, Vec<u8>)> {
    let cluster = Cluster::of(&Setup { active_mds: 1, ..Setup::default() })?;
    let bytes = Prng::new(6).bytes(3 * 1024 * 1024);
    let file = cluster.dir().join("bytes");
    std::fs::write(&file, &bytes)?;
    let fuse = cluster.ceph_fuse(&[])?;
    std::fs::create_dir(fuse.path("tst1"))?;
    std::fs::write(fuse.path("tst1/file"), &bytes)?;
    drop(fuse);
    cluster.run("ceph", &["fs", "authorize", "cephfs", "client.tst1", "/tst1", "r"])?;
    cluster.run("ceph", &["osd", "pool", "create", "rbd", "8"])?;
    cluster.run("rbd", &["pool", "init", "rbd"])?;
    cluster.run("rbd", &["import", "--no-progress", &file.to_string_lossy(), "rbd/image"])?;
    let rights = ["mon", "profile rbd", "osd", "profile rbd-read-only pool=rbd"];
    cluster.run("ceph", &[&["auth", "get-or-create", "client.rbd-reader"], &rights[..]].concat())?;
    Ok((cluster, bytes))
}

/// One of the examples for Ceph, applied as it is but for addresses, user and key: as Fluid runs it, and then with as little as will do.
fn ceph_example_is_served(example: &str, user: &str, file: &str) -> Result<()> {
    let containers = Containers::shared()?;
    let (cluster, bytes) = cluster()?;
    let objects = manifests(&repository().join("images/examples").join(example))?;
    let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).context(kind.to_owned());
    let rendered = render(of_kind("Dataset")?, of_kind("ThinRuntime")?, of_kind("ThinRuntimeProfile")?)?;
    let monitors = "10.0.0.1:3300,10.0.0.2:3300,10.0.0.3:3300";
    ensure!(rendered.config.contains(monitors), "the example names {monitors}");
    let config = rendered.config.replace(monitors, cluster.mon()).replace("\"tst1\"", &format!("{user:?}"));
    let secret = of_kind("Secret")?["metadata"]["name"].as_str().context("a name")?;
    let mut pod = rendered.pod;
    list_of(&mut pod, "/containers/0/args")?.push(json!("--allow-net=127.0.0.1"));

    let node = containers.node()?;
    let dataset = of_kind("Dataset")?["metadata"]["name"].as_str().context("a name")?;
    node.write("configMap", &format!("{dataset}-fuse-conf"), &[("config.json", &config)])?;
    node.write("secret", secret, &[("key", &cluster.key_of(user)?)])?;
    let directory = Path::new(&rendered.target).parent().and_then(Path::to_str).context("a parent")?;
    for rights in [Rights::OfThePod, Rights::OnlySysAdmin] {
        let container = node.start(&pod, Image::Slim, rights)?;
        container.wait_mounted(&rendered.target)?;
        let digest = digest_in_application(&node, directory, &format!("thin-fuse/{file}"));
        assert_eq!(digest.with_context(|| container.log().unwrap_or_default())?, sha256(bytes), "{rights:?}");
        for probe in ["/livenessProbe", "/readinessProbe"] {
            container.exec_of(probe).with_context(|| format!("{probe} with {rights:?}"))?;
        }
        says_what_is_given_up(&container, rights)?;
        container.pre_stop()?;
        assert_eq!(container.ended(GRACE)?, 0, "{rights:?}: {}", container.log()?);
        assert!(mountinfo::at(&node.path(&rendered.target))?.is_empty(), "{rights:?}: it is still mounted");
    }
    Ok(())
}

#[test]
fn the_example_for_cephfs_is_served() -> Result<()> {
    if left_out() || ceph::left_out() {
        return Ok(());
    }
    ceph_example_is_served("cephfs", "tst1", "file")
}

#[test]
fn the_example_for_rbd_is_served() -> Result<()> {
    if left_out() || ceph::left_out() {
        return Ok(());
    }
    ceph_example_is_served("rbd", "rbd-reader", "image")
}

/// Without any capability there is no mount, and one sentence says why.
#[test]
fn without_sys_admin_it_says_so() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let containers = Containers::shared()?;
    let image = Image::Slim.name();
    let arguments = [
        "run",
        "--rm",
        "--network=none",
        "--cap-drop=all",
        "--device=/dev/fuse",
        &image,
        "mount",
        "s3://b",
        "/tmp/mnt",
    ];
    let message = containers.podman(&arguments).err().context("it mounted")?.to_string();
    assert!(message.contains("CAP_SYS_ADMIN"), "{message}");
    Ok(())
}
