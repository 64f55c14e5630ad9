//! Plugins that are not here yet.

use super::args::StateArgs;
use super::progress::Transfers;
use crate::dirs;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wasmount_distribution::{Client, Fetched, Keep, Origin, Remote, Store};

/// Below the state directory: plugins, and what references meant.
const PLUGINS: &str = "plugins";

/// A process that runs for long says so often that it uses its plugins: the time of grace of [`Keep`] is twice as long.
pub(crate) const USED_EVERY: Duration = Duration::from_secs(24 * 3600);

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

/// Looks after the state directory, which the processes of a node may share, as long as the process lives: removes what nobody has used for long, and then
/// keeps others from removing what this process would need at its next start. `every`: how often it says so.
pub(crate) async fn look_after(state: PathBuf, in_use: Vec<PathBuf>, every: Duration) {
    // These fail only if they panicked.
    let _ = tokio::task::spawn_blocking(move || tidy(&state)).await;
    let in_use: Arc<[PathBuf]> = in_use.into();
    while !in_use.is_empty() {
        tokio::time::sleep(every).await;
        let in_use = in_use.clone();
        let _ = tokio::task::spawn_blocking(move || wasmount_distribution::mark_used(&in_use)).await;
    }
}

/// Removes fetched plugins and compiled code that nobody has used for long.
fn tidy(state: &Path) {
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

/// Where a command that mounts nothing keeps plugins.
///
/// # Errors
/// When the operator's directory cannot be used.
pub(crate) fn store_of_command(args: &StateArgs) -> anyhow::Result<Store> {
    store(dirs::state(args.state_dir.as_deref(), args.cache_dir.as_deref())?.as_deref())
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

    #[tokio::test]
    async fn what_is_in_use_stays_and_what_nobody_uses_goes() {
        let state = tempfile::tempdir().unwrap();
        let path = |name: &str| state.path().join(name);
        std::fs::create_dir_all(path("plugins/references")).unwrap();
        std::fs::create_dir(path("aot")).unwrap();
        let file = |name: &str| {
            let path = path(name);
            std::fs::write(&path, "x").unwrap();
            let long_ago = std::time::SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
            std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
            path
        };
        let old = ["aot/a", "plugins/b", "plugins/references/c"].map(file);
        // Of a process that has been running for longer than that: another start must not take them away.
        let used = ["aot/1", "plugins/2", "plugins/references/3"].map(path);
        let in_use = used.iter().cloned().chain([path("plugins/gone")]).collect();
        let every = Duration::from_millis(20);
        let running = tokio::spawn(look_after(state.path().to_owned(), in_use, every));
        let until = |done: Box<dyn Fn() -> bool>| async move {
            for _ in 0..500 {
                if done() {
                    return true;
                }
                tokio::time::sleep(every).await;
            }
            false
        };
        assert!(until(Box::new(move || old.iter().all(|path| !path.exists()))).await);
        for name in ["aot/1", "plugins/2", "plugins/references/3"] {
            file(name);
        }
        let fresh = |path: &PathBuf| {
            let age = std::fs::metadata(path).unwrap().modified().unwrap().elapsed();
            age.is_ok_and(|age| age < Duration::from_secs(3600))
        };
        let marked = used.clone();
        assert!(until(Box::new(move || marked.iter().all(fresh))).await);
        tidy(state.path());
        assert!(used.iter().all(|path| path.exists()));
        assert!(!path("plugins/gone").exists(), "what is gone is not made");
        running.abort();
    }

    #[test]
    fn without_a_place_there_is_a_remedy() {
        assert!(store(None).unwrap_err().to_string().contains("--state-dir"));
    }
}
