//! A disk cache that is killed, damaged, full or read-only: reads stay right.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use wasmount_tests::bounded::{SOON, wait_for, within};
use wasmount_tests::cache::{Metrics, data_files, flip_bits, read_all, wait_all_cached, wait_cached};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::port::Port;
use wasmount_tests::prng::Prng;

const BUCKET: &str = "faults";

struct Store {
    minio: Minio,
    files: Arc<Vec<(String, Vec<u8>)>>,
    scratch: tempfile::TempDir,
    port: Port,
}

impl Store {
    fn new(seed: u64, sizes: &[usize]) -> Result<Self> {
        let minio = Minio::start()?;
        let client = minio.client()?;
        client.make_bucket(BUCKET)?;
        let mut prng = Prng::new(seed);
        let mut files = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let (name, content) = (format!("{index}.bin"), prng.bytes(*size));
            client.put(BUCKET, &name, &content)?;
            files.push((name, content));
        }
        Ok(Self { minio, files: Arc::new(files), scratch: tempfile::tempdir()?, port: Port::free()? })
    }

    /// Mounts at the same place each time, with the cache in `cache`.
    fn start(&self, cache: &Path) -> Result<Mount> {
        let launch = Launch::mount(
            &format!("s3://{BUCKET}"),
            &self.scratch.path().join("target"),
            self.scratch.path(),
        )?;
        launch
            .replace_arg("--cache-dir", cache)
            .option("endpoint", &self.minio.endpoint())
            .option("access-key", "minioadmin")
            .option("secret-key", "minioadmin")
            .arg("--metrics-addr")
            .arg(format!("127.0.0.1:{}", self.port))
            .start()
    }

    /// Reads every file whole, past the kernel's pages; every byte must be right.
    fn read_all(&self, mount: &Mount) -> Result<()> {
        read_all(mount, &self.files)
    }

    fn wait_cached(&self, mount: &Mount) -> Result<()> {
        wait_all_cached(mount, &self.files)
    }

    fn is_healthy(&self) -> Option<bool> {
        self.metric("wasmount_cache_health", "state=\"healthy\"").ok().map(|healthy| healthy == 1.0)
    }

    fn metric(&self, name: &str, label: &str) -> Result<f64> {
        Metrics::scrape(self.port.number())?.sum(name, label)
    }
}

/// Reads random ranges of random files until told to stop, or until the mount is gone; counts right answers and fails on a
/// wrong one.
fn reader(
    target: &Path,
    files: &Arc<Vec<(String, Vec<u8>)>>,
    mut prng: Prng,
    stop: &Arc<AtomicBool>,
    right: &Arc<AtomicU64>,
) -> std::thread::JoinHandle<Result<()>> {
    let (target, files, stop, right) = (target.to_owned(), files.clone(), stop.clone(), right.clone());
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let (name, content) = prng.pick(&files).context("no files")?;
            let Ok(file) = File::open(target.join(name)) else { continue };
            let begin = prng.below(content.len());
            let mut chunk = vec![0; (1 + prng.below(3 << 20)).min(content.len() - begin)];
            // The mount was killed: that is the point.
            let Ok(length) = file.read_at(&mut chunk, begin as u64) else { continue };
            if chunk.get(..length) != content.get(begin..begin + length) {
                bail!("{name}: wrong bytes at {begin}");
            }
            right.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

#[test]
fn killed_in_the_middle_of_writes_it_never_serves_a_wrong_byte() -> Result<()> {
    let seed = Prng::seed_from_env(13);
    let rounds = std::env::var("WASMOUNT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8_u64);
    println!("WASMOUNT_SEED={seed} WASMOUNT_KILLS={rounds}");
    let mut prng = Prng::new(seed);
    let store = Store::new(seed, &[24 << 20, (9 << 20) + 4097, 1 << 20, 300_000, 16_384, 16_384, 77])?;
    let cache = store.scratch.path().join("cache");
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let begun = std::time::Instant::now();
        let mut mount = store.start(&cache)?;
        let first = mount.path("6.bin");
        ensure!(within("the first byte", SOON, move || std::fs::read(first))?? == store.files[6].1);
        slowest = slowest.max(begun.elapsed());
        let (stop, right) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let own = Prng::new(prng.next_u64());
                reader(mount.target(), &store.files, own, &stop, &right)
            })
            .collect();
        if round == 0 {
            wait_for("a first read", SOON, || (right.load(Ordering::Relaxed) > 0).then_some(()))?;
        }
        std::thread::sleep(Duration::from_millis(20 + prng.below(400) as u64));
        mount.process.kill();
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            within("a reader ends", SOON, move || reader.join())?
                .map_err(|_| anyhow::anyhow!("a reader panicked"))?
                .with_context(|| format!("round {round}"))?;
        }
    }
    let mount = store.start(&cache)?;
    store.read_all(&mount)?;
    let disk = store.metric("wasmount_read_bytes_total", "source=\"disk\"")?
        + store.metric("wasmount_passthrough_opens_total", "")?;
    ensure!(disk > 0.0, "nothing of what was written before the kills is used");
    println!("slowest start to a first byte: {slowest:?}");
    ensure!(slowest < SOON, "a start waits for something");
    Ok(())
}

#[test]
fn damage_between_runs_is_found_and_mended() -> Result<()> {
    let store = Store::new(1, &[6 << 20, 5 << 20, 4 << 20, 50_000])?;
    let cache = store.scratch.path().join("cache");
    let mount = store.start(&cache)?;
    store.read_all(&mount)?;
    store.wait_cached(&mount)?;
    drop(mount);
    let data = data_files(&cache)?;
    ensure!(data.len() == 4, "{data:?}");
    flip_bits(&data[0], [0, 700, 1535])?;
    std::fs::OpenOptions::new().write(true).open(&data[1])?.set_len(1_000_001)?;
    flip_bits(&data[3], [1])?;

    let mount = store.start(&cache)?;
    for _ in 0..2 {
        store.read_all(&mount)?;
    }
    let damaged = store.metric("wasmount_cache_damaged_pages_total", "")?;
    ensure!(damaged >= 4.0, "{damaged} damaged pages");
    ensure!(!mount.log().lines_with(&["damaged"]).is_empty(), "{}", mount.log().text());
    // Mended: after that everything is there again.
    store.wait_cached(&mount)?;
    Ok(())
}

#[test]
fn damage_while_it_runs_is_found() -> Result<()> {
    let store = Store::new(2, &[8 << 20])?;
    let cache = store.scratch.path().join("cache");
    let mount = store.start(&cache)?;
    let (name, content) = &store.files[0];
    // A handle from before the file was complete: the kernel does not read the cache file itself for it.
    let file = File::open(mount.path(name))?;
    let read = |file: &File| -> Result<()> {
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
        let file = file.try_clone()?;
        let size = content.len();
        let bytes = within("a whole read", SOON, move || {
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        })??;
        ensure!(bytes == *content, "wrong bytes");
        Ok(())
    };
    read(&file)?;
    wait_cached(&mount.path(name), content.len() as u64)?;
    let data = data_files(&cache)?;
    flip_bits(&data[0], (0..2048).step_by(97))?;
    // What wasmount itself has in memory is given up by reading something else; what it has on disk is checked.
    read(&file)?;
    read(&file)?;
    std::fs::OpenOptions::new().write(true).open(&data[0])?.set_len(4096 * 100)?;
    read(&file)?;
    read(&file)
}

/// A small file system for the cache.
struct Small(std::path::PathBuf);

impl Small {
    fn new(path: std::path::PathBuf, options: &str) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let options = std::ffi::CString::new(options)?;
        mount("small", &path, "tmpfs", MountFlags::empty(), options.as_c_str())
            .context("mount a tmpfs (these tests run as root)")?;
        Ok(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_slows_nobody_and_is_said() -> Result<()> {
    let store = Store::new(3, &[20 << 20, 3 << 20, 100_000])?;
    let small = Small::new(store.scratch.path().join("small"), "size=8m,mode=0700")?;
    let mount = store.start(&small.0.join("cache"))?;
    // What a busy machine cannot write in time is not offered again: only reading again offers it.
    let mut outcome = Ok(());
    wait_for("it is called full", SOON, || {
        outcome = store.read_all(&mount);
        (outcome.is_err() || store.is_healthy() == Some(false)).then_some(())
    })?;
    outcome?;
    mount.log().wait_for(&["cache directory", "\"state\":\"full\""], SOON)?;
    let said =
        |state: &str| mount.log().lines_with(&["cache directory", &format!("\"state\":\"{state}\"")]).len();
    // Once for each change: between two of these it was in use again.
    let full = said("full");
    ensure!(full <= 1 + said("healthy"), "{}", mount.log().text());
    store.read_all(&mount)
}

#[test]
fn a_disk_that_turns_read_only_slows_nobody_and_heals() -> Result<()> {
    let store = Store::new(4, &[3 << 20, 100_000])?;
    let small = Small::new(store.scratch.path().join("small"), "size=64m,mode=0700")?;
    let cache = small.0.join("cache");
    let mount = store.start(&cache)?;
    store.read_all(&mount)?;
    store.wait_cached(&mount)?;
    ensure!(store.is_healthy() == Some(true));
    wait_for("nothing is being written", SOON, || mount_remount(&small.0, MountFlags::RDONLY, c"").ok())?;
    store.read_all(&mount)?;
    let content = vec![7; 2 << 20];
    store.minio.client()?.put(BUCKET, "late.bin", &content)?;
    let path = mount.path("late.bin");
    ensure!(within("a new file", SOON, move || std::fs::read(path))?? == content);
    wait_for("it is called sick", SOON, || (store.is_healthy() == Some(false)).then_some(()))?;
    mount.log().wait_for(&["cache directory", "\"state\":\"sick\""], SOON)?;
    mount_remount(&small.0, MountFlags::empty(), c"")?;
    wait_for("it is well again", Duration::from_secs(90), || {
        (store.is_healthy() == Some(true)).then_some(())
    })?;
    drop(mount);

    // From the start on: what is there is used, and nothing is added.
    mount_remount(&small.0, MountFlags::RDONLY, c"")?;
    let mount = store.start(&cache)?;
    store.read_all(&mount)?;
    ensure!(store.metric("wasmount_fetched_bytes_total", "")? == 0.0, "all of it was in the cache");
    Ok(())
}
