//! Loading plugins and settling who serves what, once: what a reference means is asked at the start and never again, so that mounts that come later are
//! served by the same plugins as those that are there, and no registry holds them up.

use super::files::{self, Candidate, Named};
use super::registry::{Claim, Registry, Strength};
use super::{Transfers, fetch};
use crate::cli::CommonArgs;
use crate::dirs;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmount_distribution::{Fetched, Reference, Remote};
use wasmount_plugin::{Plugin, PluginHost};

/// Plugins where the command line names none, separated by white space.
const ENVIRONMENT: &str = "WASMOUNT_PLUGIN";

/// References that are fetched at the same time: more servers than profiles name, and connections that a small registry does not mind.
const FETCHED_AT_A_TIME: usize = 4;

/// A loaded plugin.
pub(crate) type Loaded = Arc<Plugin>;

/// Loads what the operator named, and nothing else; `None`: they have named nothing, so that the default set is theirs.
///
/// # Errors
/// When a plugin that was named cannot be had or does not load, or two serve the same.
pub(crate) async fn named(
    host: &Arc<PluginHost>,
    args: &CommonArgs,
) -> anyhow::Result<Option<Registry<Loaded>>> {
    let (from, texts) = references(args);
    if texts.is_empty() && args.plugin_dir.is_empty() {
        return Ok(None);
    }
    let mut candidates = candidates(args, from, &texts).await?;
    for dir in &args.plugin_dir {
        candidates.extend(files::in_dir(dir).map_err(anyhow::Error::msg)?);
    }
    settle(host, args, candidates).await.map(Some)
}

/// Loads the default set: what is in the default directories.
///
/// # Errors
/// When two serve the same.
pub(crate) async fn default_set(
    host: &Arc<PluginHost>,
    args: &CommonArgs,
) -> anyhow::Result<Registry<Loaded>> {
    settle(host, args, files::in_default_dirs()).await
}

async fn settle(
    host: &Arc<PluginHost>,
    args: &CommonArgs,
    candidates: Vec<Candidate>,
) -> anyhow::Result<Registry<Loaded>> {
    let mut in_use: Vec<PathBuf> = candidates.iter().flat_map(|candidate| candidate.kept.clone()).collect();
    let claims = claims(host, candidates).await?;
    let registry = Registry::build(&claims)?;
    for Claim { plugin, file, .. } in &claims {
        let about = plugin.description();
        tracing::info!(
            plugin = about.name, version = about.version, schemes = about.schemes.join(","), file = %file.display(),
            digest = %plugin.digest(), "plugin is loaded"
        );
        in_use.extend(plugin.code().map(Path::to_owned));
    }
    // Not before, since what was just used is not tidied away.
    if let Ok(Some(state)) = dirs::state(args.state_dir.as_deref(), args.cache_dir.as_deref()) {
        drop(tokio::spawn(fetch::look_after(state, in_use, fetch::USED_EVERY)));
    }
    Ok(registry)
}

/// What `--plugin` names, or else the environment; and which of them it was, for messages.
pub(crate) fn references(args: &CommonArgs) -> (&'static str, Vec<String>) {
    if args.plugin.is_empty()
        && let Ok(text) = std::env::var(ENVIRONMENT)
    {
        return (ENVIRONMENT, text.split_whitespace().map(str::to_owned).collect());
    }
    ("--plugin", args.plugin.clone())
}

/// What these references mean, fetched where it is somewhere else.
async fn candidates(
    args: &CommonArgs,
    from: &'static str,
    texts: &[String],
) -> anyhow::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    let mut remotes = Vec::new();
    for text in texts {
        let Named { reference, strength } = files::parse_arg(text).context(from)?;
        match reference {
            Reference::Path(path) => {
                candidates.extend(files::at(&path, strength).map_err(anyhow::Error::msg)?)
            }
            Reference::Remote(remote) => remotes.push((remote, strength)),
        }
    }
    candidates.extend(fetched(args, remotes).await.context(from)?);
    Ok(candidates)
}

/// Gets them, several at a time: one registry that does not answer must not hold up what others have.
///
/// # Errors
/// Of those that cannot be had, the one that was named first.
async fn fetched(args: &CommonArgs, remotes: Vec<(Remote, Strength)>) -> anyhow::Result<Vec<Candidate>> {
    if remotes.is_empty() {
        return Ok(Vec::new());
    }
    let state = dirs::state(args.state_dir.as_deref(), args.cache_dir.as_deref())?;
    let (registry, keys) = (args.registry.clone(), args.plugin_key.clone());
    // Files are read.
    let opened = tokio::task::spawn_blocking(move || {
        anyhow::Ok((registry.client(&keys)?, fetch::store(state.as_deref())?))
    });
    let (opened, shown) = (Arc::new(opened.await??), Transfers::default());
    let permits = Arc::new(Semaphore::new(FETCHED_AT_A_TIME));
    let fetch = |(remote, strength): (Remote, Strength)| {
        let (opened, shown, permits) = (opened.clone(), shown.clone(), permits.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            let fetched = tokio::task::spawn_blocking(move || {
                let (client, store) = &*opened;
                let fetched = fetch::fetch(client, store, &remote, &shown)?;
                let kept = store.files(&remote, &fetched.digest);
                anyhow::Ok((fetched, kept, remote.to_string()))
            });
            let (Fetched { file, digest, .. }, kept, name) = fetched.await??;
            anyhow::Ok(Candidate { file, name, digest: Some(digest), kept, strength, required: true })
        })
    };
    let tasks: Vec<_> = remotes.into_iter().map(fetch).collect();
    let mut candidates = Vec::new();
    for task in tasks {
        candidates.push(task.await??);
    }
    Ok(candidates)
}

async fn claims(host: &Arc<PluginHost>, candidates: Vec<Candidate>) -> anyhow::Result<Vec<Claim<Loaded>>> {
    // Nothing is mounted before all are loaded, so they are loaded side by side; more at once than there are
    // processors would only cost memory.
    let width = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let permits = Arc::new(Semaphore::new(width));
    let load = |candidate: Candidate| {
        let (host, permits) = (host.clone(), permits.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            // Compiling takes its time, on a thread that has nothing else to do.
            let path = candidate.file.clone();
            (tokio::task::spawn_blocking(move || host.load(&path)).await, candidate)
        })
    };
    let tasks: Vec<_> = candidates.into_iter().map(load).collect();
    let mut claims = Vec::new();
    for task in tasks {
        let (loaded, Candidate { file, name, digest, strength, required, .. }) = task.await?;
        let plugin = match loaded? {
            Ok(plugin) => plugin,
            Err(error) if required => return Err(error).with_context(|| format!("--plugin {name}")),
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "this plugin cannot be used and is left out");
                continue;
            }
        };
        if digest.is_some_and(|digest| digest != *plugin.digest()) {
            bail!("--plugin {name}: {} was changed while it was loaded", file.display());
        }
        let about = plugin.description();
        claims.push(Claim {
            name: about.name.clone(),
            schemes: about.schemes.clone(),
            drivers: about.csi_drivers.clone(),
            digest: plugin.digest().to_string(),
            plugin,
            file: name.into(),
            strength,
        });
    }
    Ok(claims)
}
