//! Walks a mounted tree the way `find` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// All regular files below `root` by their path relative to it, with their lengths.
///
/// # Errors
/// When a directory cannot be read, a name is not UTF-8, or an entry is neither file nor directory.
pub fn files(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        let directory = root.join(&relative);
        let entries =
            std::fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", directory.display()))?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                todo.push(path);
            } else {
                anyhow::ensure!(kind.is_file(), "{} is neither file nor directory", path.display());
                let len = entry.metadata().with_context(|| format!("stat {}", path.display()))?.len();
                let name = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
                found.insert(name.to_owned(), len);
            }
        }
    }
    Ok(found)
}
