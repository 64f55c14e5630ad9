//! Flags and commands of everything that speaks to registries.

use crate::cli::{LogArgs, RevealArgs};
use clap::Args;
use std::path::PathBuf;
use wasmount_distribution::{Client, ClientConfig, Limits};

/// How registries are spoken to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegistryArgs {
    /// Credentials of registries: a .dockerconfigjson, as a Kubernetes pull secret has it; read anew for each plugin
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_auth: Option<PathBuf>,
    /// Authorities to trust for plugins' registries and web servers, in PEM [default: bundled roots]
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_ca: Option<PathBuf>,
    /// A registry without TLS; all others are spoken to over https
    #[arg(long, value_name = "HOST[:PORT]", action = clap::ArgAction::Append)]
    pub(crate) plain_http_registry: Vec<String>,
}

impl RegistryArgs {
    /// What speaks to registries; `keys`: the files of `--plugin-key`.
    ///
    /// # Errors
    /// A flag or its file makes no sense.
    pub(crate) fn client(&self, keys: &[PathBuf]) -> wasmount_distribution::Result<Client> {
        Client::new(ClientConfig {
            plain_http: self.plain_http_registry.clone(),
            ca: self.registry_ca.clone(),
            auth: self.registry_auth.clone(),
            keys: keys.to_vec(),
            // No use in fetching what the plugin host then refuses.
            limits: Limits { plugin: wasmount_plugin::Limits::default().component, ..Limits::default() },
        })
    }
}

/// Where fetched plugins are kept, by commands that mount nothing: the rule is that of `run` and `mount`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StateArgs {
    /// Where fetched plugins are kept, and where `run` and `mount` will find them: as it is given to them
    /// [default: `state` in --cache-dir, else /var/lib/wasmount]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// As it is given to `run` and `mount`; only matters where they have no --state-dir
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
}

/// `wasmount plugin inspect`
#[derive(Args, Debug)]
pub(crate) struct PluginInspectArgs {
    /// The component: a file, or a reference as `--plugin` of `run` takes it
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    /// For programs: as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// What `run` would refuse to it.
    #[command(flatten)]
    pub(crate) reveal: RevealArgs,
    /// Accept it only if it is signed by this key (PEM; repeatable)
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    pub(crate) plugin_key: Vec<PathBuf>,
    /// Where a plugin is kept that had to be fetched.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// `wasmount plugin pull`
#[derive(Args, Debug)]
pub(crate) struct PluginPullArgs {
    /// oci://REGISTRY/REPOSITORY with :TAG, @sha256:HEX and #path=FILE as needed, or https://…#sha256=HEX
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    /// Write the plugin to this file as well
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Accept it only if it is signed by this key (PEM; repeatable)
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    pub(crate) plugin_key: Vec<PathBuf>,
    /// Where it is kept.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// `wasmount plugin push`
#[derive(Args, Debug)]
pub(crate) struct PluginPushArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// oci://REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// `wasmount plugin verify`
#[derive(Args, Debug)]
pub(crate) struct PluginVerifyArgs {
    /// oci://REGISTRY/REPOSITORY with :TAG, @sha256:HEX or both
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    /// Public key, as cosign writes it (PEM, ECDSA P-256); one of several is enough
    #[arg(long, value_name = "FILE", required = true, action = clap::ArgAction::Append)]
    pub(crate) plugin_key: Vec<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}
