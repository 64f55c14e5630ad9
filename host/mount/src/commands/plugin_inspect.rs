//! `wasmount plugin inspect`: the reference page of a plugin, for who writes a profile or decides whether to trust it.

use crate::logging;
use crate::plugins::args::PluginInspectArgs;
use crate::plugins::{Transfers, fetch};
use anyhow::bail;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use wasmount_distribution::{Origin, Reference};
use wasmount_plugin::{CONTRACT, PluginHost, PluginHostConfig};

/// What is looked at.
struct Subject {
    file: PathBuf,
    /// What it was fetched by.
    reference: Option<String>,
    signed_by: Option<String>,
}

/// Prints what the plugin says about itself. Compiles it and runs its `describe`, nothing else. Blocks.
///
/// # Errors
/// When it cannot be had, or is no plugin this host can run.
pub(crate) fn run(args: &PluginInspectArgs) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let subject = subject(args)?;
    let host = PluginHost::new(PluginHostConfig::default())?;
    let plugin = host.load(&subject.file)?;
    let (digest, kind) = (plugin.digest().to_string(), plugin.kind().to_string());
    let (described, policy) = (plugin.description(), args.reveal.policy());
    let refused =
        described.options.iter().filter_map(|spec| Some((&spec.name, policy.refuses(described, spec)?)));
    let refused: Vec<_> = refused.map(|(option, rule)| (option, rule.to_string())).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut page = described.to_json();
        page["file"] = json!(subject.file);
        page["reference"] = json!(subject.reference);
        page["signedBy"] = json!(subject.signed_by);
        page["digest"] = json!(digest);
        page["kind"] = json!(kind);
        page["contract"] = json!(CONTRACT);
        let one = |(option, rule): &(&String, String)| json!({"option": option, "rule": rule});
        page["refusedToReveal"] = json!(refused.iter().map(one).collect::<Vec<_>>());
        writeln!(out, "{page:#}")?;
        return Ok(());
    }
    if let Some(reference) = subject.reference {
        writeln!(out, "plugin   {reference}")?;
    }
    writeln!(out, "file     {}\ndigest   {digest}", subject.file.display())?;
    if let Some(key) = subject.signed_by {
        writeln!(out, "signed   by {key}")?;
    }
    writeln!(out, "kind     {kind}\ncontract {CONTRACT}\n{described}")?;
    for (option, rule) in refused {
        writeln!(
            out,
            "Refused to it: {option} (--deny-reveal {rule}); a mount with this option does not open"
        )?;
    }
    Ok(())
}

/// The file itself, or what the reference means.
fn subject(args: &PluginInspectArgs) -> anyhow::Result<Subject> {
    let remote = match Reference::parse(&args.reference)? {
        Reference::Path(file) if file.is_dir() => {
            bail!("{} is a directory: name one of the plugins in it", file.display())
        }
        Reference::Path(file) => return Ok(Subject { file, reference: None, signed_by: None }),
        Reference::Remote(remote) => remote,
    };
    let client = args.registry.client(&args.plugin_key)?;
    let store = fetch::store_of_command(&args.state)?;
    let fetched = fetch::fetch(&client, &store, &remote, &Transfers::default())?;
    if let Origin::Unchecked { why, .. } = &fetched.origin {
        // Old or not, it is what a start would use now; which one that is, its digest says.
        tracing::warn!(error = %why, "this is what the reference meant the last time");
    }
    Ok(Subject { file: fetched.file, reference: Some(remote.to_string()), signed_by: fetched.signed_by })
}
