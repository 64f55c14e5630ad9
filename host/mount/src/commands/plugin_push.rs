//! `wasmount plugin push`: publishes a plugin.

use crate::logging;
use crate::plugins::Transfers;
use crate::plugins::args::PluginPushArgs;
use anyhow::{Context, bail};
use std::io::Write;
use wasmount_distribution::{Component, Reference, Remote};
use wasmount_plugin::{PluginHost, PluginHostConfig};
use wasmount_types::Digest;

/// Checks that the file is a plugin, stores it in the registry, and prints its digests. Blocks.
///
/// # Errors
/// When the file is no plugin that this host could load again, or the registry does not take it.
pub(crate) fn run(args: &PluginPushArgs) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let Reference::Remote(Remote::Oci(reference)) = Reference::parse(&args.reference)? else {
        bail!("{}: a plugin is pushed to a registry: oci://REGISTRY/REPOSITORY:TAG", args.reference);
    };
    let plugin = PluginHost::new(PluginHostConfig::default())?.load(&args.file)?;
    let bytes = std::fs::read(&args.file).with_context(|| args.file.display().to_string())?;
    if Digest::of(&bytes) != *plugin.digest() {
        bail!("{} was changed while it was read", args.file.display());
    }
    let about = plugin.description();
    let (imports, exports) = plugin.interfaces();
    let component = Component {
        bytes,
        title: args.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        version: about.version.clone(),
        description: format!("{}: a storage plugin of kind {} for wasmount", about.name, plugin.kind()),
        imports,
        exports,
    };
    let client = args.registry.client(&[])?;
    let progress = Transfers::default().one();
    let manifest = client.push(&reference, &component, &progress).with_context(|| reference.to_string())?;
    drop(progress);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "reference  {reference}\nplugin     {}\nmanifest   {manifest}\npinned     {}",
        plugin.digest(),
        reference.pinned(manifest)
    )?;
    Ok(())
}
