//! `wasmount plugin inspect`: the reference page of a plugin, for who writes a profile or decides whether to trust it.

use serde_json::json;
use std::io::Write;
use std::path::Path;
use wasmount_plugin::{CONTRACT, PluginHost, PluginHostConfig};

/// Prints what the plugin says about itself. Compiles it and runs its `describe`, nothing else.
///
/// # Errors
/// When the file is no plugin this host can run.
pub(crate) fn run(file: &Path, as_json: bool) -> anyhow::Result<()> {
    let host = PluginHost::new(PluginHostConfig::default())?;
    let plugin = host.load(file)?;
    let (digest, kind) = (plugin.digest().to_string(), plugin.kind().to_string());
    let mut out = std::io::stdout().lock();
    if as_json {
        let mut page = plugin.description().to_json();
        page["file"] = json!(file);
        page["digest"] = json!(digest);
        page["kind"] = json!(kind);
        page["contract"] = json!(CONTRACT);
        writeln!(out, "{page:#}")?;
    } else {
        writeln!(
            out,
            "file     {}\ndigest   {digest}\nkind     {kind}\ncontract {CONTRACT}",
            file.display()
        )?;
        writeln!(out, "{}", plugin.description())?;
    }
    Ok(())
}
