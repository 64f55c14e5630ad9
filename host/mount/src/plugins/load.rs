//! Loading plugin files and settling who serves what.

use super::files::{self, Candidate};
use super::registry::{Claim, Registry};
use crate::cli::CommonArgs;
use anyhow::Context;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmount_plugin::{Plugin, PluginHost};

/// A loaded plugin.
pub(crate) type Loaded = Arc<Plugin>;

/// Loads what the operator named, and the default directories too if `enough` says that this does not do.
///
/// # Errors
/// When a plugin that was named does not load, or two serve the same.
pub(crate) async fn load(
    host: &Arc<PluginHost>,
    args: &CommonArgs,
    enough: impl Fn(&Registry<Loaded>) -> bool,
) -> anyhow::Result<Registry<Loaded>> {
    let mut candidates: Vec<Candidate> = args.plugin.iter().map(|arg| files::parse_arg(arg)).collect();
    for dir in &args.plugin_dir {
        candidates.extend(files::in_dir(dir).map_err(anyhow::Error::msg)?);
    }
    let mut claims = claims(host, candidates).await?;
    let registry = Registry::build(&claims)?;
    if enough(&registry) {
        return Ok(registry);
    }
    claims.extend(self::claims(host, files::in_default_dirs()).await?);
    Ok(Registry::build(&claims)?)
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
        let (loaded, Candidate { file, strength, required }) = task.await?;
        let plugin = match loaded? {
            Ok(plugin) => plugin,
            Err(error) if required => {
                return Err(error).with_context(|| format!("--plugin {}", file.display()));
            }
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "this plugin cannot be used and is left out");
                continue;
            }
        };
        let about = plugin.description();
        tracing::info!(
            plugin = about.name, version = about.version, schemes = about.schemes.join(","), file = %file.display(),
            digest = %plugin.digest(), "plugin is loaded"
        );
        claims.push(Claim {
            name: about.name.clone(),
            schemes: about.schemes.clone(),
            drivers: about.csi_drivers.clone(),
            digest: plugin.digest().to_string(),
            plugin,
            file,
            strength,
        });
    }
    Ok(claims)
}
