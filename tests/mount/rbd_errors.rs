//! What people get wrong about a Ceph cluster is answered by one sentence that names the remedy.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::{RECOVERY, names, read, within};
use wasmount_tests::ceph::{Cluster, left_out};
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::port::Port;

/// Longer is no sentence any more, with the fields of a log line around it.
const LONGEST: usize = 900;

/// A mount that cannot work, and the directory for its state.
struct Failing {
    mount: Mount,
    _scratch: tempfile::TempDir,
}

/// Mounts `source` with these options, and checks that the mount point is there, that it fails, and that one line of the log
/// carries every one of `words`.
fn refused(source: &str, options: &[(&str, &str)], words: &[&str]) -> Result<Failing> {
    let scratch = tempfile::tempdir()?;
    let mut launch = Launch::mount_with("rbd", source, &scratch.path().join("mnt"), scratch.path())?;
    for (name, value) in options {
        launch = launch.long_option(name, value);
    }
    let mount = launch.start()?;
    let line = mount.log().wait_for(words, RECOVERY).with_context(|| format!("{source} with {options:?}"))?;
    ensure!(line.len() < LONGEST, "no sentence but a story: {line}");
    let root = mount.target().to_owned();
    let answer = within("list what is refused", RECOVERY, move || std::fs::read_dir(root).map(drop))?;
    ensure!(answer.is_err(), "{source} lists {answer:?}");
    Ok(Failing { mount, _scratch: scratch })
}

#[test]
fn a_wrong_key_and_an_unknown_user_are_told_to_look_at_the_clusters_user() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let source = format!("rbd://{}/rbd", cluster.mon());
    // A key of the right kind that is another user's.
    let other = cluster.user("other", &["mon", "profile rbd"])?;
    let words = ["client.admin", "key", "ceph auth get client.admin"];
    let failing = refused(&source, &[("user", "admin"), ("key", &other)], &words)?;
    ensure!(!failing.mount.log().text().contains(&other), "a key is in the log");
    refused(
        &source,
        &[("user", "nobody"), ("key", &other)],
        &["client.nobody", "unknown", "ceph auth get client.nobody"],
    )?;
    refused(&source, &[("user", "admin"), ("key", "not a key")], &["key"])?;
    refused(&source, &[("user", "admin")], &["key"])?;
    Ok(())
}

#[test]
fn a_monitor_that_nobody_is_at_or_that_does_not_answer_is_named() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let key = Cluster::shared()?.key()?;
    let options = [("user", "admin"), ("key", key.as_str())];
    let port = Port::free()?;
    let nobody = format!("127.0.0.1:{port}");
    refused(&format!("rbd://{nobody}/rbd"), &options, &[&nobody, "no monitor", "refused"])?;
    // It takes the connection, as the kernel does for it, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    refused(&format!("rbd://{address}/rbd"), &options, &[&address, "no monitor"])?;
    Ok(())
}

#[test]
fn a_monitor_of_the_old_protocol_is_told_from_one_that_is_down() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let key = cluster.key()?;
    let options = [("user", "admin"), ("key", key.as_str())];
    // As it is in many a configuration: the address without a protocol, and the port of the old one.
    refused(&format!("rbd://{}/rbd", cluster.mon_v1()), &options, &[cluster.mon_v1(), "v1"])?;
    let explicit = format!("v1:{}", cluster.mon_v1());
    refused("rbd:///rbd", &[("mon_host", &explicit), options[0], options[1]], &[cluster.mon_v1(), "v1"])?;
    Ok(())
}

#[test]
fn another_clusters_fsid_is_noticed_before_anything_is_read() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let (key, wrong) = (cluster.key()?, "11111111-2222-3333-4444-555555555555");
    let options = [("user", "admin"), ("key", key.as_str()), ("fsid", wrong)];
    refused(&format!("rbd://{}/rbd", cluster.mon()), &options, &["fsid", wrong, cluster.fsid()])?;
    Ok(())
}

#[test]
fn a_missing_pool_namespace_or_image_is_named_and_used_once_it_is_there() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let key = cluster.key()?;
    let options = [("user", "admin"), ("key", key.as_str())];
    let source = |path: &str| format!("rbd://{}/{path}", cluster.mon());
    refused(&source("rbd/no-such-image"), &options, &["no-such-image"])?;
    refused(&source("rbd/plain@no-such-snapshot"), &options, &["no-such-snapshot"])?;
    let pool = refused(&source("no-such-pool"), &options, &["no-such-pool", "pool"])?;

    cluster.run("ceph", &["osd", "pool", "create", "no-such-pool", "8"])?;
    cluster.run("ceph", &["osd", "pool", "application", "enable", "no-such-pool", "rbd"])?;
    cluster.run(
        "rbd",
        &[
            "import",
            "--no-progress",
            &cluster.dir().join("images.json").to_string_lossy(),
            "no-such-pool/late",
        ],
    )?;
    let expected = std::fs::read(cluster.dir().join("images.json"))?;
    wasmount_tests::bounded::reads_back(pool.mount.path("late"), &expected, RECOVERY)
}

#[test]
fn a_user_without_rights_on_the_pool_is_told_which_user_and_where_to_look() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let key = cluster.user("outsider", &["mon", "profile rbd", "osd", "profile rbd pool=other"])?;
    let options = [("user", "outsider"), ("key", key.as_str())];
    refused(&format!("rbd://{}/rbd", cluster.mon()), &options, &["rbd", "cap", "ceph auth"])?;
    // Its own pool it can read all the same.
    let scratch = tempfile::tempdir()?;
    let launch = cluster.launch_anonymous("other", scratch.path())?;
    let mount = launch.option("user", "outsider").option("key", &key).start()?;
    ensure!(names(mount.target())??.contains(&"clone".to_owned()));
    // A clone whose parent is out of reach says so when it is read.
    ensure!(read(mount.path("clone"))?.is_err(), "the parent is in a pool without rights");
    mount.log().wait_for(&["clone", "ceph auth"], Duration::from_secs(10))?;
    Ok(())
}
