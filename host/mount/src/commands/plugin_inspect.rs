//! `wasmount plugin inspect`: the reference page of a plugin.

use std::io::Write;
use std::path::Path;
use wasmount_plugin::{PluginHost, PluginHostConfig};

/// Prints what the plugin says about itself. Compiles it and runs its `describe`, nothing else.
///
/// # Errors
/// When the file is no plugin this host can run.
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let host = PluginHost::new(PluginHostConfig::default())?;
    let plugin = host.load(file)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "file     {}\ndigest   {}\nkind     {}", file.display(), plugin.digest(), plugin.kind())?;
    writeln!(out, "{}", plugin.description())?;
    Ok(())
}
