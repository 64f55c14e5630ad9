//! From a configuration to mounts: done at the start, and again whenever there is another configuration.

use super::Plan;
use super::process::Process;
use crate::config::host_options::{self, DEFAULT_REQUEST_TIMEOUT, HostOptions};
use crate::config::host_volumes::Reserved;
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
    /// `None`: the operator has named no plugin, and nobody has needed the default ones yet.
    registry: Option<Registry<Loaded>>,
    layout: Layout,
    /// Options of the environment and of the command line.
    shared: Shared,
    reserved: Reserved,
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
    /// Loads the plugins: those that the operator named and no others, whatever the configuration asks for.
    ///
    /// # Errors
    /// When one that the operator named cannot be used.
    pub(crate) async fn open(process: &Process, plan: &Plan) -> anyhow::Result<Self> {
        let registry = load::named(&process.plugins, &process.args).await?;
        let (shared, reserved) = (plan.shared.clone(), plan.reserved.clone());
        let mut workshop = Self { registry, layout: plan.layout, shared, reserved };
        workshop.prepare_for(process, &plan.config).await?;
        Ok(workshop)
    }

    /// Whether the Dataset leaves alone what is the operator's in the pod.
    ///
    /// # Errors
    /// Names the mount that does not.
    pub(crate) fn admit(&self, config: &RawConfig) -> anyhow::Result<()> {
        self.reserved.check(config)
    }

    /// Loads the default plugins where the operator has named none, for the first configuration that has something to mount.
    ///
    /// # Errors
    /// When two of them serve the same; that is over when one is taken away.
    pub(crate) async fn prepare_for(&mut self, process: &Process, config: &RawConfig) -> anyhow::Result<()> {
        if self.registry.is_none() && config.mounts.iter().any(|mount| mount.fault.is_none()) {
            self.registry = Some(load::default_set(&process.plugins, &process.args).await?);
        }
        Ok(())
    }

    /// Resolves all mounts of a configuration. `standing`: where mounts are already.
    pub(crate) fn generation(&self, process: &Process, config: RawConfig, standing: &Standing) -> Generation {
        let shared = self.shared.with_runtime(&config.runtime_options);
        let nobody = Registry::default();
        let mounts = mounts::resolve(
            &config,
            &Settings {
                registry: self.registry.as_ref().unwrap_or(&nobody),
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
