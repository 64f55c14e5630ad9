//! What is made once and serves all mounts, whichever these are: memory, disk cache, plugin host, network.

use crate::cli::CommonArgs;
use crate::config::resolved::Resolved;
use crate::disk_cache::{self, Labelled};
use crate::failing::FailingSource;
use crate::memory::Memory;
use crate::plugins::load::Loaded;
use crate::{dirs, logging, scheduling};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;
use wasmount_cache::DiskCache;
use wasmount_core::mounts::MountConfig;
use wasmount_core::ports::{BlockCache, NoBlockCache, ProviderSource};
use wasmount_core::read::ReadConfig;
use wasmount_net::{AllowNet, HttpClient, NetLimits, ReachPolicy};
use wasmount_plugin::{Limits, PluginHost, PluginHostConfig};

/// The parts that every mount shares. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Process {
    /// Flags of the command line.
    pub(crate) args: Arc<CommonArgs>,
    /// Where the FUSE mount goes.
    pub(crate) target: PathBuf,
    /// The memory number and its shares.
    pub(crate) memory: Memory,
    /// Bytes on the local disk, if `--cache-dir` says so.
    pub(crate) cache: Option<Arc<DiskCache>>,
    /// Who shares cached bytes.
    pub(crate) namespace: String,
    /// Runs the plugins.
    pub(crate) plugins: Arc<PluginHost>,
    /// The network.
    pub(crate) client: HttpClient,
    /// What plugins may connect to.
    pub(crate) reach: ReachPolicy,
}

impl Process {
    /// Makes the parts. `mounts`: how many mounts there are to begin with ([`Self::shares`]); `implied_rules`: rules that the operator gave
    /// without `--allow-net`.
    ///
    /// # Errors
    /// When what the operator named cannot be used.
    pub(crate) fn start(
        args: CommonArgs,
        target: &Path,
        mounts: usize,
        implied_rules: &[String],
    ) -> anyhow::Result<Self> {
        let runtime = Handle::current();
        let reach = reach_policy(&args.allow_net, implied_rules)?;
        let memory = Memory::new(args.memory)?;
        Ok(Self {
            cache: disk_cache::open(&args, memory, &runtime)?,
            namespace: disk_cache::namespace(&args, target),
            plugins: plugin_host(&args, memory)?,
            client: HttpClient::with_limits(runtime, net_limits(memory, mounts)),
            target: target.to_owned(),
            args: Arc::new(args),
            memory,
            reach,
        })
    }

    /// There are so many mounts now, which share the connections.
    pub(crate) fn shares(&self, mounts: usize) {
        self.client.set_connections_per_origin(net_limits(self.memory, mounts).connections_per_origin);
    }

    /// The disk cache as core sees it.
    pub(crate) fn blocks(&self) -> Arc<dyn BlockCache> {
        match &self.cache {
            Some(cache) => cache.clone(),
            None => Arc::new(NoBlockCache),
        }
    }

    /// Wires a mount up: nothing of it is opened yet.
    pub(crate) fn mount(&self, mount: &Resolved<Loaded>) -> MountConfig {
        let source: Arc<dyn ProviderSource> = match &mount.serves {
            Ok(served) => Arc::new(self.plugins.mount(
                served.plugin.clone(),
                served.spec.clone(),
                self.client.clone(),
                self.reach.clone(),
            )),
            Err(error) => Arc::new(FailingSource::new(mount.id.clone(), error.clone())),
        };
        let source = match &self.cache {
            Some(cache) => {
                let label = format!("{} ({})", mount.mount_point, self.namespace);
                Arc::new(Labelled { source, cache: cache.clone(), label })
            }
            None => source,
        };
        let (id, place, objects) = (mount.id.clone(), mount.place.clone(), mount.files.clone());
        MountConfig { id, place, source, objects }
    }

    /// Reading and read-ahead.
    pub(crate) fn reading(&self) -> ReadConfig {
        let defaults = ReadConfig::default();
        ReadConfig {
            memory: self.memory.reads,
            pipes: defaults.pipes.min(usize::try_from(descriptors() / 16).unwrap_or(usize::MAX)),
            siblings: self.args.prefetch_files.into(),
            keep_kernel: defaults.keep_kernel.min(self.memory.page_cache),
            keep_disk: defaults.keep_disk.min(self.args.cache_size.unwrap_or(u64::MAX)),
            ..defaults
        }
    }
}

/// How many descriptors this process may have open.
fn descriptors() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
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
    // Several at a time, whatever there is.
    limits.read = u32::try_from(share / 8).unwrap_or(u32::MAX).min(limits.read);
    let aot_dir =
        dirs::state(args.state_dir.as_deref(), args.cache_dir.as_deref())?.map(|state| state.join("aot"));
    let start = |aot_dir| {
        let redactor = logging::redactor();
        let (limits, guest_memory, reveal) = (limits.clone(), memory.guests, args.reveal.policy());
        PluginHost::new(PluginHostConfig {
            aot_dir,
            redactor,
            reveal,
            limits,
            guest_memory,
            guest_thread_start: scheduling::wake_up_quietly,
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

/// As many connections as the share for bodies has room for: each may hold its own buffer and one piece of a body.
fn net_limits(memory: Memory, mounts: usize) -> NetLimits {
    let mut limits = NetLimits::default();
    let each = 32 * 1024 + limits.read_buffer as u64;
    let room = memory.bodies / each / mounts.max(1) as u64;
    let most = limits.connections_per_origin;
    limits.connections_per_origin = usize::try_from(room).unwrap_or(most).clamp(4, most);
    limits
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
