//! The list of images that were made, and comparing one that is mounted with what Ceph itself says.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An image, or a snapshot of one.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its pool.
    pub pool: String,
    /// Its namespace, empty for the default one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The snapshot; `None`: the head.
    pub snapshot: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The ranges that were ever written, in any order. All the rest is zeros.
    pub written: Vec<Range<u64>>,
    sha256: String,
}

impl Image {
    pub(super) fn list(path: &Path) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let entries: Value = serde_json::from_str(&text)?;
        entries.as_array().context("a list of images")?.iter().map(Self::of).collect()
    }

    fn of(entry: &Value) -> Result<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let range = |pair: &Value| -> Option<Range<u64>> {
            let (offset, length) = (pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?);
            Some(offset..offset + length)
        };
        let written = entry.get("written").and_then(Value::as_array).context("written")?;
        Ok(Self {
            pool: text("pool").context("pool")?,
            namespace: text("namespace").context("namespace")?,
            name: text("image").context("image")?,
            snapshot: text("snapshot"),
            size: entry.get("size").and_then(Value::as_u64).context("size")?,
            written: written.iter().map(|pair| range(pair).context("a range")).collect::<Result<_>>()?,
            sha256: text("sha256").context("sha256")?,
        })
    }

    /// Where it is, as in a mount point: `POOL` or `POOL/NAMESPACE/`.
    pub fn directory(&self) -> String {
        if self.namespace.is_empty() {
            self.pool.clone()
        } else {
            format!("{}/{}/", self.pool, self.namespace)
        }
    }

    /// `IMAGE` or `IMAGE@SNAP`, which is the name of its file too.
    pub fn file_name(&self) -> String {
        match &self.snapshot {
            Some(snapshot) => format!("{}@{snapshot}", self.name),
            None => self.name.clone(),
        }
    }

    /// As the `rbd` program names it.
    pub fn spec(&self) -> String {
        format!("{}/{}", self.directory().trim_end_matches('/'), self.file_name())
    }

    /// Checks a file's bytes against what was written when the image was made.
    ///
    /// # Errors
    /// When they differ, or the file cannot be read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let mut file = File::open(path)?;
        let (mut hash, mut length, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            let read = file.read(&mut chunk)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            hash.update(bytes);
            length += read as u64;
        }
        ensure!(length == self.size, "{}: {length} bytes instead of {}", self.spec(), self.size);
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(found == self.sha256, "{}: other bytes than were written", self.spec());
        Ok(())
    }
}

/// The first position at which two files differ; their common length when one is longer.
///
/// # Errors
/// When one cannot be read; the message says which, and where.
pub fn first_difference(left: &Path, right: &Path) -> Result<Option<u64>> {
    let open = |path: &Path| File::open(path).with_context(|| format!("open {}", path.display()));
    let (mut files, mut at) = ((open(left)?, open(right)?), 0);
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let fill = |file: &mut File, chunk: &mut Vec<u8>, path: &Path| -> Result<usize> {
            let mut filled = 0;
            while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file
                    .read(rest)
                    .with_context(|| format!("read {} at {}", path.display(), at + filled as u64))?
                {
                    0 => break,
                    read => filled += read,
                }
            }
            Ok(filled)
        };
        let lengths = (fill(&mut files.0, &mut ours, left)?, fill(&mut files.1, &mut theirs, right)?);
        let common = lengths.0.min(lengths.1);
        if let Some(differs) = ours.iter().zip(&theirs).take(common).position(|(a, b)| a != b) {
            return Ok(Some(at + differs as u64));
        }
        at += common as u64;
        if lengths.0 != lengths.1 {
            return Ok(Some(at));
        }
        if common == 0 {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn differences_are_found_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        let mut bytes = vec![7; (2 << 20) + 10];
        std::fs::write(&left, &bytes).unwrap();
        std::fs::write(&right, &bytes).unwrap();
        assert_eq!(first_difference(&left, &right).unwrap(), None);
        bytes[(1 << 20) + 3] = 8;
        std::fs::write(&right, &bytes).unwrap();
        assert_eq!(first_difference(&left, &right).unwrap(), Some((1 << 20) + 3));
        std::fs::write(&right, [7; 100]).unwrap();
        assert_eq!(first_difference(&left, &right).unwrap(), Some(100));
    }
}
