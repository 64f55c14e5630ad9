//! The plugin host: loads components, once each, and mounts storage through them.

use crate::adapter::v0_1::{LifecycleExports, describe};
use crate::artifact::aot::AotCache;
use crate::artifact::{self, Digest};
use crate::description::{self, Description};
use crate::engine::Machine;
use crate::imports::{self, LogSink};
use crate::instance::{FuelMeter, GuestMemory, GuestState, Instance, Meter, PluginStats, Rights};
use crate::kind::{self, Kind};
use crate::limits::Limits;
use crate::mount::PluginMount;
use crate::reveal::RevealPolicy;
use crate::spec::MountSpec;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wasmount_net::{HttpClient, ReachPolicy, Redactor};
use wasmount_types::{Blame, Error, ErrorKind, MountId};
use wasmtime::component::{InstancePre, Linker};

/// How the plugin host is set up.
#[derive(Clone)]
pub struct PluginHostConfig {
    /// Threads for guests that are described, and for those that do not give other threads back soon enough; all others run
    /// where their mount's sockets are. 2 by default.
    pub guest_threads: usize,
    /// Called on each of them when it starts.
    pub guest_thread_start: fn(),
    /// Limits of each instance.
    pub limits: Limits,
    /// Where compiled plugins are kept: a directory that only this user can write. `None`: each start compiles.
    pub aot_dir: Option<PathBuf>,
    /// Bytes that all instances together may have, half of it for linear memories and connections, half for buffers. A memory that would
    /// grow beyond traps, a buffer fails with `too-large`, as beyond the limits of one instance. 1 GiB by default.
    pub guest_memory: u64,
    /// Secrets of mounts are made known to it; lines and messages of plugins go through it.
    pub redactor: Redactor,
    /// Which secrets the operator lets plugins see. By default all that they ask for.
    pub reveal: RevealPolicy,
    /// Count the fuel of calls, for tests: see [`PluginHost::last_fuel`]. Slows guests down.
    pub count_fuel: bool,
}

impl Default for PluginHostConfig {
    fn default() -> Self {
        Self {
            guest_threads: 2,
            guest_thread_start: || {},
            limits: Limits::default(),
            aot_dir: None,
            guest_memory: 1 << 30,
            redactor: Redactor::new(),
            reveal: RevealPolicy::default(),
            count_fuel: false,
        }
    }
}

/// Runs plugins. Lives as long as its last mount.
pub struct PluginHost {
    machine: Arc<Machine>,
    linker: Linker<GuestState>,
    limits: Arc<Limits>,
    aot: Option<AotCache>,
    redactor: Redactor,
    reveal: Arc<RevealPolicy>,
    fuel: Option<Arc<FuelMeter>>,
    memory: Arc<GuestMemory>,
    meters: Mutex<Vec<(MountId, Arc<Meter>)>>,
}

/// A loaded plugin: compiled, of a known kind, described.
pub struct Plugin {
    pub(crate) pre: InstancePre<GuestState>,
    description: Description,
    digest: Digest,
    kind: Kind,
    path: PathBuf,
    from_cache: bool,
    code: Option<PathBuf>,
}

impl Plugin {
    /// What it says about itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What it is, whatever it says about itself.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The kind of storage it serves.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Names of the interfaces it imports, and of those it exports.
    pub fn interfaces(&self) -> (Vec<String>, Vec<String>) {
        let component = self.pre.component();
        let (ty, engine) = (component.component_type(), component.engine());
        let names = |name: &str| name.to_owned();
        (
            ty.imports(engine).map(|(name, _)| names(name)).collect(),
            ty.exports(engine).map(|(name, _)| names(name)).collect(),
        )
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its compiled code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// The file of its compiled code, if that is kept for other starts.
    pub fn code(&self) -> Option<&Path> {
        self.code.as_deref()
    }
}

impl PluginHost {
    /// Starts the host's threads.
    ///
    /// # Errors
    /// `invalid`: the directory for compiled plugins is not safe; `other`: threads cannot be started.
    pub fn new(config: PluginHostConfig) -> Result<Self, Error> {
        let aot = config.aot_dir.as_deref().map(AotCache::open).transpose()?;
        let machine = Arc::new(Machine::start(&config)?);
        let mut linker = Linker::new(&machine.engine);
        imports::link(&mut linker).map_err(|e| {
            Error::new(
                ErrorKind::Other,
                Blame::Host,
                format!("the imports of plugins cannot be linked: {e:#}"),
            )
        })?;
        let memory = GuestMemory::new(config.guest_memory, &config.limits);
        let limits = Limits { read: memory.longest_read(), ..config.limits };
        Ok(Self {
            machine,
            linker,
            limits: Arc::new(limits),
            aot,
            redactor: config.redactor,
            reveal: Arc::new(config.reveal),
            fuel: config.count_fuel.then(Arc::default),
            memory,
            meters: Mutex::default(),
        })
    }

    /// Closes all instances, so that their plugins give back what they hold at their servers, and waits for that, up to `limit`. For the end
    /// of the process: what is asked of a mount afterwards fails.
    pub async fn shutdown(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.machine.shutdown.close_all()).await.is_err() {
            tracing::warn!(
                ?limit,
                "a plugin does not end in time; what it holds at its server may be missed by others for a while"
            );
        }
    }

    /// Loads a component: reads, compiles, checks its type, and asks it who it is, in an instance without any right.
    /// Blocks; bounded by the time to compile and [`Limits::describe`].
    ///
    /// # Errors
    /// Names the file and says what is wrong with it.
    pub fn load(&self, path: &Path) -> Result<Arc<Plugin>, Error> {
        let artifact = artifact::load(&self.machine.engine, path, &self.limits, self.aot.as_ref())?;
        let named = |what: String| {
            Error::new(ErrorKind::Invalid, Blame::Plugin, format!("plugin {}: {what}", path.display()))
        };
        let ty = artifact.component.component_type();
        let engine = &self.machine.engine;
        let kind = kind::of(
            path,
            ty.imports(engine).map(|(name, _)| name),
            ty.exports(engine).map(|(name, _)| name),
        )?;
        let pre = self
            .linker
            .instantiate_pre(&artifact.component)
            .map_err(|e| named(format!("its imports do not fit this host: {e:#}")))?;
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let rights = self.rights(&name, "-");
        let description = self
            .describe(pre.clone(), rights)
            .map_err(|e| e.context(format_args!("plugin {}", path.display())))?;
        description::check(&description).map_err(|what| named(format!("its description {what}")))?;
        Ok(Arc::new(Plugin {
            pre,
            description,
            digest: artifact.digest,
            kind,
            path: path.to_owned(),
            from_cache: artifact.cached,
            code: artifact.code,
        }))
    }

    fn rights(&self, plugin: &str, mount: &str) -> Rights {
        let log = LogSink::new(plugin, mount, self.redactor.clone(), &self.limits);
        Rights {
            limits: self.limits.clone(),
            net: None,
            log: Arc::new(log),
            events: Arc::default(),
            memory: self.memory.clone(),
            meter: Arc::default(),
            ending: watch::channel(false).1,
            fuel: self.fuel.clone(),
        }
    }

    fn describe(&self, pre: InstancePre<GuestState>, rights: Rights) -> Result<Description, Error> {
        let machine = self.machine.clone();
        let limit = self.limits.describe;
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        // A task of its own: this function may be called inside and outside of a runtime.
        self.machine.control()?.spawn(async move {
            let described = async {
                let instance = Instance::<LifecycleExports>::start(&machine, pre, rights).await?;
                let description = describe(&instance, Instant::now() + limit).await;
                // `close` belongs to an opened mount.
                instance.kill("described");
                description
            };
            let _ = reply.send(described.await);
        });
        let slack = Duration::from_secs(1);
        answer
            .recv_timeout(limit.saturating_mul(2) + slack)
            .unwrap_or_else(|_| Err(Error::timed_out(Blame::Plugin, "describing itself")))
    }

    /// A mount through this plugin. Nothing is read or opened yet; that is what [`ProviderSource::open`] is for.
    ///
    /// An endpoint that the operator wrote on the command line is reachable whatever `policy` says.
    ///
    /// [`ProviderSource::open`]: wasmount_core::ports::ProviderSource::open
    pub fn mount(
        &self,
        plugin: Arc<Plugin>,
        spec: MountSpec,
        http: HttpClient,
        policy: ReachPolicy,
    ) -> PluginMount {
        let mut rights = self.rights(&plugin.description.name, spec.id.as_str());
        rights.meter = self.meter(&spec.id);
        let end = watch::Sender::new(false);
        rights.ending = end.subscribe();
        PluginMount {
            end,
            machine: self.machine.clone(),
            rights,
            redactor: self.redactor.clone(),
            reveal: self.reveal.clone(),
            plugin,
            spec: Arc::new(spec),
            http,
            policy,
        }
    }

    /// Figures of all mounts together, since the start.
    pub fn stats(&self) -> PluginStats {
        self.meters().iter().map(|(_, meter)| meter.stats()).fold(PluginStats::default(), PluginStats::plus)
    }

    /// Figures of each mount that there is, in the order in which they were made.
    pub fn stats_by_mount(&self) -> Vec<(MountId, PluginStats)> {
        let meters = self.meters();
        let used = meters.iter().filter(|(_, meter)| Arc::strong_count(meter) > 1);
        used.map(|(mount, meter)| (mount.clone(), meter.stats())).collect()
    }

    /// Counts for a mount, on from where one of the same name has counted before. Those of mounts that are gone are no longer kept then.
    fn meter(&self, mount: &MountId) -> Arc<Meter> {
        let mut meters = self.meters();
        meters.retain(|(other, meter)| other == mount || Arc::strong_count(meter) > 1);
        if let Some((_, meter)) = meters.iter().find(|(other, _)| other == mount) {
            return meter.clone();
        }
        let meter = Arc::<Meter>::default();
        meters.push((mount.clone(), meter.clone()));
        meter
    }

    fn meters(&self) -> MutexGuard<'_, Vec<(MountId, Arc<Meter>)>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fuel of the call that ended last; `None` unless it is counted.
    pub fn last_fuel(&self) -> Option<u64> {
        self.fuel.as_ref().map(|meter| meter.last())
    }
}
