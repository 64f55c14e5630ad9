//! A real Ceph cluster on 127.0.0.1, made by `tests/servers/ceph`, and what `tests/servers/ceph-images` and
//! `tests/servers/ceph-files` put there.
//!
//! `CEPH_SUITE=sid` runs the same tests against Ceph 20 out of a chroot (`make test-ceph20`).
//! `WASMOUNT_WITHOUT_CEPH=1` leaves them out, for systems that have no Ceph packages; each then says so.

mod churn;
pub mod fio;
mod fuse;
mod images;
mod tagged;
mod verifier;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::bounded::{RECOVERY, wait_for};
use crate::listing::path_of_hex;
use crate::mount::Launch;
use crate::paths;

pub use churn::{Churn, Doing, Judge};
pub use fuse::CephFuse;
pub use images::{Image, first_difference};
pub use tagged::{Errors, Seen, Tagged, Via};
pub use verifier::{Report, Verifier};

/// Which modes of the wire protocol a cluster offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Both, secure preferred between clients and monitors: what Ceph does when nobody says anything.
    Default,
    /// Nothing but AES-GCM, for monitors and OSDs.
    Secure,
}

/// What a cluster consists of beside a monitor, a manager and three OSDs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What its connections may be.
    pub modes: Modes,
    /// Active MDSs. With any there is a file system `cephfs`, and one MDS more that stands by.
    pub active_mds: usize,
    /// The address of all daemons.
    pub address: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self { modes: Modes::Default, active_mds: 0, address: "127.0.0.1".to_owned() }
    }
}

/// How much of the tree of `tests/servers/ceph-files` there is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// All of it.
    Whole,
    /// All but the directory of 20,000 entries: made in a third of the time.
    Small,
}

/// Whether the person at the machine has asked to leave these tests out. Says so when it is the case.
pub fn left_out() -> bool {
    let out = std::env::var_os("WASMOUNT_WITHOUT_CEPH").is_some_and(|value| value == "1");
    if out {
        eprintln!("left out: WASMOUNT_WITHOUT_CEPH=1");
    }
    out
}

/// A running cluster. Dropping it stops it and removes its data; should the test be
/// killed, the script's watcher does both.
#[derive(Debug)]
pub struct Cluster {
    exports: BTreeMap<String, String>,
    dir: TempDir,
}

impl Cluster {
    /// Starts an empty cluster.
    ///
    /// # Errors
    /// When Ceph is not installed or does not come up; the message carries what the script said.
    pub fn start(modes: Modes) -> Result<Self> {
        Self::of(&Setup { modes, ..Setup::default() })
    }

    /// Starts an empty cluster with a CephFS.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn of(setup: &Setup) -> Result<Self> {
        // OSDs need a file system with O_DIRECT, which /tmp may not be.
        let dir = tempfile::Builder::new().prefix("wasmount-ceph-").tempdir_in("/var/tmp")?;
        let mode = match setup.modes {
            Modes::Default => "default",
            Modes::Secure => "secure",
        };
        let mut command = bounded_script("ceph", MAKING);
        command.arg("start").arg(dir.path());
        command
            .env("CEPH_MS_MODE", mode)
            .env("CEPH_OSDS", "3")
            .env("CEPH_MDS", setup.active_mds.to_string())
            .env("CEPH_ADDRESS", &setup.address)
            .env("CEPH_OWNER", std::process::id().to_string());
        let exports = exports_in(&succeed(&mut command)?);
        Ok(Self { exports, dir })
    }

    /// Starts a cluster and makes the images of `tests/servers/ceph-images`.
    ///
    /// # Errors
    /// As [`Self::start`], or when an image cannot be made.
    pub fn with_images(modes: Modes) -> Result<Self> {
        let cluster = Self::start(modes)?;
        succeed(bounded_script("ceph-images", MAKING).arg(cluster.dir()))?;
        Ok(cluster)
    }

    /// Starts a cluster with the tree of `tests/servers/ceph-files`: all of it, or without its largest directory.
    ///
    /// # Errors
    /// As [`Self::start`], or when the tree cannot be made.
    pub fn with_files(setup: &Setup, tree: Tree) -> Result<Self> {
        let cluster = Self::of(setup)?;
        cluster.fill(tree)?;
        Ok(cluster)
    }

    /// Makes the tree of `tests/servers/ceph-files` in a file system that is empty.
    ///
    /// # Errors
    /// When it cannot be made; the message carries what the script said.
    pub fn fill(&self, tree: Tree) -> Result<()> {
        let mut command = bounded_script("ceph-files", MAKING);
        command.arg(self.dir());
        if tree == Tree::Small {
            command.arg("small");
        }
        succeed(&mut command)?;
        Ok(())
    }

    /// The one cluster with the whole tree and default modes that all tests of a binary share. They leave the tree as it is.
    ///
    /// # Errors
    /// When it did not start; every test that needs it then fails with the same words.
    pub fn shared_files() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let setup = Setup { active_mds: 1, ..Setup::default() };
        // Never dropped, as the other one below.
        let started = SHARED
            .get_or_init(|| Self::with_files(&setup, Tree::Whole).map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// The one cluster with images and default modes that all tests of a binary share. They leave its images as they are.
    ///
    /// # Errors
    /// When it did not start; every test that needs it then fails with the same words.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        // Never dropped: its owner is this process, and the script stops it when that ends.
        let started =
            SHARED.get_or_init(|| Self::with_images(Modes::Default).map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// The cluster's directory: its files can be read and written from the programs of [`Self::run`].
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn export(&self, name: &str) -> &str {
        self.exports.get(name).map_or("", String::as_str)
    }

    /// Address and port of the monitor, protocol 2.
    pub fn mon(&self) -> &str {
        self.export("CEPH_MON_V2")
    }

    /// Address and port of the monitor, the old protocol.
    pub fn mon_v1(&self) -> &str {
        self.export("CEPH_MON_V1")
    }

    /// `mon_host` as a `ceph.conf` has it, with brackets and both protocols.
    pub fn mon_host(&self) -> &str {
        self.export("CEPH_MON_HOST")
    }

    /// The cluster's id.
    pub fn fsid(&self) -> &str {
        self.export("CEPH_FSID")
    }

    /// The key of `client.admin`.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn key(&self) -> Result<String> {
        let path = self.export("CEPH_KEY_FILE");
        Ok(std::fs::read_to_string(path).with_context(|| path.to_owned())?.trim().to_owned())
    }

    /// The keyring file of `client.admin`.
    pub fn keyring(&self) -> &Path {
        Path::new(self.export("CEPH_KEYRING"))
    }

    /// Makes a user `client.NAME` with capabilities such as `["osd", "profile rbd pool=rbd"]`, and returns its key.
    ///
    /// # Errors
    /// When the monitor refuses.
    pub fn user(&self, name: &str, capabilities: &[&str]) -> Result<String> {
        let entity = format!("client.{name}");
        let mut arguments = vec!["auth", "get-or-create-key", &entity];
        arguments.extend(capabilities);
        Ok(self.run("ceph", &arguments)?.trim().to_owned())
    }

    /// The key of a user that is there already.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn key_of(&self, name: &str) -> Result<String> {
        Ok(self.run("ceph", &["auth", "get-key", &format!("client.{name}")])?.trim().to_owned())
    }

    /// Mounts the CephFS with ceph-fuse as `client.admin`, with further options of that program.
    ///
    /// # Errors
    /// When it does not mount; the message carries what it said.
    pub fn ceph_fuse(&self, options: &[&str]) -> Result<CephFuse> {
        CephFuse::start(self, options)
    }

    /// What `tests/servers/ceph-files` has written: the SHA-256 of each file by its path.
    ///
    /// # Errors
    /// When its list cannot be read.
    pub fn files(&self) -> Result<BTreeMap<PathBuf, String>> {
        let path = self.dir().join("files.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let written: BTreeMap<String, String> = serde_json::from_str(&text)?;
        written.into_iter().map(|(path, digest)| Ok((path_of_hex(&path)?, digest))).collect()
    }

    /// Runs one of Ceph's own programs against the cluster, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message carries what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        succeed(script("ceph").arg("run").arg(self.dir()).arg(program).args(arguments))
    }

    /// Starts (`start`), stops (`stop`) or kills (`kill`) one daemon: `mon.a`, `osd.0`, …
    ///
    /// # Errors
    /// When there is no such daemon.
    pub fn daemon(&self, name: &str, action: &str) -> Result<()> {
        succeed(script("ceph").arg("daemon").arg(self.dir()).args([name, action])).map(drop)
    }

    /// One daemon gets no processor for so long, as on a machine that has too much to do.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stall(&self, name: &str, time: Duration) -> Result<()> {
        let file = self.dir().join("run").join(format!("{name}.pid"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        // A session of its own.
        let group = Pid::from_raw(text.trim().parse()?).context("a process id")?;
        kill_process_group(group, Signal::STOP)?;
        std::thread::sleep(time);
        Ok(kill_process_group(group, Signal::CONT)?)
    }

    /// Waits until Ceph has nothing to say against its file system's clients, and nothing waits for any of them: after a fault somebody may just be
    /// coming back.
    ///
    /// # Errors
    /// With what `ceph health detail` says.
    pub fn has_no_complaint(&self) -> Result<()> {
        // Clients that do not give back what they are asked for, old requests that they never end, requests that wait for them; `MDSMonitor.cc`, `mds/Beacon.cc`.
        let codes = ["MDS_CLIENT", "MDS_SLOW_REQUEST", "MDS_TRIM", "MDS_CACHE_OVERSIZED"];
        let mut said = String::new();
        wait_for("Ceph has no complaint", RECOVERY, || {
            said = self.run("ceph", &["health", "detail"]).ok()?;
            (!codes.iter().any(|code| said.contains(code))).then_some(())
        })
        .with_context(|| said)
    }

    /// What `tests/servers/ceph-images` has made.
    ///
    /// # Errors
    /// When its list cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        Image::list(&self.dir().join("images.json"))
    }

    /// `rbd export` of an image or snapshot into a file in the cluster's directory.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn export_image(&self, spec: &str) -> Result<PathBuf> {
        let exported = self.dir().join(format!("export-{}", spec.replace('/', "%")));
        if !exported.exists() {
            // Replaced by rename: another test may want the same one.
            let new = tempfile::Builder::new().prefix("export-new-").tempdir_in(self.dir())?;
            let new = new.path().join("image");
            self.run("rbd", &["export", "--no-progress", spec, &new.to_string_lossy()])?;
            std::fs::rename(&new, &exported)?;
        }
        Ok(exported)
    }

    /// A mount of CephFS from `path` on, as `client.admin`.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn launch_files(&self, path: &str, scratch: &Path) -> Result<Launch> {
        Ok(self.launch_files_anonymous(path, scratch)?.option("id", "admin").option("key", &self.key()?))
    }

    /// The same without user and key.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn launch_files_anonymous(&self, path: &str, scratch: &Path) -> Result<Launch> {
        let source = format!("ceph://{}{path}", self.mon());
        Launch::mount_with("cephfs", &source, &scratch.join("mnt"), scratch)
    }

    /// A mount of `rbd://MON/WHAT`, as `client.admin`.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn launch(&self, what: &str, scratch: &Path) -> Result<Launch> {
        Ok(self.launch_anonymous(what, scratch)?.option("user", "admin").option("key", &self.key()?))
    }

    /// The same without user and key.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn launch_anonymous(&self, what: &str, scratch: &Path) -> Result<Launch> {
        let target = scratch.join("mnt");
        Launch::mount_with("rbd", &format!("rbd://{}/{what}", self.mon()), &target, scratch)
    }

    /// Held by a test that takes daemons away, so that others that do the same on this cluster wait.
    pub fn exclusively(&self) -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have been stopped by its watcher: nothing is lost then.
        let _ = succeed(script("ceph").arg("stop").arg(self.dir()));
    }
}

/// Seconds for making a cluster, or what is in one, on a machine that makes others at the same time.
const MAKING: &str = "900";

/// One of the scripts, with a bound: Ceph's programs wait for ever for a cluster that does not answer.
fn script(name: &str) -> Command {
    bounded_script(name, "180")
}

/// With another bound, in seconds.
fn bounded_script(name: &str, bound: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", bound]).arg(script_path(name));
    command
}

fn script_path(name: &str) -> PathBuf {
    paths::repository().join("tests/servers").join(name)
}

/// The values of `export NAME=value` lines. Of the shell's quoting they use backslashes only.
fn exports_in(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.replace('\\', ""))).collect()
}

/// Runs a command to its end, and returns its standard output.
fn succeed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::exports_in;

    #[test]
    fn what_the_script_prints_is_understood() {
        let exports = exports_in(
            "export CEPH_MON_HOST=\\[v2:127.0.0.1:1\\,v1:127.0.0.1:2\\]\nnoise\nexport CEPH_FSID=f\n",
        );
        assert_eq!(exports["CEPH_MON_HOST"], "[v2:127.0.0.1:1,v1:127.0.0.1:2]");
        assert_eq!((exports["CEPH_FSID"].as_str(), exports.len()), ("f", 2));
    }
}
