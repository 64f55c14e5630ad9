//! Plugins that are not here yet.

use super::progress::Transfers;
use crate::dirs;
use anyhow::Context;
use std::path::Path;
use std::time::Duration;
use wasmount_distribution::{Client, Fetched, Keep, Origin, Remote, Store};

/// Below the state directory: plugins, and what references meant.
const PLUGINS: &str = "plugins";

/// Where fetched plugins are kept.
///
/// # Errors
/// There is no place for them.
pub(crate) fn store(state: Option<&Path>) -> anyhow::Result<Store> {
    let state =
        state.context("there is no place to keep fetched plugins: name a directory with --state-dir")?;
    Ok(Store::open(&state.join(PLUGINS))?)
}

/// Gets a plugin, and says so. Blocks. `shown`: where people see how it goes on.
///
/// # Errors
/// Name the reference.
pub(crate) fn fetch(
    client: &Client,
    store: &Store,
    remote: &Remote,
    shown: &Transfers,
) -> anyhow::Result<Fetched> {
    let fetched = client.fetch(store, remote, &shown.one()).with_context(|| remote.to_string())?;
    let (reference, digest) = (remote.to_string(), fetched.digest.to_string());
    let manifest = fetched.manifest.map(|digest| digest.to_string());
    let signed_by = fetched.signed_by.as_deref();
    match &fetched.origin {
        Origin::Server => tracing::info!(reference, manifest, digest, signed_by, "plugin is fetched"),
        Origin::Kept => tracing::info!(reference, manifest, digest, signed_by, "plugin is here already"),
        Origin::Unchecked { age, why } => tracing::warn!(
            reference,
            manifest,
            digest,
            signed_by,
            error = %why,
            "the registry cannot be asked what this tag means; what it meant {} ago is used (a reference with a digest asks nobody)",
            in_words(*age)
        ),
    }
    Ok(fetched)
}

/// Removes fetched plugins and compiled code that nobody has used for long.
pub(crate) fn tidy(state: &Path) {
    let plugins = state.join(PLUGINS);
    for dir in [state.join("aot"), plugins.join("references"), plugins] {
        match wasmount_distribution::tidy(&dir, Keep::default()) {
            Ok((0, _)) => {}
            Ok((files, bytes)) => {
                tracing::info!(dir = %dir.display(), files, bytes, "removed what was unused for long")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(dir = %dir.display(), %error, "cannot be tidied"),
        }
    }
}

/// Below one of a kind, the next smaller kind says more.
fn in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (number, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7200 => (seconds / 60, "minutes"),
        7200..172_800 => (seconds / 3600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}

/// The state directory of a command that mounts nothing.
///
/// # Errors
/// When the operator's cannot be used.
pub(crate) fn store_of_command(state_dir: Option<&Path>) -> anyhow::Result<Store> {
    store(dirs::state(state_dir, None)?.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7200, "2 hours"),
            (864_000, "10 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn without_a_place_there_is_a_remedy() {
        assert!(store(None).unwrap_err().to_string().contains("--state-dir"));
    }
}
