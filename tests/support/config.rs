//! What Fluid hands to a FUSE container: a `config.json` and a directory of secrets.
//!
//! Values of `config.json` name secrets by `/etc/fluid/secrets/<secret>/<key>`. The program is told by
//! `--secrets-dir` to look elsewhere for that prefix, so a test writes nothing outside its own directory and the
//! paths inside the configs stay as Fluid writes them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Prefix of secret values in `config.json`.
pub const SECRETS: &str = "/etc/fluid/secrets";

/// One container's files, removed when dropped.
#[derive(Debug)]
pub struct FluidFiles {
    dir: TempDir,
}

impl FluidFiles {
    /// A directory with an empty configuration.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("wasmount-test-")
            .tempdir()
            .context("make a temporary directory")?;
        for sub in ["config", "secrets", "cache", "state"] {
            std::fs::create_dir(dir.path().join(sub)).with_context(|| format!("make {sub}"))?;
        }
        let files = Self { dir };
        files.write_config(
            &json!({"mounts": [], "targetPath": files.target(), "accessModes": ["ReadOnlyMany"]}),
        )?;
        Ok(files)
    }

    /// The directory that holds it all.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The file for `--config`.
    pub fn config_file(&self) -> PathBuf {
        self.root().join("config/config.json")
    }

    /// The directory for `--secrets-dir`.
    pub fn secrets_dir(&self) -> PathBuf {
        self.root().join("secrets")
    }

    /// The mount point. It does not exist before the first mount: the program makes it, as in a real container.
    pub fn target(&self) -> PathBuf {
        self.root().join("runtime-mnt/thin-fuse")
    }

    /// Writes one key of a secret, and returns the value by which `config.json` names it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_secret(&self, secret: &str, key: &str, value: &str) -> Result<String> {
        let dir = self.secrets_dir().join(secret);
        std::fs::create_dir_all(&dir).context("make a secret's directory")?;
        // Replaced by rename, as the kubelet does it: no reader sees half a value.
        let new = dir.join(format!("..new-{key}"));
        std::fs::write(&new, value).context("write a secret")?;
        std::fs::rename(&new, dir.join(key)).context("write a secret")?;
        Ok(format!("{SECRETS}/{secret}/{key}"))
    }

    /// Writes `config.json` as Fluid does: on one line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self, config: &Value) -> Result<()> {
        std::fs::write(self.config_file(), config.to_string()).context("write config.json")
    }

    /// Writes a configuration of these mounts, read-only, at [`Self::target`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_mounts(&self, mounts: &[Value]) -> Result<()> {
        self.write_config(
            &json!({"mounts": mounts, "targetPath": self.target(), "accessModes": ["ReadOnlyMany"]}),
        )
    }

    /// Takes a configuration that real Fluid produced, with the target path replaced and each string in `replace`
    /// substituted where it is a mount point or an option's value.
    ///
    /// # Errors
    /// When the fixture cannot be read or is no such configuration.
    pub fn write_golden(&self, fixture: &Path, replace: &[(&str, &str)]) -> Result<()> {
        let text =
            std::fs::read_to_string(fixture).with_context(|| format!("cannot read {}", fixture.display()))?;
        let mut config: Value = serde_json::from_str(&text).context("a golden config is JSON")?;
        let object = config.as_object_mut().context("a golden config is an object")?;
        object.insert("targetPath".to_owned(), json!(self.target()));
        for mount in object.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
            let substitute = |value: &mut Value| {
                if let Some((_, to)) = replace.iter().find(|(from, _)| *value == *from) {
                    *value = json!(to);
                }
            };
            mount.get_mut("mountPoint").into_iter().for_each(substitute);
            let options = mount.get_mut("options").and_then(Value::as_object_mut);
            options.into_iter().flatten().map(|(_, value)| value).for_each(substitute);
        }
        self.write_config(&config)
    }
}

/// Options as a Dataset has them.
pub fn options(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A mount of the hostile plugin, as a Dataset has it.
pub fn hostile(name: &str, pairs: &[(&str, &str)]) -> Value {
    json!({"mountPoint": "hostile://x", "name": name, "options": options(pairs)})
}
