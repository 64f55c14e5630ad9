//! Puts the parts together: plugins and network below, the mount table above them, FUSE on top.

use crate::cli::CommonArgs;
use crate::config::host_options::{self, DEFAULT_REQUEST_TIMEOUT};
use crate::config::raw::RawConfig;
use crate::config::resolved::Resolved;
use crate::config::sources::Shared;
use crate::failing::FailingSource;
use crate::fluid::mounts::{self, Settings};
use crate::plugins::load::{self, Loaded};
use crate::supervise::{self, Signals};
use crate::{dirs, logging};
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use wasmount_core::mounts::{Layout, MountConfig, MountTable, MountTableConfig};
use wasmount_core::ports::{NoBlockCache, NoStateLog, ProviderSource, SystemClock, TokioSpawn};
use wasmount_core::read::ReadConfig;
use wasmount_fuse::MountOptions;
use wasmount_net::{AllowNet, HttpClient, ReachPolicy};
use wasmount_plugin::{PluginHost, PluginHostConfig};

/// What `run` and `mount` have found out, each in its own way.
pub(crate) struct Plan {
    /// What to mount.
    pub(crate) config: RawConfig,
    /// Where.
    pub(crate) target: PathBuf,
    /// How places are chosen.
    pub(crate) layout: Layout,
    /// Options from everywhere but the mounts.
    pub(crate) shared: Shared,
    /// Rules that the operator gave without `--allow-net`.
    pub(crate) implied_rules: Vec<String>,
}

/// Mounts and serves until the end.
///
/// # Errors
/// Whatever keeps the whole mount from working; a single mount never does.
pub(crate) async fn serve(plan: Plan, args: CommonArgs) -> anyhow::Result<()> {
    // First of all, since as PID 1 we would not notice a SIGTERM that comes while plugins are compiled.
    let mut signals = Signals::install().context("signal handlers")?;
    let (table, options) = tokio::select! {
        prepared = prepare(plan, args) => prepared?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping before the mount was there");
            return Ok(());
        }
    };
    let runtime = Handle::current();
    let fs_type = format!("fuse.{}", options.subtype);
    let mounting = tokio::task::spawn_blocking(move || wasmount_fuse::mount(table, runtime, &options));
    let Some(mounted) = supervise::or_stopped(mounting, &mut signals).await else { return Ok(()) };
    let mounted = mounted??;
    tracing::info!(target_path = %mounted.target().display(), fs_type, "mounted");
    supervise::until_end(&mounted, &mut signals).await
}

/// Everything up to the mount itself. The mounts begin to open, and nobody waits for them.
async fn prepare(plan: Plan, args: CommonArgs) -> anyhow::Result<(Arc<MountTable>, MountOptions)> {
    let reach = reach_policy(&args.allow_net, &plan.implied_rules)?;
    dirs::check_cache(args.cache_dir.as_deref())?;
    let host = plugin_host(&args)?;
    let registry = load::load(&host, &args, |registry| mounts::all_served(&plan.config, registry)).await?;
    let settings = Settings {
        registry: &registry,
        shared: &plan.shared,
        layout: plan.layout,
        secrets_dir: &args.secrets_dir,
        strict_options: args.strict_options,
    };
    let resolved = mounts::resolve(&plan.config, &settings);
    announce(&resolved);

    let runtime = Handle::current();
    let timeout = request_timeout(&plan, &args, &resolved);
    let wiring = Wiring { host, client: HttpClient::new(runtime.clone()), reach };
    let (uid, gid, dir_mode) = table_owner(&plan, &args, &resolved);
    let table = MountTable::new(
        MountTableConfig {
            mounts: resolved.into_iter().map(|mount| wiring.mount(mount)).collect(),
            request_timeout: timeout,
            read: ReadConfig::default(),
            cache: Arc::new(NoBlockCache),
            uid,
            gid,
            dir_mode,
        },
        Arc::new(SystemClock),
        Arc::new(TokioSpawn(runtime.clone())),
        Arc::new(NoStateLog),
    )?;
    let mut options = MountOptions::new(plan.target);
    options.subtype.clone_from(&args.subtype);
    options.request_timeout = timeout;
    Ok((table, options))
}

/// The parts that every mount shares.
struct Wiring {
    host: Arc<PluginHost>,
    client: HttpClient,
    reach: ReachPolicy,
}

impl Wiring {
    fn mount(&self, mount: Resolved<Loaded>) -> MountConfig {
        let source: Arc<dyn ProviderSource> = match mount.serves {
            Ok(served) => {
                Arc::new(self.host.mount(served.plugin, served.spec, self.client.clone(), self.reach.clone()))
            }
            Err(error) => Arc::new(FailingSource::new(mount.id.clone(), error)),
        };
        MountConfig { id: mount.id, place: mount.place, source, objects: mount.files }
    }
}

/// The plugin host of this process, with its compiled code in the state directory.
///
/// # Errors
/// When the directory that the operator named, or the engine, cannot be used.
fn plugin_host(args: &CommonArgs) -> anyhow::Result<Arc<PluginHost>> {
    let aot_dir = dirs::state(args.state_dir.as_deref())?.map(|state| state.join("aot"));
    let start = |aot_dir| {
        let redactor = logging::redactor();
        PluginHost::new(PluginHostConfig { aot_dir, redactor, ..PluginHostConfig::default() }).map(Arc::new)
    };
    match start(aot_dir.clone()) {
        // What nobody chose must not keep a mount from being made; code that others could write is still not run.
        Err(error) if args.state_dir.is_none() && aot_dir.is_some() => {
            tracing::warn!(%error, "compiled plugins are not kept; each start compiles them again");
            Ok(start(None)?)
        }
        host => Ok(host?),
    }
}

/// What an operator has to know about the mounts before they open.
fn announce(mounts: &[Resolved<Loaded>]) {
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
    let writers: Vec<_> =
        mounts.iter().filter(|mount| mount.wants_writing).map(|mount| mount.id.as_str()).collect();
    if !writers.is_empty() {
        tracing::warn!(
            mounts = writers.join(","),
            "accessModes or options ask for writing, but this version mounts read-only: writes fail with EROFS"
        );
    }
}

fn reach_policy(allow_net: &[String], implied: &[String]) -> anyhow::Result<ReachPolicy> {
    let parse = |text: &String| AllowNet::parse(text).with_context(|| format!("--allow-net {text}"));
    let mut rules = allow_net.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    if rules.is_empty() && !implied.is_empty() {
        // What is implied adds to the default set; it does not replace it.
        rules.push(AllowNet::parse("default")?);
    }
    for text in implied {
        rules.push(AllowNet::parse(text)?);
    }
    Ok(ReachPolicy::new(rules))
}

/// One deadline for the kernel's requests: the longest that any mount asks for.
fn request_timeout(plan: &Plan, args: &CommonArgs, mounts: &[Resolved<Loaded>]) -> Duration {
    let each =
        mounts.iter().filter_map(|mount| mount.serves.as_ref().ok()).map(|served| served.request_timeout);
    match each.max() {
        Some(longest) => longest,
        None => global(plan, args).map_or(DEFAULT_REQUEST_TIMEOUT, |host| host.request_timeout),
    }
}

/// Owner and mode of the directories that belong to no mount: those of the only mount, or what is said for all.
fn table_owner(plan: &Plan, args: &CommonArgs, mounts: &[Resolved<Loaded>]) -> (u32, u32, u16) {
    let files = match mounts {
        [only] => only.files.clone(),
        _ => global(plan, args).map(|host| host.files).unwrap_or_default(),
    };
    (files.uid, files.gid, files.dir_mode)
}

/// wasmount's options that hold for all mounts. `None` when they make no sense: each mount fails with that error then.
fn global(plan: &Plan, args: &CommonArgs) -> Option<host_options::HostOptions> {
    host_options::take(plan.shared.global(), &args.secrets_dir).ok().map(|(host, _)| host)
}
