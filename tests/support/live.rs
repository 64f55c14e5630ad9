//! Configurations that change under a live mount, as kubelet exchanges them, and readers who must not notice.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::bounded::{RECOVERY, SOON, read, wait_for, within};
use crate::config::FluidFiles;
use crate::kubelet::Volume;
use crate::minio::Minio;
use crate::mount::{Launch, Mount};

/// How long a change may take to be seen, as README promises it.
pub const SEEN: Duration = Duration::from_secs(2);

/// `ESTALE` of Linux.
pub const STALE: i32 = 116;

/// What Fluid and kubelet would hand to a container, one after the other.
#[derive(Debug)]
pub struct Cluster {
    /// The container's files.
    pub files: FluidFiles,
    config: Volume,
}

impl Cluster {
    /// With this configuration to begin with; `TARGET` in it stands for the mount point.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(first: &str) -> Result<Self> {
        let files = FluidFiles::new()?;
        let config = Volume::new(files.config_file().parent().context("its directory")?)?;
        let cluster = Self { files, config };
        cluster.publish(first)?;
        Ok(cluster)
    }

    /// Exchanges the configuration, as kubelet does it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(&self, config: &str) -> Result<()> {
        self.config.publish(&[("config.json", config.replace("TARGET", &self.target()).as_bytes())])
    }

    /// The program, with the S3 plugin. Files that the kernel reads by itself it would read to their end, whatever becomes of their mount.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn launch(&self) -> Result<Launch> {
        Ok(Launch::run(&self.files)?.arg("--no-passthrough"))
    }

    fn target(&self) -> String {
        self.files.target().display().to_string()
    }
}

/// A configuration of these mounts.
pub fn config_of(mounts: &[Value]) -> String {
    json!({"mounts": mounts, "targetPath": "TARGET", "accessModes": ["ReadOnlyMany"]}).to_string()
}

/// A mount of a bucket (names of buckets have three letters at least), with plain credentials.
pub fn bucket(minio: &Minio, name: &str, bucket: &str, path: Option<&str>) -> Value {
    let mut mount = json!({
        "mountPoint": format!("s3://bucket-{bucket}"),
        "name": name,
        "options": {"endpoint": minio.endpoint(), "access-key": "minioadmin", "secret-key": "minioadmin"},
    });
    if let Some(path) = path {
        mount["path"] = json!(path);
    }
    mount
}

/// Waits, not for long, until a file reads as it should.
///
/// # Errors
/// When it does not.
pub fn soon_reads(path: PathBuf, expected: &[u8]) -> Result<()> {
    wait_for(&format!("{} has its new content", path.display()), SEEN, || {
        read(&path).ok()?.ok().filter(|content| content == expected)
    })?;
    Ok(())
}

/// Waits, not for long, until a name is gone.
///
/// # Errors
/// When it is still there.
pub fn soon_gone(path: &Path) -> Result<()> {
    wait_for(&format!("{} is gone", path.display()), SEEN, || {
        let error = std::fs::symlink_metadata(path).err()?;
        (error.kind() == io::ErrorKind::NotFound).then_some(())
    })
}

/// Waits, not for long, until an open file gives the error that its mount is gone for.
///
/// # Errors
/// When it can still be read.
pub fn soon_stale(file: &File) -> Result<()> {
    wait_for("what is open gets ESTALE", SEEN, || {
        let error = file.read_at(&mut [0], 0).err()?;
        (error.raw_os_error() == Some(STALE)).then_some(())
    })
}

/// Which configuration is in force, and why another one is not, as the mount itself says it.
///
/// # Errors
/// When it does not say so.
pub fn in_force(mount: &Mount) -> Result<(u64, Option<String>)> {
    let text = read(mount.path(".wasmount/config"))??;
    let shown: Value = serde_json::from_slice(&text)?;
    let generation = shown["generation"].as_u64().context("a generation")?;
    Ok((generation, shown["refused"].as_str().map(str::to_owned)))
}

/// Waits, not for long, until this configuration is in force.
///
/// # Errors
/// When another one is.
pub fn soon_in_force(mount: &Mount, generation: u64) -> Result<()> {
    wait_for(&format!("generation {generation} is in force"), SEEN, || {
        in_force(mount).ok().filter(|now| *now == (generation, None))
    })?;
    Ok(())
}

/// Somebody who reads a file over and over and knows what is in it.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(u64, Duration)>>,
}

impl Reader {
    /// Reads this file, which has this content.
    #[must_use]
    pub fn start(file: File, content: Vec<u8>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            const PIECE: usize = 256 << 10;
            let (mut at, mut bytes, mut longest) = (0, 0, Duration::ZERO);
            let mut piece = vec![0; PIECE];
            while !stopped.load(Ordering::Relaxed) {
                if at == 0 {
                    // So that each round is answered by the program, and not by the kernel alone.
                    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
                }
                let begin = Instant::now();
                let end = (at + PIECE).min(content.len());
                file.read_exact_at(&mut piece[..end - at], at as u64)?;
                longest = longest.max(begin.elapsed());
                if piece[..end - at] != content[at..end] {
                    bail!("wrong bytes at {at}");
                }
                bytes += (end - at) as u64;
                at = if end == content.len() { 0 } else { end };
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok((bytes, longest))
        });
        Self { stop, thread }
    }

    /// Bytes that were read, and the longest wait for some of them.
    ///
    /// # Errors
    /// When it has met one, or a wrong byte.
    pub fn finish(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        within("the end of a reader", RECOVERY + SOON, move || self.thread.join())?
            .ok()
            .context("a reader panicked")?
    }

    /// Ends it; it must have been read on all the time.
    ///
    /// # Errors
    /// When it has waited for three seconds or more (opening a mount, or a server that hangs, takes ten and more), or as [`Self::finish`].
    pub fn was_not_disturbed(self) -> Result<()> {
        let (bytes, longest) = self.finish()?;
        eprintln!("a reader has read {} MiB, and has waited {longest:?} at most", bytes >> 20);
        ensure!(bytes > 0, "a reader has read nothing");
        ensure!(longest < Duration::from_secs(3), "a reader was held up for {longest:?}");
        Ok(())
    }
}
