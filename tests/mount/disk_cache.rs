//! What was read once is read from the local disk afterwards: with the server gone, over restarts, and by `wasmount warm`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::{SOON, wait_for};
use wasmount_tests::cache::{Metrics, cached_bytes, read_all, wait_all_cached};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths;
use wasmount_tests::port::Port;
use wasmount_tests::prng::Prng;
use wasmount_tests::process::Process;

const BUCKET: &str = "epochs";

struct Epochs {
    minio: Minio,
    scratch: tempfile::TempDir,
    files: Vec<(String, Vec<u8>)>,
}

impl Epochs {
    fn new(sizes: &[usize]) -> Result<Self> {
        let minio = Minio::start()?;
        let client = minio.client()?;
        client.make_bucket(BUCKET)?;
        let mut prng = Prng::new(11);
        let mut files = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let (name, content) = (format!("tree/{}/{index}.bin", index % 3), prng.bytes(*size));
            client.put(BUCKET, &name, &content)?;
            files.push((name, content));
        }
        Ok(Self { minio, scratch: tempfile::tempdir()?, files })
    }

    fn launch(&self, target: &str) -> Result<Launch> {
        let target = self.scratch.path().join(target);
        Ok(Launch::mount(&format!("s3://{BUCKET}"), &target, self.scratch.path())?
            .option("endpoint", &self.minio.endpoint())
            .option("access-key", "minioadmin")
            .option("secret-key", "minioadmin"))
    }

    /// Reads everything; every byte must be right.
    fn epoch(&self, mount: &Mount) -> Result<()> {
        read_all(mount, &self.files)
    }

    fn wait_cached(&self, mount: &Mount) -> Result<()> {
        wait_all_cached(mount, &self.files)
    }
}

/// Whether the kernel reads cache files itself here.
fn has_passthrough() -> bool {
    let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 9) && rustix::process::geteuid().is_root()
}

#[test]
fn a_second_epoch_needs_no_server_and_a_restart_forgets_nothing() -> Result<()> {
    let epochs = Epochs::new(&[1, 4096, 100_000, 1 << 20, (5 << 20) + 17, 12 << 20, 0])?;
    let port = Port::free()?;
    let metrics = |launch: Launch| launch.arg("--metrics-addr").arg(format!("127.0.0.1:{port}")).start();
    let mount = metrics(epochs.launch("first")?)?;
    epochs.epoch(&mount)?;
    epochs.wait_cached(&mount)?;
    if has_passthrough() {
        // Syncing comes after writing, and only then may the kernel read the cache files itself.
        let opens = || Metrics::scrape(port.number())?.sum("wasmount_passthrough_opens_total", "");
        for (name, content) in epochs.files.iter().filter(|(_, content)| !content.is_empty()) {
            wait_for("the kernel reads a complete file itself", SOON, || {
                let before = opens().ok()?;
                let file = std::fs::File::open(mount.path(name)).ok()?;
                let handed_over = opens().ok()? > before;
                drop(file);
                handed_over.then_some(())
            })
            .with_context(|| format!("{name}, {} bytes", content.len()))?;
        }
    }
    epochs.minio.paused(|| epochs.epoch(&mount))?;
    drop(mount);

    let mount = metrics(epochs.launch("second")?.arg("--cache-namespace").arg("other"))?;
    let (name, _) = &epochs.files[4];
    ensure!(cached_bytes(&mount.path(name))? == 0, "another namespace sees nothing of it");
    drop(mount);

    // The default namespace is the mount point's path.
    let mount = metrics(epochs.launch("first")?)?;
    epochs.wait_cached(&mount)?;
    epochs.epoch(&mount)?;
    let seen = Metrics::scrape(port.number())?;
    let fetched = seen.sum("wasmount_fetched_bytes_total", "")?;
    ensure!(fetched == 0.0, "{fetched} bytes were fetched again");
    Ok(())
}

fn warm(arguments: &[&str], paths: &[PathBuf]) -> Result<(bool, String)> {
    let mut process = Process::start(&paths::wasmount()?, |command: &mut Command| {
        command.arg("warm").args(arguments).args(["--log", "human"]).args(paths);
    })?;
    let status = process.wait(SOON)?;
    Ok((status.success(), process.log.text()))
}

#[test]
fn warm_fills_the_cache_and_is_resumed_by_repeating_it() -> Result<()> {
    let epochs = Epochs::new(&[3 << 20, 700_000, 5, 9 << 20, 0])?;
    let mount = epochs.launch("warm")?.start()?;
    let tree = mount.path("tree");
    // What the kernel has already must not be hidden from the disk cache.
    epochs.epoch(&mount)?;
    let (fine, log) = warm(&[], std::slice::from_ref(&tree))?;
    ensure!(fine && log.contains("5 files"), "{log}");
    epochs.wait_cached(&mount)?;
    let (fine, log) = epochs.minio.paused(|| epochs.epoch(&mount).and_then(|()| warm(&[], &[tree])))?;
    ensure!(fine && log.contains("already_cached=5"), "{log}");

    // More than are told one by one.
    let elsewhere = epochs.scratch.path().join("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    (0..20).try_for_each(|number| std::fs::write(elsewhere.join(number.to_string()), "on no mount"))?;
    let (fine, log) = warm(&[], &[mount.path("tree/none"), elsewhere])?;
    ensure!(!fine && log.contains("tree/none") && log.contains("11 more"), "{log}");
    Ok(())
}

#[test]
fn the_cache_can_be_looked_at_verified_and_emptied() -> Result<()> {
    let epochs = Epochs::new(&[2 << 20, 10_000])?;
    let mount = epochs.launch("admin")?.start()?;
    epochs.epoch(&mount)?;
    epochs.wait_cached(&mount)?;
    drop(mount);
    let dir = epochs.scratch.path().join("cache");
    let cache = |arguments: &[&str]| -> Result<(bool, String)> {
        let mut process = Process::start(&paths::wasmount()?, |command| {
            command.arg("cache").args(arguments).arg("--cache-dir").arg(&dir);
        })?;
        let status = process.wait(SOON)?;
        Ok((status.success(), process.log.text()))
    };
    let (fine, text) = cache(&["ls"])?;
    ensure!(fine && epochs.files.iter().all(|(name, _)| text.contains(name)), "{text}");
    let (fine, text) = cache(&["du"])?;
    ensure!(fine && text.contains("s3://epochs"), "{text}");
    ensure!(cache(&["verify"])?.0);
    let data = wasmount_tests::cache::data_files(Path::new(&dir))?;
    wasmount_tests::cache::flip_bits(&data[0], [3])?;
    let (fine, text) = cache(&["verify"])?;
    ensure!(!fine && text.contains(&epochs.files[0].0), "{text}");
    let (fine, text) = cache(&["rm", "--all"])?;
    ensure!(fine, "{text}");
    ensure!(wasmount_tests::cache::data_files(Path::new(&dir))?.is_empty(), "everything is gone");
    Ok(())
}
