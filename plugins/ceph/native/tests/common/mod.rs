//! A real cluster, made by `tests/servers/ceph`, and clients of it.
#![allow(dead_code, unreachable_pub, reason = "each test takes a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

pub mod fuse;
pub mod observer;
pub mod proxy;

use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wasmount_ceph::auth::{Key, keyring};
use wasmount_ceph::mon::parse_mon_host;
use wasmount_ceph::osd::{Extent, Op, Output};
use wasmount_ceph::osdmap::OsdMap;
use wasmount_ceph::rados::{Config, OpReply, OpRequest};
use wasmount_ceph_native::{Client, NativeMachine};

/// Milliseconds that a request may take whatever happens to the cluster.
pub const DEADLINE_MS: u64 = 90_000;

/// A running cluster: one monitor, three OSDs, two copies of everything. The script stops it when this process ends.
pub struct Cluster {
    dir: TempDir,
    exports: HashMap<String, String>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/servers/ceph")
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}

/// The cluster of this program's tests; `None` if the person at the machine has asked to leave them out.
pub fn cluster() -> Option<&'static Cluster> {
    cluster_with(&[])
}

/// The same with a file system: two OSDs, a metadata server, and one that stands by.
pub fn cluster_with_mds() -> Option<&'static Cluster> {
    cluster_with(&[("CEPH_OSDS", "2"), ("CEPH_MDS", "1")])
}

fn cluster_with(settings: &[(&str, &str)]) -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    if std::env::var_os("WASMOUNT_WITHOUT_CEPH").is_some_and(|value| value == "1") {
        eprintln!("left out: WASMOUNT_WITHOUT_CEPH=1");
        return None;
    }
    Some(CLUSTER.get_or_init(|| Cluster::start(settings)))
}

impl Cluster {
    fn start(settings: &[(&str, &str)]) -> Self {
        // With RUST_LOG=debug one sees what the client says.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init().ok();
        // OSDs need a file system with O_DIRECT, which /tmp may not be.
        let dir = tempfile::Builder::new().prefix("wasmount-rados-").tempdir_in("/var/tmp").unwrap();
        let owner = std::process::id().to_string();
        let mut command = Command::new(script());
        command.arg("start").arg(dir.path()).env("CEPH_OSDS", "3").env("CEPH_OWNER", owner);
        command.envs(settings.iter().copied());
        let exports = succeed(&mut command)
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace(['\'', '\\'], "")))
            .collect();
        Self { dir, exports }
    }

    /// What the script said under this name.
    pub fn export(&self, name: &str) -> &str {
        &self.exports[name]
    }

    /// Runs one of Ceph's own programs.
    pub fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// One of Ceph's own programs.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(script());
        command.arg("run").arg(self.dir.path()).args(arguments);
        command
    }

    /// Fills the file system with the tree of `tests/servers/ceph-files`.
    pub fn fill_files(&self, size: &str) {
        succeed(Command::new(script().with_file_name("ceph-files")).arg(self.dir.path()).arg(size));
    }

    /// Starts, stops or kills a daemon.
    pub fn daemon(&self, name: &str, action: &str) {
        succeed(Command::new(script()).arg("daemon").arg(self.dir.path()).args([name, action]));
    }

    /// Waits until all OSDs are up and have agreed about all placement groups of a pool that somebody reads from: an OSD
    /// reports a group when its numbers change.
    pub fn peered(&self, pool: &str) {
        let json = |words: &[&str]| -> Value { serde_json::from_str(&self.run(words)).unwrap() };
        // Ceph 16 writes some numbers as text.
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let begin = Instant::now();
        loop {
            let osds = json(&["ceph", "osd", "stat", "-f", "json"]);
            let groups = json(&["ceph", "pg", "ls-by-pool", pool, "-f", "json"]);
            let groups = groups["pg_stats"].as_array().unwrap();
            let agreed = |group: &Value| {
                let active = group["state"].as_str().is_some_and(|state| state.starts_with("active"));
                active && number(&group["reported_epoch"]) >= number(&osds["epoch"])
            };
            if osds["num_up_osds"] == osds["num_osds"] && groups.iter().all(agreed) {
                return;
            }
            assert!(begin.elapsed() < Duration::from_millis(DEADLINE_MS), "no agreement: {osds} {groups:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// A file in the cluster's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration of `client.admin`.
    pub fn config(&self) -> Config {
        let text = std::fs::read_to_string(self.export("CEPH_KEYRING")).unwrap();
        self.config_of("client.admin", keyring::parse(&text, "client.admin").unwrap())
    }

    /// The configuration of another user.
    pub fn config_of(&self, entity: &str, key: Key) -> Config {
        Config::new(parse_mon_host(self.export("CEPH_MON_HOST")).unwrap(), entity, Some(key))
    }

    /// A client of `client.admin`.
    pub fn client(&self) -> Client {
        Client::connect(self.config(), 30_000).unwrap()
    }

    /// Makes a pool, and waits until it can be used.
    pub fn pool(&self, client: &Client, name: &str, arguments: &[&str]) -> i64 {
        self.run(&[&["ceph", "osd", "pool", "create", name], arguments].concat());
        let name = name.to_owned();
        Self::sees(client, move |map| map.pool_by_name(&name).map(|(id, _)| id))
    }

    /// Waits until the client's map shows something.
    pub fn sees<T: Send + 'static>(
        client: &Client,
        what: impl Fn(&OsdMap) -> Option<T> + Send + Clone + 'static,
    ) -> T {
        for _ in 0..100 {
            let what = what.clone();
            if let Some(Some(seen)) = client.with_map(move |map| what(map)).unwrap() {
                return seen;
            }
            // A request to a pool that no map has makes the client look for newer maps.
            let late = OpRequest::new(i64::MAX, "x", vec![Op::Stat]).deadline(client.deadline(100));
            client.execute(late).unwrap_err();
        }
        panic!("no map shows what is waited for");
    }
}

/// The bytes of a reply to one read.
pub fn payload(reply: OpReply<Bytes>) -> Bytes {
    match reply.results.into_iter().next().unwrap().output {
        Output::Payload(bytes) => bytes.unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

/// The small output of a reply to one operation.
pub fn small(reply: OpReply<Bytes>) -> Vec<u8> {
    match reply.results.into_iter().next().unwrap().output {
        Output::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// A read of a part of an object, to its end if `length` is 0.
pub fn read<M: NativeMachine>(
    client: &Client<M>,
    pool: i64,
    object: &str,
    offset: u64,
    length: u64,
) -> OpRequest<Bytes> {
    OpRequest::new(pool, object, vec![Op::Read(Extent::new(offset, length))])
        .deadline(client.deadline(DEADLINE_MS))
}

/// Bytes that tell object and place: a different word every eight bytes.
pub fn pattern(object: u64, offset: u64, length: usize) -> Bytes {
    assert_eq!(offset % 8, 0);
    let word =
        |index: u64| (object << 40 | (offset / 8 + index)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..length as u64 / 8).flat_map(word).collect()
}
