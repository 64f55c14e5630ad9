//! `wasmount plugin …` as an administrator runs it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::bounded::{SOON, within};
use crate::paths;
use crate::registry::{PASSWORD, Registry};

/// `wasmount plugin …` with a state directory of its own.
#[derive(Debug)]
pub struct Tool {
    state: TempDir,
}

impl Tool {
    /// With an empty one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self { state: tempfile::tempdir()? })
    }

    /// Where it keeps plugins.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(paths::wasmount()?);
        command.arg("plugin").args(arguments);
        if matches!(arguments.first(), Some(&"pull" | &"inspect")) {
            command.arg("--state-dir").arg(self.state.path());
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "WASMOUNT_LOG"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        within("wasmount plugin", SOON, move || command.output())?.context("run wasmount")
    }

    /// Its standard output, when it succeeds.
    ///
    /// # Errors
    /// When it does not.
    pub fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{arguments:?}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The one sentence with which it fails. It names what it was asked for, and shows no secret.
    ///
    /// # Errors
    /// When it succeeds, or shows one.
    pub fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let error = String::from_utf8(output.stderr)?;
        anyhow::ensure!(output.status.code() == Some(1), "{arguments:?}: {:?} {error}", output.status);
        let last = error.lines().last().unwrap_or_default().to_owned();
        anyhow::ensure!(!error.contains(PASSWORD), "a password is shown: {error}");
        Ok(last)
    }
}

/// With `--registry-auth`.
pub fn with_auth<'a>(arguments: &[&'a str], file: &'a str) -> Vec<&'a str> {
    [arguments, &["--registry-auth", file]].concat()
}

/// A field of what the commands print.
///
/// # Errors
/// When there is none.
pub fn field(text: &str, name: &str) -> Result<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in {text}"))?;
    Ok(line.trim().to_owned())
}

/// A built plugin.
///
/// # Errors
/// When it has not been built.
pub fn plugin_file(name: &str) -> Result<String> {
    Ok(paths::plugin(name)?.display().to_string())
}

/// Pushes s3.wasm; returns the pinned reference.
///
/// # Errors
/// When it cannot be pushed.
pub fn push(registry: &Registry, tag: &str, more: &[&str]) -> Result<String> {
    let (file, reference, host) =
        (plugin_file("s3")?, registry.reference(&format!("wasmount/s3:{tag}")), registry.host());
    let mut arguments = vec!["push", &file, &reference];
    if more.is_empty() {
        arguments.extend(["--plain-http-registry", &host]);
    }
    arguments.extend(more);
    field(&Tool::new()?.succeeds(&arguments)?, "pinned")
}

/// The digest of a pinned reference.
///
/// # Errors
/// When it has none.
pub fn digest_of(pinned: &str) -> Result<&str> {
    pinned.split_once('@').map(|(_, digest)| digest).context("a digest")
}

/// Checks that a sentence has all of these parts.
///
/// # Panics
/// When one is missing.
#[track_caller]
pub fn says(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "no {part:?} in: {sentence}");
    }
}
