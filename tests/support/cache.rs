//! The disk cache as it looks from outside: attributes of files, files in its directory, metrics.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Advice, fadvise};

use crate::bounded::{SOON, wait_for, within};
use crate::mount::Mount;

/// Bytes of a file that are in the disk cache, as the mount says.
///
/// # Errors
/// When the file has no such attribute.
pub fn cached_bytes(path: &Path) -> Result<u64> {
    let path = path.to_owned();
    within("an attribute", SOON, move || -> Result<u64> {
        let mut value = [0_u8; 32];
        let length = rustix::fs::getxattr(&path, "user.wasmount.cached", &mut value[..])
            .with_context(|| format!("user.wasmount.cached of {}", path.display()))?;
        Ok(std::str::from_utf8(value.get(..length).context("a long value")?)?.parse()?)
    })?
}

/// Waits until the whole file is in the disk cache.
///
/// # Errors
/// When it does not get there; the message says how far it got.
pub fn wait_cached(path: &Path, size: u64) -> Result<()> {
    let mut seen = 0;
    let done = wait_for("the whole file in the cache", SOON, || {
        seen = cached_bytes(path).unwrap_or(0);
        (seen == size).then_some(())
    });
    done.with_context(|| format!("{seen} of {size} bytes of {} are cached", path.display()))
}

/// Drops the kernel's pages of a file.
///
/// # Errors
/// When it cannot be opened.
pub fn drop_pages(path: &Path) -> Result<()> {
    let file = std::fs::File::open(path)?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// Files by name, and what they hold.
pub type Files = [(String, Vec<u8>)];

/// Reads every file, without what the kernel has of it, and compares it.
///
/// # Errors
/// When one cannot be read, or differs.
pub fn read_all(mount: &Mount, files: &Files) -> Result<()> {
    for (name, content) in files {
        let path = mount.path(name);
        drop_pages(&path)?;
        let read = within(name, SOON, move || std::fs::read(path))??;
        ensure!(read == *content, "{name} differs");
    }
    Ok(())
}

/// Waits until all files are in the disk cache.
///
/// # Errors
/// When one does not get there; the message says how far it got.
pub fn wait_all_cached(mount: &Mount, files: &Files) -> Result<()> {
    files.iter().try_for_each(|(name, content)| wait_cached(&mount.path(name), content.len() as u64))
}

/// The data files of a cache directory, largest first.
///
/// # Errors
/// When it cannot be read.
pub fn data_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "data") {
                found.push((entry.metadata()?.len(), entry.path()));
            }
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Turns over one bit in the middle of each of the pages `at` of a file.
///
/// # Errors
/// When it cannot be read or written.
pub fn flip_bits(path: &Path, at: impl IntoIterator<Item = u64>) -> Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    for page in at {
        let mut byte = [0];
        file.read_exact_at(&mut byte, page * 4096 + 2000)?;
        file.write_all_at(&[byte[0] ^ 0x10], page * 4096 + 2000)?;
    }
    Ok(())
}

/// Values of a scrape, by name with labels.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Asks the mount that was started with `--metrics-addr 127.0.0.1:PORT`.
    ///
    /// # Errors
    /// When it does not answer, or not in the exposition format.
    pub fn scrape(port: u16) -> Result<Self> {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let text = agent.get(&url).call()?.body_mut().read_to_string()?;
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line: &str| -> Result<(String, f64)> {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no value in {line:?}"))?;
            Ok((name.to_owned(), value.parse().with_context(|| line.to_owned())?))
        };
        Ok(Self(samples.map(parse).collect::<Result<_>>()?))
    }

    /// The sum of all samples of a metric whose labels contain `label`, such as `source="disk"`; empty for all.
    ///
    /// # Errors
    /// When there is no such sample: a test must not pass because a name was changed.
    pub fn sum(&self, name: &str, label: &str) -> Result<f64> {
        let samples: Vec<f64> = self
            .0
            .iter()
            .filter(|(sample, _)| {
                let (own, labels) = sample.split_once('{').unwrap_or((sample, ""));
                own == name && labels.contains(label)
            })
            .map(|(_, value)| *value)
            .collect();
        if samples.is_empty() {
            bail!("no metric {name} with {label}");
        }
        Ok(samples.iter().sum())
    }
}
