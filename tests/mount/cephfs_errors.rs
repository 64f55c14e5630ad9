//! What people get wrong about a CephFS is answered by one sentence that names the remedy.

use std::net::TcpListener;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::{RECOVERY, SOON, names, read, within};
use wasmount_tests::ceph::{Cluster, Setup, Tree, left_out};
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::port::Port;

/// Longer is no sentence any more, with the fields of a log line around it.
const LONGEST: usize = 900;

/// The cluster of all tests here but those that take servers away.
fn cluster() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let setup = Setup { active_mds: 1, ..Setup::default() };
    let make = || Cluster::with_files(&setup, Tree::Small).map_err(|error| format!("{error:#}"));
    SHARED.get_or_init(make).as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// A mount that cannot work, and the directory for its state.
struct Failing {
    mount: Mount,
    _scratch: tempfile::TempDir,
}

/// Mounts `source` with these options, and checks that the mount point is there, that it fails, and that one line of the log
/// carries every one of `words`.
fn refused(source: &str, options: &[(&str, &str)], words: &[&str]) -> Result<Failing> {
    let scratch = tempfile::tempdir()?;
    let mut launch = Launch::mount_with("cephfs", source, &scratch.path().join("mnt"), scratch.path())?;
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
fn the_root_is_refused_to_a_user_who_may_only_see_a_part_and_the_part_is_not() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = cluster()?;
    let key = cluster.key_of("tst1")?;
    let user = [("id", "tst1"), ("key", key.as_str())];
    let remedy = "ceph fs authorize";
    let failing = refused(&format!("ceph://{}/", cluster.mon()), &user, &["client.tst1", " / ", remedy])?;
    ensure!(!failing.mount.log().text().contains(&key), "a key is in the log");
    let elsewhere = format!("ceph://{}/data", cluster.mon());
    refused(&elsewhere, &user, &["client.tst1", "/data", remedy])?;

    let scratch = tempfile::tempdir()?;
    let launch = cluster.launch_files_anonymous("", scratch.path())?;
    let mount = launch.option("id", "tst1").option("key", &key).option("path", "/tst1").start()?;
    assert_eq!(names(mount.target())??, ["hello", "home"]);
    assert_eq!(read(mount.path("hello"))??, b"hello from tst1\n");
    Ok(())
}

#[test]
fn a_user_that_may_see_the_names_and_not_the_bytes_is_told_so() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = cluster()?;
    let key = cluster.user("names", &["mon", "allow r", "mds", "allow r"])?;
    let scratch = tempfile::tempdir()?;
    let launch = cluster.launch_files_anonymous("/tst1", scratch.path())?;
    let mount = launch.option("id", "names").option("key", &key).start()?;
    assert_eq!(names(mount.target())??, ["hello", "home"]);
    let log = || format!("the log:\n{}", mount.log().text());
    ensure!(read(mount.path("hello")).with_context(log)?.is_err(), "there is no capability for the pool");
    mount.log().wait_for(&["client.names", "pool", "ceph fs authorize"], SOON)?;
    Ok(())
}

#[test]
fn no_id_an_unknown_id_and_a_wrong_key_each_get_a_sentence() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = cluster()?;
    let source = format!("ceph://{}/tst1", cluster.mon());
    let key = cluster.key_of("tst1")?;
    let key = ("key", key.as_str());
    // "(22) Invalid argument" once, and to this day for many: no id means client.admin, whose key this is not.
    refused(&source, &[key], &["client.admin", "key", "ceph auth get client.admin"])?;
    refused(&source, &[("id", "nobody"), key], &["client.nobody", "unknown", "ceph auth get client.nobody"])?;
    let other = cluster.user("other", &["mon", "allow r"])?;
    let failing =
        refused(&source, &[("id", "tst1"), ("key", &other)], &["client.tst1", "key", "ceph auth get"])?;
    ensure!(!failing.mount.log().text().contains(&other), "a key is in the log");
    refused(&source, &[("id", "tst1"), ("key", "not a key")], &["key"])?;
    refused(&source, &[("id", "tst1")], &["key"])?;
    Ok(())
}

#[test]
fn what_does_not_exist_is_named() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = cluster()?;
    let (key, wrong) = (cluster.key()?, "11111111-2222-3333-4444-555555555555");
    let key = ("key", key.as_str());
    let source = |path: &str| format!("ceph://{}{path}", cluster.mon());
    refused(&source("/no/such/directory"), &[key], &["/no/such/directory"])?;
    refused(&source("/data/plain"), &[key], &["/data/plain", "not a directory"])?;
    refused(&source(""), &[key, ("fs", "other-fs")], &["other-fs", "cephfs"])?;
    refused(&source(""), &[key, ("fsid", wrong)], &["fsid", wrong, cluster.fsid()])?;
    Ok(())
}

#[test]
fn a_monitor_that_is_not_there_or_speaks_the_old_protocol_is_named() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = cluster()?;
    let key = cluster.key()?;
    let key = ("key", key.as_str());
    let port = Port::free()?;
    let nobody = format!("127.0.0.1:{port}");
    refused(&format!("ceph://{nobody}"), &[key], &[&nobody, "no monitor", "refused"])?;
    // It takes the connection, as the kernel does for it, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    refused(&format!("ceph://{address}"), &[key], &[&address, "no monitor"])?;
    refused(&format!("ceph://{}", cluster.mon_v1()), &[key], &[cluster.mon_v1(), "v1"])?;
    Ok(())
}

#[test]
fn a_cluster_without_a_file_system_says_so() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::of(&Setup::default())?;
    let key = cluster.key()?;
    refused(&format!("ceph://{}", cluster.mon()), &[("key", &key)], &["no file system"])?;
    Ok(())
}

#[test]
fn a_file_system_whose_servers_are_down_is_told_of_and_used_once_they_are_up() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::of(&Setup { active_mds: 1, ..Setup::default() })?;
    {
        let writer = cluster.ceph_fuse(&[])?;
        std::fs::write(writer.path("hello"), "hello")?;
    }
    for mds in ["mds.a", "mds.b"] {
        cluster.daemon(mds, "stop")?;
    }
    let scratch = tempfile::tempdir()?;
    let mount = cluster.launch_files("", scratch.path())?.option("request-timeout", "20s").start()?;
    ensure!(names(mount.target())?.is_err(), "no server, and a list of names");
    let line = mount.log().wait_for(&["cephfs", "MDS"], SOON)?;
    ensure!(line.len() < LONGEST, "no sentence but a story: {line}");
    for mds in ["mds.a", "mds.b"] {
        cluster.daemon(mds, "start")?;
    }
    wasmount_tests::bounded::reads_back(mount.path("hello"), b"hello", RECOVERY)
}
