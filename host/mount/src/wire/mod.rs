//! Puts the parts together: what the process has once below ([`process`]), the mounts of a configuration above it ([`mounts`]), FUSE
//! on top.

pub(crate) mod mounts;
pub(crate) mod process;

use crate::background::Background;
use crate::cli::CommonArgs;
use crate::config::host_volumes::Reserved;
use crate::config::raw::RawConfig;
use crate::config::sources::Shared;
use crate::live::{ConfigStatus, Inputs, Live};
use crate::scheduling;
use crate::supervise::{self, Signals};
use crate::telemetry::Parts;
use crate::userns;
use anyhow::Context;
use mounts::{Workshop, announce, announce_writers};
use process::Process;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use wasmount_core::FileSystem;
use wasmount_core::control::ControlFs;
use wasmount_core::mounts::{Layout, MountTable, MountTableConfig};
use wasmount_core::ports::{NoStateLog, SystemClock, TokioSpawn};
use wasmount_fuse::{MountOptions, Passthrough};
use wasmount_observe::metrics::{self, Health, Listening, MetricId};
use wasmount_observe::{Metrics, Observer};

/// What `run` and `mount` have found out, each in its own way.
pub(crate) struct Plan {
    /// What to mount.
    pub(crate) config: RawConfig,
    /// The file that `config` was read from, if it is to be watched.
    pub(crate) file: Option<PathBuf>,
    /// Where.
    pub(crate) target: PathBuf,
    /// How places are chosen.
    pub(crate) layout: Layout,
    /// Options from everywhere but the mounts.
    pub(crate) shared: Shared,
    /// What no volume of the Dataset may be mounted over.
    pub(crate) reserved: Reserved,
    /// Rules that the operator gave without `--allow-net`.
    pub(crate) implied_rules: Vec<String>,
    /// Whom to tell when the mount is there, and what to let go of then; `None`: it stays in the foreground.
    pub(crate) background: Option<Background>,
}

/// How long plugins may take to give back what they hold at their servers. Kubernetes kills after 30 s, and the unmount has had its part.
const PLUGINS_END: Duration = Duration::from_secs(8);

/// What is there before the mount is.
struct Prepared {
    process: Process,
    fs: Arc<dyn FileSystem>,
    options: MountOptions,
    metrics: Arc<Metrics>,
    live: Live,
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
    supervise::adopt_orphans().context("signal handlers")?;
    let background = plan.background.clone();
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
    let mounted = Arc::new(mounted?.map_err(userns::explain)?);
    let passthrough = mounted.clone();
    prepared.metrics.collect(move |samples| {
        let on = passthrough.passthrough() == Passthrough::On;
        samples.add(MetricId::PassthroughAvailable, &[], u64::from(on));
    });
    tracing::info!(target_path = %mounted.target().display(), fs_type, "mounted");
    userns::announce();
    if let Some(error) = background.and_then(|background| background.mounted().err()) {
        mounted.unmount()?;
        return Err(error).context("going on in the background");
    }
    let ended = tokio::select! {
        ended = supervise::until_end(&mounted, &mut signals) => ended,
        never = prepared.live.follow() => match never {},
    };
    prepared.process.plugins.shutdown(PLUGINS_END).await;
    if let Some(cache) = prepared.process.cache {
        // What was read last is the most likely to be read again.
        let _ended = tokio::task::spawn_blocking(move || cache.shutdown()).await;
    }
    ended
}

/// Everything up to the mount itself. The mounts begin to open, and nobody waits for them.
async fn prepare(plan: Plan, args: CommonArgs) -> anyhow::Result<Prepared> {
    let runtime = Handle::current();
    let process = Process::start(args, &plan.target, plan.config.mounts.len(), &plan.implied_rules)?;
    let workshop = Workshop::open(&process, &plan).await?;
    let generation = workshop.generation(&process, plan.config, &Default::default());
    announce(generation.mounts.iter());
    announce_writers(&generation.mounts);
    let inputs = Inputs::before_opening(&generation.mounts).await;

    let timeout = generation.request_timeout;
    let table = MountTable::new(
        MountTableConfig {
            mounts: generation.mounts.iter().map(|mount| process.mount(mount)).collect(),
            request_timeout: timeout,
            read: process.reading(),
            cache: process.blocks(),
            owner: generation.owner,
        },
        Arc::new(SystemClock),
        Arc::new(TokioSpawn(runtime.clone())),
        Arc::new(NoStateLog),
    )?;

    let observer = Observer::new();
    let metrics = Metrics::new(observer.clone());
    let status = ConfigStatus::new();
    let parts = Parts {
        table: table.clone(),
        cache: process.cache.clone(),
        plugins: process.plugins.clone(),
        client: process.client.clone(),
        memory: process.memory,
        cache_limit: process.args.cache_size,
        config: status.clone(),
    };
    parts.register(&metrics);
    // The process answers, and its mounts mend themselves: nothing that a restart would improve.
    let health: Health = Arc::new(|| Ok(()));
    let listening = process.args.metrics_addr.and_then(|address| listen(address, &metrics, health, &runtime));
    let shown = status.clone();
    let files = wasmount_observe::control_files(&observer, &metrics, move || shown.text());
    observer.name_nodes_by(table.clone());
    // Not the option `uid`: a Dataset's author must not decide who sees what is read.
    let uid = rustix::process::geteuid().as_raw();
    let fs: Arc<dyn FileSystem> = Arc::new(ControlFs::new(table.clone(), uid, files));

    let mut options = MountOptions::new(plan.target);
    options.thread_start = scheduling::wake_up_at_once;
    options.subtype.clone_from(&process.args.subtype);
    if let Some(background) = plan.background {
        options.source = background.source;
    }
    options.request_timeout = timeout;
    options.passthrough = process.cache.is_some() && !process.args.no_passthrough;
    options.keep_names = !process.args.no_keep_names;
    options.operations = observer;
    let live = Live::new(process.clone(), workshop, table, generation, inputs, plan.file, status);
    Ok(Prepared { process, fs, options, metrics, live, _listening: listening })
}

/// Serves metrics, if the address can be had: pods on a node's network share its ports, and nobody's data should wait for a counter.
fn listen(
    address: SocketAddr,
    metrics: &Arc<Metrics>,
    health: Health,
    runtime: &Handle,
) -> Option<Listening> {
    match metrics::serve(address, metrics.clone(), health, runtime) {
        Ok(listening) => {
            tracing::info!(address = %listening.address(), "metrics are served at /metrics");
            Some(listening)
        }
        Err(error) => {
            tracing::warn!("no metrics are served: {error}");
            None
        }
    }
}
