//! A file system as Ceph's own client shows it.

use super::Cluster;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A mount by ceph-fuse. It ends when this is dropped.
pub struct CephFuse {
    path: PathBuf,
    client: Child,
}

impl CephFuse {
    pub fn mount(cluster: &Cluster, name: &str) -> Self {
        let path = cluster.path(name);
        std::fs::create_dir(&path).unwrap();
        let log = std::fs::File::create(cluster.path(&format!("log/{name}.out"))).unwrap();
        let mut client = cluster
            .command(&["ceph-fuse", "-f", "-n", "client.admin", path.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while !is_mounted(&path) {
            assert!(client.try_wait().unwrap().is_none(), "ceph-fuse has ended");
            assert!(begin.elapsed() < Duration::from_secs(30), "ceph-fuse does not mount");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { path, client }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == path))
}

impl Drop for CephFuse {
    fn drop(&mut self) {
        // A release that is still under way keeps the mount busy for a moment; and then it gives back what it has of the file system.
        for _ in 0..400 {
            if self.client.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            Command::new("umount").arg(&self.path).stderr(Stdio::null()).status().ok();
            std::thread::sleep(Duration::from_millis(50));
        }
        self.client.kill().ok();
        self.client.wait().ok();
    }
}
