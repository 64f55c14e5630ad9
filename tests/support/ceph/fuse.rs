//! A mount by ceph-fuse: the other client, whose changes are to be seen, and the measure of what a tree shows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::{Cluster, script_path};
use crate::bounded::{SOON, wait_for};
use crate::mountinfo;
use crate::process::{Log, Process, processes_that_name};

/// A running `ceph-fuse`, as `client.admin`. Dropping it unmounts and ends it.
#[derive(Debug)]
pub struct CephFuse {
    process: Process,
    /// Where it is for a program in Ceph's own mount namespace, below the cluster's directory.
    mount_point: TempDir,
    /// Where it is for this process.
    path: PathBuf,
}

impl CephFuse {
    pub(super) fn start(cluster: &Cluster, options: &[&str]) -> Result<Self> {
        let mount_point = tempfile::Builder::new().prefix("ceph-fuse-").tempdir_in(cluster.dir())?;
        // Not under `timeout`, as the other programs of Ceph: it runs as long as the test wants.
        let mut process = Process::start(&script_path("ceph"), |command| {
            command.arg("run").arg(cluster.dir()).args(["ceph-fuse", "-f", "-n", "client.admin"]);
            command.args(options).arg(mount_point.path());
        })?;
        let path = wait_for("ceph-fuse's mount", SOON, || {
            if let Some(status) = process.ended() {
                return Some(Err(anyhow::anyhow!("ceph-fuse ended with {status}:\n{}", process.log.text())));
            }
            mounted(process.id(), mount_point.path()).map(Ok)
        })
        .with_context(|| process.log.text())??;
        Ok(Self { process, mount_point, path })
    }

    /// The root of what it shows.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// A path below it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path.join(relative)
    }

    /// What it has printed.
    pub fn log(&self) -> &Log {
        &self.process.log
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// With its status and what it printed.
    pub fn alive(&mut self) -> Result<()> {
        match self.process.ended() {
            None => Ok(()),
            Some(status) => bail!("ceph-fuse ended with {status}:\n{}", self.process.log.text()),
        }
    }
}

/// The mount point as this process can reach it. In a chroot it is in a mount namespace of its own: the way there is the
/// root directory of the process that made it.
fn mounted(id: u32, mount_point: &Path) -> Option<PathBuf> {
    let here = |path: &Path| mountinfo::at(path).is_ok_and(|entries| !entries.is_empty());
    if here(mount_point) {
        return Some(mount_point.to_owned());
    }
    let table = std::fs::read_to_string(format!("/proc/{id}/mountinfo")).ok()?;
    let name = mount_point.file_name()?.to_str()?;
    let there = table.lines().any(|line| line.contains(name) && line.contains("fuse.ceph-fuse"));
    let inside =
        Path::new("/proc").join(id.to_string()).join("root").join(mount_point.strip_prefix("/").ok()?);
    there.then_some(inside)
}

/// Ends the programs that ceph-fuse has started to have its mount looked at anew (`mount -o remount`): they have inherited its end of the mount, so after it was killed
/// each would wait for ever for an answer that only its own end could make an error.
fn end_remounts(mount_point: &Path) {
    for (pid, command) in processes_that_name(mount_point).into_iter().flatten() {
        if command.iter().any(|word| word.contains("remount")) {
            // Gone already is as well.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for CephFuse {
    fn drop(&mut self) {
        eprintln!("--- log of ceph-fuse\n{}---", self.process.log.text());
        if self.process.stop(Duration::from_secs(15)).is_none() {
            // Killed: the mount is dead, and whoever waits for it is let go.
            let _ = unmount(self.mount_point.path(), UnmountFlags::DETACH);
            end_remounts(self.mount_point.path());
        }
    }
}
