//! `wasmount plugin …` as an administrator runs it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::bounded::{SOON, within};
use crate::paths;
use crate::registry::{PASSWORD, Registry};

/// `wasmount plugin …` with a state directory of its own, unless the arguments name a directory for a cache.
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

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a OsStr> {
        let mut all: Vec<&OsStr> = [&["plugin"], arguments].concat().into_iter().map(OsStr::new).collect();
        let keeps = matches!(arguments.first(), Some(&"pull" | &"inspect"));
        if keeps && !arguments.contains(&"--cache-dir") {
            all.extend([OsStr::new("--state-dir"), self.state.path().as_os_str()]);
        }
        all
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(paths::wasmount()?);
        command.args(self.arguments(arguments));
        output(command)
    }

    /// What it writes to its standard error, when it succeeds.
    ///
    /// # Errors
    /// When it does not.
    pub fn log(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let error = String::from_utf8(output.stderr)?;
        anyhow::ensure!(output.status.success(), "{arguments:?}: {error}");
        Ok(error)
    }

    /// What a terminal of 120 columns is sent, when it succeeds. The terminal is util-linux' `script`.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn on_terminal(&self, arguments: &[&str]) -> Result<String> {
        let mut line = "stty cols 120 && exec".to_owned();
        for word in std::iter::once(paths::wasmount()?.as_os_str()).chain(self.arguments(arguments)) {
            let word = word.to_str().filter(|word| !word.contains('\'')).context("an argument to quote")?;
            line += &format!(" '{word}'");
        }
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.env("TERM", "xterm").stdin(Stdio::null());
        let output = output(command)?;
        let shown = String::from_utf8(output.stdout)?;
        anyhow::ensure!(output.status.success(), "{arguments:?}: {shown}");
        Ok(shown)
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

fn output(mut command: Command) -> Result<Output> {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "WASMOUNT_LOG"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    within("wasmount plugin", SOON, move || command.output())?.context("run wasmount")
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

/// The same plugin with another digest: a section more, which means nothing to anybody (Binary.md of the component model, custom sections).
///
/// # Errors
/// When it has not been built, or cannot be written.
pub fn another_version(name: &str, to: &Path) -> Result<()> {
    let mut bytes = std::fs::read(paths::plugin(name)?)?;
    // Kind, length, and a name with its length.
    bytes.extend([0, 6, 5]);
    bytes.extend(b"other");
    std::fs::write(to, bytes).context("write a plugin")
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
