//! Makes an instance and opens a mount in it.

use super::check::Checker;
use super::{Exports, convert, lifecycle, types};
use crate::bindings::v0_1::host::wasmount::plugin::options as wit_options;
use crate::engine::Machine;
use crate::imports::body::Held;
use crate::imports::{Buffer, GuestSecret};
use crate::instance::{BoxOpen, Failure, GuestState, Instance, Job, Opener, Rights, call, invoke};
use crate::options::{Plain, Setting, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_core::ports::ProviderInfo;
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::InstancePre;

/// Most warnings of a plugin that are kept.
const WARNINGS: usize = 16;

/// What a plugin is told when its mount is opened, as often as that is needed.
pub(crate) struct MountData {
    pub(crate) id: String,
    /// JSON without secrets.
    pub(crate) entry: String,
    pub(crate) runtime_options: Vec<(String, String)>,
    /// JSON without secrets.
    pub(crate) persistent_volume: Option<String>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) mount_point: String,
    pub(crate) read_only: bool,
}

/// An instance with an open mount.
pub(crate) struct Opened<E: Exports> {
    pub(crate) instance: Arc<Instance<E>>,
    pub(crate) info: ProviderInfo,
    pub(crate) capabilities: E::Capabilities,
}

/// Everything needed to open a mount again.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) machine: Arc<Machine>,
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) rights: Rights,
    pub(crate) mount: Arc<MountData>,
}

impl Open {
    /// Opens in a fresh instance.
    ///
    /// # Errors
    /// The plugin's own, or what is wrong with the plugin.
    pub(crate) async fn run<E: Exports>(&self, deadline: Instant) -> Result<Opened<E>, Error> {
        let instance = Instance::<E>::start(&self.machine, self.pre.clone(), self.rights.clone()).await?;
        let opened = self.open_in(&instance, deadline).await;
        match opened {
            Ok((info, capabilities)) => Ok(Opened { instance, info, capabilities }),
            Err(error) => {
                // There is nothing to `close`.
                instance.kill("its mount could not be opened");
                Err(error)
            }
        }
    }

    async fn open_in<E: Exports>(
        &self,
        instance: &Arc<Instance<E>>,
        deadline: Instant,
    ) -> Result<(ProviderInfo, E::Capabilities), Error> {
        let plugin = self.rights.log.plugin();
        let answer = call(instance, deadline, |state, reply| -> Job<E> {
            let mount = self.mount.clone();
            Box::new(move |acc, exports: &E| {
                Box::pin(async move {
                    if !state.start() {
                        return Ok(());
                    }
                    let mount = acc.with(|mut access| told(access.get(), &mount))?;
                    let answer = invoke(acc, &exports.lifecycle().open, (mount,), &state).await?;
                    let _ = reply.send(answer);
                    Ok(())
                })
            })
        });
        let info = match answer.await {
            Ok(answer) => answer.map_err(|error| convert::error(error, &self.rights.log))?,
            Err(Failure::Lost(reason)) => {
                let text = format!("plugin {plugin} trapped while it opened the mount: {reason}");
                return Err(Error::new(ErrorKind::Other, Blame::Plugin, text));
            }
            Err(Failure::TimedOut { waiting }) => {
                let blame = if waiting { Blame::Origin } else { Blame::Plugin };
                return Err(Error::timed_out(blame, format_args!("opening mount {}", self.mount.id)));
            }
        };
        self.checked::<E>(info)
    }

    fn checked<E: Exports>(&self, info: lifecycle::Info) -> Result<(ProviderInfo, E::Capabilities), Error> {
        let (limits, log) = (&self.rights.limits, &self.rights.log);
        let checker = Checker { limits, log };
        let capabilities = E::capabilities(info.capabilities, &checker)?;
        if info.identity.is_empty() || info.identity.len() > limits.message {
            return Err(checker.corrupt(format_args!("an identity of {} bytes", info.identity.len())));
        }
        let warnings = info.warnings.iter().take(WARNINGS).map(|warning| log.clean(warning)).collect();
        let info =
            ProviderInfo { identity: info.identity, title: log.clean(&info.title), warnings, cache: None };
        Ok((info, capabilities))
    }
}

impl<E: Exports> Opener<E> for Open {
    fn open(&self, deadline: Instant) -> BoxOpen<E> {
        let open = self.clone();
        if *open.rights.ending.borrow() {
            let text = format!("mount {} was taken away or changed", self.mount.id);
            return Box::pin(std::future::ready(Err(Error::new(ErrorKind::Interrupted, Blame::Host, text))));
        }
        Box::pin(async move { Ok(open.run::<E>(deadline).await?.instance) })
    }

    fn limit(&self) -> Duration {
        self.rights.limits.open
    }

    fn plugin(&self) -> &str {
        self.rights.log.plugin()
    }

    fn ended(&self) {
        self.rights.events.begin_anew();
    }
}

/// The mount in the words of the contract, with handles of this instance.
fn told(state: &mut GuestState, mount: &MountData) -> wasmtime::Result<lifecycle::Mount> {
    let settings = mount.settings.iter().map(|s| setting(state, s)).collect::<wasmtime::Result<_>>()?;
    let pair = |(name, value): &(String, String)| types::Pair { name: name.clone(), value: value.clone() };
    Ok(lifecycle::Mount {
        id: mount.id.clone(),
        entry: mount.entry.clone(),
        runtime_options: mount.runtime_options.iter().map(pair).collect(),
        persistent_volume: mount.persistent_volume.clone(),
        settings,
        mount_point: mount.mount_point.clone(),
        read_only: mount.read_only,
        resume: None,
    })
}

fn setting(state: &mut GuestState, setting: &Setting) -> wasmtime::Result<wit_options::OptionSetting> {
    let value = match &setting.value {
        Value::Plain(Plain::Text(text)) => wit_options::OptionValue::Text(text.clone()),
        Value::Plain(Plain::Integer(number)) => wit_options::OptionValue::Integer(*number),
        Value::Plain(Plain::Boolean(is)) => wit_options::OptionValue::Boolean(*is),
        Value::Plain(Plain::Size(bytes)) => wit_options::OptionValue::Size(*bytes),
        Value::Plain(Plain::DurationMs(ms)) => wit_options::OptionValue::DurationMs(*ms),
        Value::Plain(Plain::Endpoints(endpoints, _)) => {
            let endpoint = |e: &crate::options::Endpoint| wit_options::Endpoint {
                protocol: e.protocol.clone(),
                host: e.host.clone(),
                port: e.port,
                path: e.path.clone(),
            };
            wit_options::OptionValue::Endpoints(endpoints.iter().map(endpoint).collect())
        }
        Value::Secret { secret, reveal } => {
            let secret = GuestSecret { secret: secret.clone(), name: setting.name.clone(), reveal: *reveal };
            wit_options::OptionValue::Secret(state.table.push(secret)?)
        }
        Value::Content(bytes) => {
            let held = Held { bytes: bytes.clone(), charge: None };
            wit_options::OptionValue::Content(state.table.push(Buffer::new(held))?)
        }
    };
    Ok(wit_options::OptionSetting { name: setting.name.clone(), value, explicit: setting.explicit() })
}
