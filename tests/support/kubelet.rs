//! A volume of a ConfigMap or a Secret as kubelet keeps it: files are links through `..data`, which is exchanged as a whole.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One volume.
#[derive(Debug)]
pub struct Volume {
    directory: PathBuf,
    generation: Cell<u32>,
}

impl Volume {
    /// A volume in this directory, which is made, or emptied.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(directory: &Path) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory).context("empty a volume")?;
        }
        fs::create_dir_all(directory).context("make a volume")?;
        Ok(Self { directory: directory.to_owned(), generation: Cell::new(0) })
    }

    /// Has these files, and no others, in the volume: written beside the old ones, and put in their place with one rename.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn publish(&self, files: &[(&str, &[u8])]) -> Result<()> {
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let path = |name: &str| self.directory.join(name);
        let stamped = format!("..2026_11_21_12_00_{generation:05}");
        fs::create_dir(path(&stamped)).context("write a generation")?;
        for (name, content) in files {
            fs::write(path(&stamped).join(name), content).context("write a file of a volume")?;
        }
        let before = fs::read_link(path("..data")).ok();
        symlink(&stamped, path("..data_tmp")).context("link a generation")?;
        fs::rename(path("..data_tmp"), path("..data")).context("exchange a volume")?;
        for (name, _) in files {
            if path(name).symlink_metadata().is_err() {
                symlink(Path::new("..data").join(name), path(name)).context("link a file of a volume")?;
            }
        }
        for entry in fs::read_dir(&self.directory).context("read a volume")? {
            let name = entry.context("read a volume")?.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with("..") && !files.iter().any(|(kept, _)| *kept == name) {
                fs::remove_file(path(&name)).context("remove a file of a volume")?;
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.directory.join(before)).context("remove an old generation")?;
        }
        Ok(())
    }
}
