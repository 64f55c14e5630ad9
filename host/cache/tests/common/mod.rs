//! A cache in a directory of its own, objects whose bytes are a function of their names, and chance with a seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "shared by test programs")]

use bytes::{Bytes, BytesMut};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_cache::{CacheError, CacheStats, DiskCache, DiskCacheConfig, MinFree};
use wasmount_core::inode::FileVersion;
use wasmount_core::ports::{BlockCache, CACHE_PAGE, CacheId, CacheIdentity, CachedFile};
use wasmount_types::{ObjectKey, Version};

pub const PAGE: u64 = CACHE_PAGE;
pub const LONG: Duration = Duration::from_secs(30);

/// Chance, from `WASMOUNT_SEED`.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let seed = std::env::var("WASMOUNT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        println!("WASMOUNT_SEED={seed}");
        Self(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The bytes `from..to` of an object.
pub fn body(key: &str, from: u64, to: u64) -> Vec<u8> {
    let name = key.bytes().fold(7, |h, b| mix(h ^ u64::from(b)));
    let mut out = Vec::with_capacity((to - from) as usize + 16);
    for word in from / 8..to.div_ceil(8) {
        out.extend(mix(name ^ word).to_le_bytes());
    }
    out.drain(..(from % 8) as usize);
    out.truncate((to - from) as usize);
    out
}

pub fn identity(text: &str) -> CacheIdentity {
    CacheIdentity::new(text).unwrap()
}

pub fn id(key: &str, size: u64) -> CacheId {
    CacheId {
        identity: identity("one"),
        key: ObjectKey::new(key),
        file: FileVersion { version: Some(Version::new("e1")), size, modified: None },
    }
}

pub struct Lab {
    pub dir: PathBuf,
    pub config: DiskCacheConfig,
    pub runtime: tokio::runtime::Runtime,
    pub cache: Option<Arc<DiskCache>>,
    _temp: Option<tempfile::TempDir>,
}

impl Lab {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut lab = Self::at(&temp.path().join("cache"));
        lab._temp = Some(temp);
        lab
    }

    pub fn at(dir: &Path) -> Self {
        Self::with(DiskCacheConfig { min_free: MinFree::Bytes(0), ..DiskCacheConfig::new(dir) })
    }

    pub fn with(config: DiskCacheConfig) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut lab = Self { dir: config.dir.clone(), config, runtime, cache: None, _temp: None };
        lab.start().unwrap();
        lab
    }

    pub fn start(&mut self) -> Result<(), CacheError> {
        self.cache = Some(DiskCache::open(self.config.clone(), self.runtime.handle().clone())?);
        Ok(())
    }

    pub fn restart(&mut self) {
        self.cache().shutdown();
        self.cache = None;
        self.start().unwrap();
    }

    pub fn cache(&self) -> &Arc<DiskCache> {
        self.cache.as_ref().unwrap()
    }

    pub fn stats(&self) -> CacheStats {
        self.cache().stats()
    }

    pub fn open(&self, key: &str, size: u64) -> Arc<dyn CachedFile> {
        self.runtime.block_on(self.cache().open(id(key, size))).unwrap()
    }

    /// Offers `from..to` in pieces of about the given size.
    pub fn offer(&self, file: &dyn CachedFile, key: &str, from: u64, to: u64, piece: usize) {
        let whole = Bytes::from(body(key, from, to));
        let pieces =
            (0..whole.len()).step_by(piece).map(|at| whole.slice(at..whole.len().min(at + piece))).collect();
        file.offer(from, pieces, Arc::new(()), to - from);
    }

    pub fn flush(&self) {
        assert!(self.cache().flush(LONG), "not written in time: {:?}", self.stats());
    }

    /// Puts a whole object in, and waits until it is marked.
    pub fn fill(&self, key: &str, size: u64) -> Arc<dyn CachedFile> {
        let file = self.open(key, size);
        self.offer(&*file, key, 0, size, 1 << 20);
        self.flush();
        assert_eq!(file.run(0, size), size, "{key}: {:?}", self.stats());
        file
    }

    /// The bytes, if they are here; checks that they are right.
    pub fn read(&self, file: &dyn CachedFile, key: &str, from: u64, to: u64) -> bool {
        let mut buffer = BytesMut::with_capacity((to - from) as usize + 3);
        buffer.extend_from_slice(b"abc");
        match self.runtime.block_on(file.read(from, to, buffer)) {
            Ok(bytes) => {
                assert_eq!(&bytes[..3], b"abc");
                assert!(bytes[3..] == body(key, from, to)[..], "wrong bytes in {from}..{to} of {key}");
                true
            }
            Err(buffer) => {
                assert_eq!(&buffer[..], b"abc");
                false
            }
        }
    }

    /// The backing file, waiting for its verification.
    pub fn backing(&self, file: &dyn CachedFile) -> Option<Arc<std::os::fd::OwnedFd>> {
        let until = Instant::now() + LONG;
        loop {
            if let Some(fd) = self.runtime.block_on(file.backing()) {
                return Some(fd);
            }
            self.flush();
            if Instant::now() > until
                || file.run(0, u64::MAX) < file.cached_bytes()
                || file.cached_bytes() == 0
            {
                return None;
            }
        }
    }

    /// The only file of this kind below the cache's directory.
    pub fn only(&self, kind: &str) -> PathBuf {
        let files = self.files(kind);
        assert_eq!(files.len(), 1, "{files:?}");
        files.into_iter().next().unwrap()
    }

    pub fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else if entry.path().extension().is_some_and(|ext| ext == kind) {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.take() {
            cache.shutdown();
        }
    }
}

pub fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}

pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !check() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A tmpfs that is unmounted at the end.
pub struct Tmpfs(pub tempfile::TempDir);

impl Tmpfs {
    pub fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", dir.path().to_str().unwrap()]);
        Self(dir)
    }

    pub fn remount(&self, how: &str) {
        // The writer closes its files a moment after it has nothing to do.
        eventually("mounted anew", || {
            let mut mount = std::process::Command::new("mount");
            mount.args(["-o", &format!("remount,{how}")]).arg(self.0.path()).status().unwrap().success()
        });
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn run(program: &str, args: &[&str]) {
    assert!(std::process::Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}
