//! `wasmount plugin verify`: who signed a plugin.

use crate::logging;
use crate::plugins::args::PluginVerifyArgs;
use anyhow::{Context, bail};
use std::io::Write;
use wasmount_distribution::{Reference, Remote};

/// Asks the registry for a signature by one of the keys. Blocks.
///
/// # Errors
/// There is none.
pub(crate) fn run(args: &PluginVerifyArgs) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let Reference::Remote(Remote::Oci(reference)) = Reference::parse(&args.reference)? else {
        bail!(
            "{}: only plugins in a registry have signatures: oci://REGISTRY/REPOSITORY[:TAG]",
            args.reference
        );
    };
    let client = args.registry.client(&args.plugin_key)?;
    let (manifest, key) = client.verify(&reference).with_context(|| reference.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "reference  {reference}\nmanifest   {manifest}\nsigned by  {key}\npinned     {}",
        reference.pinned(manifest)
    )?;
    Ok(())
}
