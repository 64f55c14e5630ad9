//! What the host wants a plugin to mount.

use std::path::PathBuf;
use std::time::Duration;
use wasmount_net::TlsSettings;
use wasmount_types::MountId;

/// Where an option's value was written. Later cases win over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptionSource {
    /// Environment variable `MOUNT_OPTIONS`, which Fluid fills from profile and runtime.
    Environment,
    /// `runtimeOptions` of config.json.
    Runtime,
    /// `mounts[].options` of config.json: the Dataset's author.
    Mount,
    /// `--option` or `-o` on the command line: the operator. Only these may name files outside the secrets directory.
    Args,
}

impl OptionSource {
    /// How the person who has to change an option calls the place it is written in.
    pub fn place(self) -> &'static str {
        match self {
            Self::Environment => "MOUNT_OPTIONS",
            Self::Runtime => "runtimeOptions",
            Self::Mount => "the mount's options",
            Self::Args => "the command line",
        }
    }
}

/// One option as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct OptionInput {
    /// Its key, canonical or alias.
    pub name: String,
    /// Its value, possibly a path below the secrets directory. May be a secret: has no `Debug`.
    pub value: String,
    /// Who wrote it.
    pub source: OptionSource,
}

/// One mount, before anything is checked against the plugin's option table.
#[derive(Clone)]
pub struct MountSpec {
    /// Its name, unique in this process.
    pub id: MountId,
    /// `mountPoint`: `s3://bucket/prefix`.
    pub mount_point: String,
    /// The element of `mounts[]` as Fluid wrote it. Values of secrets are replaced before the plugin sees it.
    pub entry: serde_json::Value,
    /// Options from all sources, those of the host itself already taken out.
    pub options: Vec<OptionInput>,
    /// PersistentVolume attributes of a `pvc://` mount.
    pub persistent_volume: Option<serde_json::Value>,
    /// Nothing will be written.
    pub read_only: bool,
    /// Unknown options are errors.
    pub strict_options: bool,
    /// Whose cached blocks this mount may share: mounts that are alike in everything else share them if and only if this is equal
    /// too. Chosen by the host program, by default for each Dataset; never by a plugin. `None`: its blocks are not cached.
    pub cache_namespace: Option<String>,
    /// Directory below which option values are files, by default `/etc/fluid/secrets`. A value that begins with
    /// `/etc/fluid/secrets/` is looked up below this directory.
    pub secrets_dir: PathBuf,
    /// Which certificates to trust and to show, and the proxy to use.
    pub tls: TlsSettings,
    /// Options of the host program in force by which `tls` believes others than it would by itself, and who wrote each: where a secret is the operator's,
    /// nobody else may.
    pub trust: Vec<(String, OptionSource)>,
    /// Longest time one request to the origin may take until its head is there.
    pub request_timeout: Duration,
}
