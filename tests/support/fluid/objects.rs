//! Kubernetes objects out of YAML files.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// One object.
///
/// # Errors
/// When the text is no YAML.
pub fn parse(text: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(text)?)
}

/// The documents of one YAML file.
///
/// # Errors
/// When it cannot be read or is no YAML; the message names it.
pub fn documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_multiple(&text).with_context(|| path.display().to_string())
}

/// The documents of all `*.yaml` files of a directory, by file name.
///
/// # Errors
/// As [`documents`].
pub fn manifests(dir: &Path) -> Result<Vec<Value>> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files.iter().map(|path| documents(path)).collect::<Result<Vec<_>>>()?.concat())
}
