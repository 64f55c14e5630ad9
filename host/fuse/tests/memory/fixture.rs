//! A mounted [`Memory`].

use super::Memory;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wasmount_core::ports::{Operation, Operations, ServedFrom};
use wasmount_fuse::{MountOptions, Mounted, mount, read_mountinfo};
use wasmount_types::ErrorKind;

/// A mounted [`Memory`], taken away at the end of the test whatever happens.
pub(crate) struct Fixture {
    pub(crate) fs: Arc<Memory>,
    pub(crate) mounted: Mounted,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(dir: tempfile::TempDir) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self::with(dir, runtime, |_| {})
    }

    pub(crate) fn with(
        dir: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        change: impl FnOnce(&mut MountOptions),
    ) -> Self {
        let fs = Arc::new(Memory::default());
        let mut options = MountOptions::new(target(&dir));
        options.store_pages = true;
        options.request_timeout = Duration::from_secs(1);
        options.source = "memory test".into();
        change(&mut options);
        let mounted =
            mount(fs.clone(), runtime.handle().clone(), &options).expect("mounting needs root and /dev/fuse");
        Self { fs, mounted, runtime, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        target(&self.dir).join(name)
    }

    pub(crate) fn wait_for_end(&self) {
        let end = async { tokio::time::timeout(Duration::from_secs(5), self.mounted.ended()).await };
        self.runtime.block_on(end).expect("the session ends after the unmount").expect("without an error");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.mounted.unmount().unwrap();
    }
}

pub(crate) fn target(dir: &tempfile::TempDir) -> PathBuf {
    // Not there yet, two levels, and a name that mountinfo escapes.
    dir.path().join("runtime mnt/thin-fuse")
}

pub(crate) fn mounts_at(path: &Path) -> Vec<wasmount_fuse::MountEntry> {
    read_mountinfo().unwrap().into_iter().filter(|entry| entry.mount_point == path).collect()
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < patience, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An operation as it was reported.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) op: &'static str,
    pub(crate) ino: u64,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) has_handle: bool,
    pub(crate) size: u32,
    pub(crate) given: u64,
    pub(crate) pid: u32,
    pub(crate) latency: Duration,
    pub(crate) error: Option<ErrorKind>,
    pub(crate) from: Option<ServedFrom>,
    pub(crate) passthrough: bool,
}

/// Keeps what is reported.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<Seen>>);

impl Recorder {
    /// The same, when so many are there: they are reported after they have been answered.
    pub(crate) fn first(&self, op: &str, count: usize) -> Vec<Seen> {
        eventually(&format!("{count} {op} reported"), || self.of(op).len() >= count);
        self.of(op)
    }

    /// What was reported of one kind.
    pub(crate) fn of(&self, op: &str) -> Vec<Seen> {
        self.0.lock().unwrap().iter().filter(|seen| seen.op == op).cloned().collect()
    }
}

impl Operations for Recorder {
    fn finished(&self, operation: &Operation<'_>) {
        self.0.lock().unwrap().push(Seen {
            op: operation.op,
            ino: operation.ino.0,
            name: operation.name.map(<[u8]>::to_vec),
            has_handle: operation.fh.is_some(),
            size: operation.size,
            given: operation.given,
            pid: operation.ctx.pid,
            latency: operation.latency,
            error: operation.error.map(|(kind, _)| kind),
            from: operation.from,
            passthrough: operation.passthrough,
        });
    }
}

/// A seeded random number generator (xorshift); `WASMOUNT_SEED` repeats a run.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn seed() -> u64 {
        let given = std::env::var("WASMOUNT_SEED").ok().and_then(|text| text.parse().ok());
        given.unwrap_or(1)
    }

    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
