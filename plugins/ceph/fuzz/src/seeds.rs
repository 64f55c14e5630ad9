//! Inputs to begin with: what real clusters have said, from the fixtures of `wasmount-ceph`.

use std::path::Path;

use anyhow::{Context, Result};

/// A fixture of `wasmount-ceph`.
///
/// # Errors
/// When it cannot be read.
pub fn fixture(path: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(path);
    std::fs::read(&path).with_context(|| path.display().to_string())
}

/// A seed that is written beside the code of its target.
pub(crate) fn written(seeds: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
    Ok(seeds.iter().map(|seed| seed.to_vec()).collect())
}
