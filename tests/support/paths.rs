//! Where the things are that the tests run.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The version that `tests/tools/common.sh` installs; the file's name carries it.
const MINIO_VERSION: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

/// The root of the repository.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Where the mounts of all tests keep compiled code.
pub fn state() -> PathBuf {
    target_dir().join("test-state")
}

/// The program under test: `WASMOUNT_BIN`, else the release build.
///
/// # Errors
/// When it has not been built.
pub fn wasmount() -> Result<PathBuf> {
    let path =
        std::env::var_os("WASMOUNT_BIN").map_or_else(|| target_dir().join("release/wasmount"), PathBuf::from);
    existing(path, "make build")
}

/// A component in `target/plugins`, by its file name without `.wasm`.
///
/// # Errors
/// When it has not been built.
pub fn plugin(name: &str) -> Result<PathBuf> {
    existing(target_dir().join("plugins").join(format!("{name}.wasm")), "make build")
}

/// The MinIO that `make test` builds into the test cache.
///
/// # Errors
/// When it is not there.
pub fn minio() -> Result<PathBuf> {
    let cache = std::env::var_os("WASMOUNT_TEST_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/wasmount-tests")));
    let Some(cache) = cache else { bail!("neither WASMOUNT_TEST_CACHE nor HOME is set") };
    existing(cache.join("bin").join(format!("minio-{MINIO_VERSION}")), "make test")
}

/// A file below `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    repository().join("tests/fixtures").join(path)
}

fn existing(path: PathBuf, remedy: &str) -> Result<PathBuf> {
    if path.exists() { Ok(path) } else { bail!("{} is missing: run `{remedy}`", path.display()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_scripts_install_the_version_that_is_looked_for() {
        let script = std::fs::read_to_string(super::repository().join("tests/tools/common.sh")).unwrap();
        assert!(script.contains(&format!("MINIO_VERSION={}\n", super::MINIO_VERSION)));
    }
}
