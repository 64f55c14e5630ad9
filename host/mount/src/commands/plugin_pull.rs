//! `wasmount plugin pull`: fetches a plugin before it is needed.

use crate::logging;
use crate::plugins::args::PluginPullArgs;
use crate::plugins::{Transfers, fetch};
use anyhow::{Context, bail};
use std::io::Write;
use std::path::Path;
use wasmount_distribution::{Origin, Reference, Remote};

/// Fetches, verifies, keeps, and says what it is. Blocks.
///
/// # Errors
/// When the plugin cannot be had, or is not what was asked for.
pub(crate) fn run(args: &PluginPullArgs) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let remote = match Reference::parse(&args.reference)? {
        Reference::Remote(remote) => remote,
        Reference::Path(path) => bail!("{} is here already: it is a file, not a reference", path.display()),
    };
    let client = args.registry.client(&args.plugin_key)?;
    let store = fetch::store_of_command(&args.state)?;
    let fetched = fetch::fetch(&client, &store, &remote, &Transfers::default())?;
    if let Origin::Unchecked { why, .. } = fetched.origin {
        // For a mount an old plugin is better than none; who pulls wants the new one.
        return Err(why).with_context(|| remote.to_string());
    }
    if let Some(output) = &args.output {
        copy(&fetched.file, output).with_context(|| format!("{}: cannot be written", output.display()))?;
    }
    let file = args.output.as_deref().unwrap_or(&fetched.file);
    let mut out = std::io::stdout().lock();
    writeln!(out, "reference  {remote}\nplugin     {}\nfile       {}", fetched.digest, file.display())?;
    if let (Some(manifest), Remote::Oci(oci)) = (fetched.manifest, &remote) {
        writeln!(out, "pinned     {}", oci.pinned(manifest))?;
    }
    if let Some(key) = fetched.signed_by {
        writeln!(out, "signed by  {key}")?;
    }
    Ok(())
}

/// Copies in such a way that nobody sees half a file.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = to.with_file_name(name);
    let copied = std::fs::read(from)
        .and_then(|bytes| std::fs::write(&temporary, bytes))
        .and_then(|()| std::fs::rename(&temporary, to));
    if copied.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "old").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"new");
        copy(&dir.path().join("none"), &to).unwrap_err();
        copy(&from, &dir.path().join("no/dir")).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
    }
}
