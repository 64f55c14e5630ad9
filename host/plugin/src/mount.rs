//! A mount of the Dataset, as a source of providers for the core.

use crate::adapter::v0_1::{
    BlockStoreExports, BlocksProvider, Caller, Exports, FileSystemExports, FilesProvider, MountData,
    ObjectStoreExports, ObjectsProvider, Open, Opened,
};
use crate::cache_identity::Facts;
use crate::engine::Machine;
use crate::grants;
use crate::host::Plugin;
use crate::instance::{Instance, PluginStats, Rights, Slot};
use crate::kind::Kind;
use crate::options::entry::{pairs_without_secrets, without_secrets};
use crate::options::resolve::{Resolved, Resolver};
use crate::reveal::RevealPolicy;
use crate::spec::{MountSpec, OptionSource};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use wasmount_core::ports::{BoxFuture, Provider, ProviderInfo, ProviderSource};
use wasmount_net::{HttpClient, MountNet, ReachPolicy, Redactor, SecretsDir};
use wasmount_types::{Blame, Error, ErrorKind, MountId, RequestCtx};

/// One mount through one plugin.
pub struct PluginMount {
    /// Becomes true when the mount is taken away.
    pub(crate) end: watch::Sender<bool>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) plugin: Arc<Plugin>,
    /// Without the network, which depends on options that may come from files.
    pub(crate) rights: Rights,
    pub(crate) redactor: Redactor,
    pub(crate) reveal: Arc<RevealPolicy>,
    pub(crate) spec: Arc<MountSpec>,
    pub(crate) http: HttpClient,
    pub(crate) policy: ReachPolicy,
}

impl PluginMount {
    /// Checks the options against the plugin's table. Reads the files they name.
    pub(crate) fn resolve(&self) -> Result<Resolved, Error> {
        let spec = &self.spec;
        let secrets = SecretsDir::with_redactor(&spec.secrets_dir, self.redactor.clone());
        let resolver = Resolver {
            mount: &spec.id,
            description: self.plugin.description(),
            secrets: &secrets,
            limits: &self.rights.limits,
            reveal: &self.reveal,
            trust: &spec.trust,
            strict: spec.strict_options,
        };
        resolver.resolve(&spec.options)
    }

    /// Of `runtimeOptions`, what holds for this mount: all else is written for other mounts, and the plugin must not depend on it.
    fn runtime_options(&self) -> Vec<(String, String)> {
        let in_force = self.plugin.description().in_force(&self.spec.options);
        let runtime = in_force
            .iter()
            .map(|written| written.input)
            .filter(|input| input.source == OptionSource::Runtime);
        runtime.map(|input| (input.name.clone(), input.value.clone())).collect()
    }

    /// Checks the options and makes everything an instance gets. Reads files. The last of what it returns awaits the identity that
    /// the plugin claims.
    fn prepare(&self) -> Result<(Open, Vec<String>, Option<Facts>), Error> {
        let (spec, description) = (&self.spec, self.plugin.description());
        let resolved = self.resolve()?;
        let asked = grants::asked(description, &resolved.settings, &spec.mount_point);
        let granted = grants::grants(description, &asked, spec.read_only);
        let facts = spec
            .cache_namespace
            .as_deref()
            .map(|namespace| Facts::new(namespace, self.plugin.digest(), spec, &resolved.settings, &granted));
        let policy = grants::policy(description, &resolved.settings, &asked, &self.policy)
            .map_err(|error| error.context(format_args!("mount {}", spec.id)))?;
        let net = MountNet::new(self.http.clone(), granted, policy, &spec.tls, Some(spec.request_timeout))
            .map_err(|e| e.context(format_args!("mount {}", spec.id)))?;
        // After the secrets have become known to the redactor.
        let hidden =
            |json: &serde_json::Value| without_secrets(description, &self.redactor, json).to_string();
        let mount = MountData {
            id: spec.id.to_string(),
            entry: hidden(&spec.entry),
            runtime_options: pairs_without_secrets(description, &self.redactor, &self.runtime_options()),
            persistent_volume: spec.persistent_volume.as_ref().map(hidden),
            settings: resolved.settings,
            mount_point: spec.mount_point.clone(),
            read_only: spec.read_only,
        };
        let open = Open {
            machine: self.machine.clone(),
            pre: self.plugin.pre.clone(),
            rights: Rights { net: Some(Arc::new(net)), events: Arc::default(), ..self.rights.clone() },
            mount: Arc::new(mount),
        };
        Ok((open, resolved.warnings, facts))
    }

    /// What its instances have done and use.
    pub fn stats(&self) -> PluginStats {
        self.rights.meter.stats()
    }

    async fn open(&self, ctx: RequestCtx) -> Result<(Provider, ProviderInfo), Error> {
        let (open, warnings, facts) = self.prepare()?;
        let deadline = ctx.deadline.min(Instant::now() + self.rights.limits.open);
        let (provider, mut info) = match self.plugin.kind() {
            Kind::Objects => {
                let opened = self.run::<ObjectStoreExports>(&open, deadline).await?;
                let (caller, capabilities) = (self.caller(open, opened.instance)?, opened.capabilities);
                (Provider::Objects(Arc::new(ObjectsProvider { caller, capabilities })), opened.info)
            }
            Kind::Files => {
                let opened = self.run::<FileSystemExports>(&open, deadline).await?;
                let events = open.rights.events.clone();
                let (caller, capabilities) = (self.caller(open, opened.instance)?, opened.capabilities);
                let provider = FilesProvider::new(caller, capabilities, events);
                (Provider::Files(Arc::new(provider)), opened.info)
            }
            Kind::Blocks => {
                let opened = self.run::<BlockStoreExports>(&open, deadline).await?;
                let (caller, capabilities) = (self.caller(open, opened.instance)?, opened.capabilities);
                let caller = Arc::new(caller);
                (Provider::Blocks(Arc::new(BlocksProvider { caller, capabilities })), opened.info)
            }
        };
        info.warnings = warnings.into_iter().chain(info.warnings).collect();
        // Only now: the plugin has shown the mount's credentials to the origin in its `open`.
        info.cache = facts.and_then(|facts| facts.identity(&info.identity));
        Ok((provider, info))
    }

    /// Opens the mount in a first instance.
    async fn run<E: Exports>(&self, open: &Open, deadline: Instant) -> Result<Opened<E>, Error> {
        // On threads that do not share their timers with a guest, and not stopped halfway if the caller leaves.
        let run = open.clone();
        let opened = self.machine.control()?.spawn(async move { run.run::<E>(deadline).await });
        let stopped = |_| Error::new(ErrorKind::Interrupted, Blame::Host, "the plugin host is being stopped");
        // The start of an instance has a time limit of its own, which may end later.
        tokio::time::timeout_at(deadline.into(), opened)
            .await
            .map_err(|_| Error::timed_out(Blame::Plugin, format_args!("opening mount {}", self.spec.id)))?
            .map_err(stopped)?
    }

    /// What a provider calls the plugin through.
    fn caller<E: Exports>(&self, open: Open, first: Arc<Instance<E>>) -> Result<Caller<E>, Error> {
        let (limits, log) = (open.rights.limits.clone(), open.rights.log.clone());
        let memory = open.rights.memory.clone();
        let slot = Slot::new(Arc::new(open), self.machine.control()?, first);
        Ok(Caller { slot, limits, log, memory })
    }
}

impl ProviderSource for PluginMount {
    fn mount(&self) -> &MountId {
        &self.spec.id
    }

    fn open(&self, ctx: RequestCtx) -> BoxFuture<'_, Result<(Provider, ProviderInfo), Error>> {
        Box::pin(self.open(ctx))
    }

    fn end(&self) {
        self.end.send_replace(true);
    }
}
