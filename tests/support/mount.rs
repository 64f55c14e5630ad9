//! The program under test, running in the foreground with a mount of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};

use crate::bounded::{RECOVERY, SOON, wait_for};
use crate::config::FluidFiles;
use crate::mountinfo::{self, Entry};
use crate::paths;
use crate::process::{Log, Process};

/// How to start `wasmount`; see [`Launch::run`] and [`Launch::mount`].
#[derive(Debug)]
pub struct Launch {
    /// What runs the program, with its arguments.
    under: Vec<OsString>,
    arguments: Vec<OsString>,
    target: PathBuf,
}

impl Launch {
    /// `wasmount run` on these files, with the S3 plugin and loopback allowed (a Dataset cannot allow it itself).
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn run(files: &FluidFiles) -> Result<Self> {
        let run = Self::bare_run(files).arg("--plugin").arg(paths::plugin("s3")?).allow_loopback();
        Ok(run.shared_state())
    }

    /// `wasmount run` on these files without any plugin or grant.
    pub fn bare_run(files: &FluidFiles) -> Self {
        Self { under: vec![], arguments: vec!["run".into()], target: files.target() }
            .arg("--config")
            .arg(files.config_file())
            .arg("--secrets-dir")
            .arg(files.secrets_dir())
            .own_directories(files.root())
    }

    /// `wasmount mount SOURCE TARGET` with the S3 plugin and loopback allowed; `scratch` is an existing directory
    /// for its cache and state.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn mount(source: &str, target: &Path, scratch: &Path) -> Result<Self> {
        Self::mount_with("s3", source, target, scratch)
    }

    /// The same with another plugin of `target/plugins`.
    ///
    /// # Errors
    /// When the plugin has not been built.
    pub fn mount_with(plugin: &str, source: &str, target: &Path, scratch: &Path) -> Result<Self> {
        let launch = Self { under: vec![], arguments: vec!["mount".into()], target: target.to_path_buf() };
        let launch = launch.arg(source).arg(target).arg("--plugin").arg(paths::plugin(plugin)?);
        Ok(launch.allow_loopback().own_directories(scratch).shared_state())
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Gives another value to an argument that is there already.
    #[must_use]
    pub fn replace_arg(mut self, name: &str, value: impl Into<OsString>) -> Self {
        let at = self.arguments.iter().position(|argument| argument == name);
        if let Some(old) = at.and_then(|at| self.arguments.get_mut(at + 1)) {
            *old = value.into();
        }
        self
    }

    /// Takes an argument and its value away again.
    #[must_use]
    pub fn without_arg(mut self, name: &str) -> Self {
        if let Some(at) = self.arguments.iter().position(|argument| argument == name) {
            self.arguments.drain(at..(at + 2).min(self.arguments.len()));
        }
        self
    }

    /// Lets another program run it, which must become it (`exec`), such as `nsenter`.
    #[must_use]
    pub fn under(mut self, program: &str, arguments: &[&str]) -> Self {
        self.under = std::iter::once(program).chain(arguments.iter().copied()).map(OsString::from).collect();
        self
    }

    /// Adds `-o KEY=VALUE` (for `wasmount mount`).
    #[must_use]
    pub fn option(self, key: &str, value: &str) -> Self {
        self.arg("-o").arg(format!("{key}={value}"))
    }

    /// Adds `--option KEY=VALUE`, whose value may have commas.
    #[must_use]
    pub fn long_option(self, key: &str, value: &str) -> Self {
        self.arg("--option").arg(format!("{key}={value}"))
    }

    fn allow_loopback(self) -> Self {
        self.arg("--allow-net").arg("127.0.0.1")
    }

    /// The disk is somebody else's: how full it is decides nothing here, while a cache by default leaves a tenth free.
    fn own_directories(self, root: &Path) -> Self {
        self.arg("--cache-min-free")
            .arg("0")
            .arg("--cache-dir")
            .arg(root.join("cache"))
            .arg("--state-dir")
            .arg(root.join("state"))
    }

    /// Compiled code is the same for all tests, and to compile a plugin takes seconds.
    #[must_use]
    pub fn shared_state(self) -> Self {
        self.replace_arg("--state-dir", paths::state())
    }

    /// Starts the program and does not wait for its mount.
    ///
    /// # Errors
    /// When it has not been built or cannot be run.
    pub fn spawn(self) -> Result<Mount> {
        if !Path::new("/dev/fuse").exists() {
            bail!("no /dev/fuse: these tests mount for real");
        }
        let mut words = self.under;
        words.push(paths::wasmount()?.into_os_string());
        let (program, arguments) = words.split_first().context("a program")?;
        let process = Process::start(Path::new(program), |command| {
            command.args(arguments).args(&self.arguments);
            // A proxy of the machine must not come between the program and 127.0.0.1.
            let own = ["MOUNT_OPTIONS", "WASMOUNT_LOG", "WASMOUNT_PLUGIN"];
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].into_iter().chain(own) {
                command.env_remove(name).env_remove(name.to_lowercase());
            }
            // What a test that fails prints can be made more.
            if let Some(level) = std::env::var_os("WASMOUNT_TEST_LOG") {
                command.env("WASMOUNT_LOG", level);
            }
        })?;
        Ok(Mount { process, target: self.target })
    }

    /// Starts the program and waits until the kernel's table shows its mount.
    ///
    /// # Errors
    /// When it ends or does not mount in time; the message carries its log.
    pub fn start(self) -> Result<Mount> {
        let mut mount = self.spawn()?;
        mount.wait_mounted()?;
        Ok(mount)
    }
}

/// A running `wasmount`. Dropping it stops the process and removes the mount, whatever state both are in.
#[derive(Debug)]
pub struct Mount {
    /// The process; public so that a test can signal it.
    pub process: Process,
    target: PathBuf,
}

impl Mount {
    /// The mount point.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A path below the mount point.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.target.join(relative)
    }

    /// Its log so far.
    pub fn log(&self) -> &Log {
        &self.process.log
    }

    /// The one mount at the target.
    ///
    /// # Errors
    /// When there is none, or several are stacked.
    pub fn entry(&self) -> Result<Entry> {
        let mut entries = mountinfo::at(&self.target)?;
        match (entries.pop(), entries.len()) {
            (Some(entry), 0) => Ok(entry),
            (_, others) => bail!("{others} other mounts at {}", self.target.display()),
        }
    }

    /// Waits until exactly one live mount of this process is at the target.
    ///
    /// # Errors
    /// When the process ends first, or not in time; the message carries its log.
    pub fn wait_mounted(&mut self) -> Result<()> {
        let log = self.process.log.clone();
        let target = self.target.clone();
        let ended = wait_for("the mount", RECOVERY, || {
            if let Some(status) = self.process.ended() {
                return Some(Some(status));
            }
            // A dead predecessor's mount is in the table too. A stat of its root may come from the kernel's cache,
            // but statfs always asks the server.
            let one = mountinfo::at(&target).is_ok_and(|entries| entries.len() == 1);
            (one && rustix::fs::statvfs(&target).is_ok()).then_some(None)
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                bail!("wasmount ended with {status} before it had mounted; its log:\n{}", log.text())
            }
            Err(error) => Err(error.context(format!("its log:\n{}", log.text()))),
        }
    }

    /// Unmounts from outside, as Fluid's preStop hook does.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmount_from_outside(&self) -> Result<()> {
        Ok(unmount(&self.target, UnmountFlags::empty())?)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end within [`SOON`]; the message carries its log.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait(SOON)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A test that fails by its result does not panic; of one that passes nobody sees what it printed.
        eprintln!("--- log of wasmount at {}\n{}---", self.target.display(), self.process.log.text());
        self.process.stop(Duration::from_secs(15));
        // Whatever it has left, including what is stacked; the bound guards against a table that never empties.
        for _ in 0..8 {
            if mountinfo::at(&self.target).map_or(true, |entries| entries.is_empty()) {
                break;
            }
            let _ = unmount(&self.target, UnmountFlags::DETACH);
        }
    }
}
