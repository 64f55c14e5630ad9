//! Loading plugin files and settling who serves what.

use super::files::{self, Candidate};
use super::registry::{Claim, Registry};
use crate::cli::CommonArgs;
use anyhow::Context;
use std::sync::Arc;
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
    let mut claims = Vec::new();
    for Candidate { file, strength, required } in candidates {
        // Compiling takes its time, on a thread that has nothing else to do.
        let (loader, path) = (host.clone(), file.clone());
        let plugin = match tokio::task::spawn_blocking(move || loader.load(&path)).await? {
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
