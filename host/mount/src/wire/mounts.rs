//! From a configuration to mounts: done at the start, and again whenever there is another configuration.

use super::Plan;
use super::process::Process;
use crate::config::host_options::{self, DEFAULT_REQUEST_TIMEOUT, HostOptions};
use crate::config::raw::RawConfig;
use crate::config::resolved::Resolved;
use crate::config::sources::Shared;
use crate::fluid::mounts::{self, Settings, Standing};
use crate::plugins::load::{self, Loaded};
use crate::plugins::registry::Registry;
use std::time::Duration;
use wasmount_core::mounts::{Layout, Owner};

/// What mounts are made with, whatever the configuration says.
pub(crate) struct Workshop {
    registry: Registry<Loaded>,
    layout: Layout,
    /// Options of the environment and of the command line.
    shared: Shared,
}

/// A configuration that is understood.
pub(crate) struct Generation {
    /// What was read.
    pub(crate) config: RawConfig,
    /// Its mounts, in its order.
    pub(crate) mounts: Vec<Resolved<Loaded>>,
    /// Owner of the directories that belong to no mount.
    pub(crate) owner: Owner,
    /// The longest time that any of them wants for a request.
    pub(crate) request_timeout: Duration,
}

impl Workshop {
    /// Loads the plugins.
    ///
    /// # Errors
    /// When one that the operator named cannot be used.
    pub(crate) async fn open(process: &Process, plan: &Plan) -> anyhow::Result<Self> {
        let registry = registry(process, &plan.config).await?;
        Ok(Self { registry, layout: plan.layout, shared: plan.shared.clone() })
    }

    /// Looks at the default plugins too, if a configuration needs them and they have not been looked at.
    pub(crate) async fn prepare_for(&mut self, process: &Process, config: &RawConfig) -> anyhow::Result<()> {
        if !mounts::all_served(config, &self.registry) {
            self.registry = registry(process, config).await?;
        }
        Ok(())
    }

    /// Resolves all mounts of a configuration. `standing`: where mounts are already.
    pub(crate) fn generation(&self, process: &Process, config: RawConfig, standing: &Standing) -> Generation {
        let shared = self.shared.with_runtime(&config.runtime_options);
        let mounts = mounts::resolve(
            &config,
            &Settings {
                registry: &self.registry,
                shared: &shared,
                layout: self.layout,
                standing,
                secrets_dir: &process.args.secrets_dir,
                strict_options: process.args.strict_options,
                cache_namespace: process.cache.as_ref().map(|_| process.namespace.clone()),
            },
        );
        // `None` when they make no sense: each mount fails with that error then.
        let global =
            host_options::take(shared.global(), &process.args.secrets_dir).ok().map(|(host, _)| host);
        let (owner, request_timeout) = (owner(global.as_ref(), &mounts), longest(global.as_ref(), &mounts));
        Generation { config, mounts, owner, request_timeout }
    }
}

async fn registry(process: &Process, config: &RawConfig) -> anyhow::Result<Registry<Loaded>> {
    load::load(&process.plugins, &process.args, |registry| mounts::all_served(config, registry)).await
}

/// One deadline for the kernel's requests: the longest that any mount asks for.
fn longest(global: Option<&HostOptions>, mounts: &[Resolved<Loaded>]) -> Duration {
    let each =
        mounts.iter().filter_map(|mount| mount.serves.as_ref().ok()).map(|served| served.request_timeout);
    match each.max() {
        Some(longest) => longest,
        None => global.map_or(DEFAULT_REQUEST_TIMEOUT, |host| host.request_timeout),
    }
}

/// Owner and mode of the directories that belong to no mount: those of the only mount, or what is said for all.
fn owner(global: Option<&HostOptions>, mounts: &[Resolved<Loaded>]) -> Owner {
    let files = match mounts {
        [only] => only.files.clone(),
        _ => global.map(|host| host.files.clone()).unwrap_or_default(),
    };
    Owner { uid: files.uid, gid: files.gid, dir_mode: files.dir_mode }
}

/// What an operator has to know about mounts before they open.
pub(crate) fn announce<'a>(mounts: impl Iterator<Item = &'a Resolved<Loaded>>) {
    for mount in mounts {
        let plugin = match &mount.serves {
            Ok(served) => served.plugin.description().name.clone(),
            Err(_) => "none".to_owned(),
        };
        tracing::info!(mount = %mount.id, place = %mount.place, mount_point = mount.mount_point, plugin, "mount");
        if mount.insecure {
            tracing::warn!(
                mount = %mount.id,
                "insecure-skip-verify is set: whoever answers at the endpoint is believed; use ca-file instead"
            );
        }
    }
}

/// Says who will be disappointed.
pub(crate) fn announce_writers(mounts: &[Resolved<Loaded>]) {
    let writers: Vec<_> =
        mounts.iter().filter(|mount| mount.wants_writing).map(|mount| mount.id.as_str()).collect();
    if !writers.is_empty() {
        tracing::warn!(
            mounts = writers.join(","),
            "accessModes or options ask for writing, but this version mounts read-only: writes fail with EROFS"
        );
    }
}
