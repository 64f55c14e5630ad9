//! Puts the parts together: plugins and network below, the mount table above them, FUSE on top.

use crate::cli::CommonArgs;
use crate::config::host_options::{self, DEFAULT_REQUEST_TIMEOUT};
use crate::config::raw::RawConfig;
use crate::config::resolved::Resolved;
use crate::config::sources::Shared;
use crate::disk_cache::Labelled;
use crate::failing::FailingSource;
use crate::fluid::mounts::{self, Settings};
use crate::memory::Memory;
use crate::plugins::load::{self, Loaded};
use crate::supervise::{self, Signals};
use crate::telemetry::Parts;
use crate::{dirs, disk_cache, logging, show};
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use wasmount_cache::DiskCache;
use wasmount_core::FileSystem;
use wasmount_core::control::ControlFs;
use wasmount_core::mounts::{Layout, MountConfig, MountTable, MountTableConfig};
use wasmount_core::ports::{BlockCache, NoBlockCache, NoStateLog, ProviderSource, SystemClock, TokioSpawn};
use wasmount_core::read::ReadConfig;
use wasmount_fuse::{MountOptions, Passthrough};
use wasmount_net::{AllowNet, HttpClient, NetLimits, ReachPolicy};
use wasmount_observe::metrics::{self, Health, Listening, MetricId};
use wasmount_observe::{Metrics, Observer};
use wasmount_plugin::{Limits, PluginHost, PluginHostConfig};

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

/// How long plugins may take to give back what they hold at their servers. Kubernetes kills after 30 s, and the unmount has had its part.
const PLUGINS_END: Duration = Duration::from_secs(8);

/// What is there before the mount is.
struct Prepared {
    fs: Arc<dyn FileSystem>,
    options: MountOptions,
    metrics: Arc<Metrics>,
    cache: Option<Arc<DiskCache>>,
    plugins: Arc<PluginHost>,
    /// Ends with the process.
    _listening: Option<Listening>,
}

/// Mounts and serves until the end.
///
/// # Errors
/// Whatever keeps the whole mount from working; a single mount never does.
pub(crate) async fn serve(plan: Plan, args: CommonArgs) -> anyhow::Result<()> {
    // First of all, since as PID 1 we would not notice a SIGTERM that comes while plugins are compiled.
    let mut signals = Signals::install().context("signal handlers")?;
    let prepared = tokio::select! {
        prepared = prepare(plan, args) => prepared?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping before the mount was there");
            return Ok(());
        }
    };
    let runtime = Handle::current();
    let (fs, options) = (prepared.fs.clone(), prepared.options.clone());
    let fs_type = format!("fuse.{}", options.subtype);
    let mounting = tokio::task::spawn_blocking(move || wasmount_fuse::mount(fs, runtime, &options));
    let Some(mounted) = supervise::or_stopped(mounting, &mut signals).await else { return Ok(()) };
    let mounted = Arc::new(mounted??);
    let passthrough = mounted.clone();
    prepared.metrics.collect(move |samples| {
        let on = passthrough.passthrough() == Passthrough::On;
        samples.add(MetricId::PassthroughAvailable, &[], u64::from(on));
    });
    tracing::info!(target_path = %mounted.target().display(), fs_type, "mounted");
    let ended = supervise::until_end(&mounted, &mut signals).await;
    prepared.plugins.shutdown(PLUGINS_END).await;
    if let Some(cache) = prepared.cache {
        // What was read last is the most likely to be read again.
        let _ended = tokio::task::spawn_blocking(move || cache.shutdown()).await;
    }
    ended
}

/// Everything up to the mount itself. The mounts begin to open, and nobody waits for them.
async fn prepare(plan: Plan, args: CommonArgs) -> anyhow::Result<Prepared> {
    let reach = reach_policy(&args.allow_net, &plan.implied_rules)?;
    let runtime = Handle::current();
    let memory = Memory::new(args.memory)?;
    let cache = disk_cache::open(&args, memory, &runtime)?;
    let plugins = plugin_host(&args, memory)?;
    let registry = load::load(&plugins, &args, |registry| mounts::all_served(&plan.config, registry)).await?;
    let namespace = disk_cache::namespace(&args, &plan.target);
    let settings = Settings {
        registry: &registry,
        shared: &plan.shared,
        layout: plan.layout,
        secrets_dir: &args.secrets_dir,
        strict_options: args.strict_options,
        cache_namespace: cache.as_ref().map(|_| namespace.clone()),
    };
    let resolved = mounts::resolve(&plan.config, &settings);
    announce(&resolved);

    let timeout = request_timeout(&plan, &args, &resolved);
    let client = HttpClient::with_limits(runtime.clone(), net_limits(memory, resolved.len()));
    let (uid, gid, dir_mode) = table_owner(&plan, &args, &resolved);
    let shown = show::config(&plan.target, memory, &args, &resolved);
    let wiring = Wiring {
        host: plugins.clone(),
        client: client.clone(),
        reach,
        cache: cache.clone(),
        namespace: namespace.clone(),
    };
    let blocks: Arc<dyn BlockCache> = match &cache {
        Some(cache) => cache.clone(),
        None => Arc::new(NoBlockCache),
    };
    let table = MountTable::new(
        MountTableConfig {
            mounts: resolved.into_iter().map(|mount| wiring.mount(mount)).collect(),
            request_timeout: timeout,
            read: read_config(&args, memory),
            cache: blocks,
            uid,
            gid,
            dir_mode,
        },
        Arc::new(SystemClock),
        Arc::new(TokioSpawn(runtime.clone())),
        Arc::new(NoStateLog),
    )?;

    let observer = Observer::new();
    let metrics = Metrics::new(observer.clone());
    let parts = Parts {
        table: table.clone(),
        cache: cache.clone(),
        plugins: plugins.clone(),
        client,
        memory,
        cache_limit: args.cache_size,
    };
    parts.register(&metrics);
    // The process answers, and its mounts mend themselves: nothing that a restart would improve.
    let health: Health = Arc::new(|| Ok(()));
    let listening = match args.metrics_addr {
        Some(address) => {
            let listening = metrics::serve(address, metrics.clone(), health, &runtime)?;
            tracing::info!(address = %listening.address(), "metrics are served at /metrics");
            Some(listening)
        }
        None => None,
    };
    let files = wasmount_observe::control_files(&observer, &metrics, move || shown.clone());
    observer.name_nodes_by(table.clone());
    let fs: Arc<dyn FileSystem> = Arc::new(ControlFs::new(table, uid, files));

    let mut options = MountOptions::new(plan.target);
    options.subtype.clone_from(&args.subtype);
    options.request_timeout = timeout;
    options.passthrough = !args.no_passthrough;
    options.keep_names = !args.no_keep_names;
    options.operations = observer;
    Ok(Prepared { fs, options, metrics, cache, plugins, _listening: listening })
}

/// The parts that every mount shares.
struct Wiring {
    host: Arc<PluginHost>,
    client: HttpClient,
    reach: ReachPolicy,
    cache: Option<Arc<DiskCache>>,
    namespace: String,
}

impl Wiring {
    fn mount(&self, mount: Resolved<Loaded>) -> MountConfig {
        let source: Arc<dyn ProviderSource> = match mount.serves {
            Ok(served) => {
                Arc::new(self.host.mount(served.plugin, served.spec, self.client.clone(), self.reach.clone()))
            }
            Err(error) => Arc::new(FailingSource::new(mount.id.clone(), error)),
        };
        let source = match &self.cache {
            Some(cache) => {
                let label = format!("{} ({})", mount.mount_point, self.namespace);
                Arc::new(Labelled { source, cache: cache.clone(), label })
            }
            None => source,
        };
        MountConfig { id: mount.id, place: mount.place, source, objects: mount.files }
    }
}

/// The plugin host of this process, with its compiled code in the state directory.
///
/// # Errors
/// When the directory that the operator named, or the engine, cannot be used.
fn plugin_host(args: &CommonArgs, memory: Memory) -> anyhow::Result<Arc<PluginHost>> {
    let share = usize::try_from(memory.guests).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.linear_memory = limits.linear_memory.min(share);
    limits.buffers = limits.buffers.min(share);
    let aot_dir = dirs::state(args.state_dir.as_deref())?.map(|state| state.join("aot"));
    let start = |aot_dir| {
        let redactor = logging::redactor();
        let (limits, guest_memory) = (limits.clone(), memory.guests);
        PluginHost::new(PluginHostConfig {
            aot_dir,
            redactor,
            limits,
            guest_memory,
            ..PluginHostConfig::default()
        })
        .map(Arc::new)
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

fn read_config(args: &CommonArgs, memory: Memory) -> ReadConfig {
    let defaults = ReadConfig::default();
    ReadConfig {
        memory: memory.reads,
        siblings: args.prefetch_files.into(),
        keep_kernel: defaults.keep_kernel.min(memory.page_cache),
        keep_disk: defaults.keep_disk.min(args.cache_size.unwrap_or(u64::MAX)),
        ..defaults
    }
}

/// As many connections as the share for bodies has room for: each may hold its own buffer and one piece of a body.
fn net_limits(memory: Memory, mounts: usize) -> NetLimits {
    let mut limits = NetLimits::default();
    let each = 32 * 1024 + limits.read_buffer as u64;
    let room = memory.bodies / each / mounts.max(1) as u64;
    let most = limits.connections_per_origin;
    limits.connections_per_origin = usize::try_from(room).unwrap_or(most).clamp(4, most);
    limits
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
