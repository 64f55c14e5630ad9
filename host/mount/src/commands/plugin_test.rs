//! `wasmount plugin test`: the conformance suite on one plugin.

use crate::cli::{PluginTestArgs, ScriptArg};
use crate::config::sources::ArgOption;
use crate::logging;
use anyhow::bail;
use std::io::Write;
use std::sync::Arc;
use wasmount_conformance::{Options, Script};
use wasmount_plugin::{PluginHost, PluginHostConfig};

/// Runs the suite and prints its report.
///
/// # Errors
/// When the suite cannot begin, or the plugin does not pass.
pub(crate) async fn run(args: PluginTestArgs) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let mut options = Vec::new();
    for text in &args.o {
        let list = ArgOption::parse_list(text).map_err(anyhow::Error::msg)?;
        options.extend(list.into_iter().map(|option| (option.name, option.value)));
    }
    let script = args.script.map(|script| match script {
        ScriptArg::S3 => Script::S3,
        ScriptArg::Files => Script::Files,
    });
    let config = PluginHostConfig { redactor: logging::redactor(), ..PluginHostConfig::default() };
    let host = Arc::new(PluginHost::new(config)?);
    let options =
        Options { plugin: args.file, endpoint: args.endpoint, script, mount_point: args.source, options };
    let report = wasmount_conformance::run(&host, options).await?;
    write!(std::io::stdout().lock(), "{report}")?;
    if !report.passed() {
        bail!("the plugin does not pass");
    }
    Ok(())
}
