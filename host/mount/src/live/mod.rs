//! The configuration while mounts are in use.
//!
//! Fluid rewrites config.json when a Dataset changes, and kubelet exchanges it under the running process; secrets change in the same way. [`watch`]
//! notices that something may have changed, [`diff`] says what a new configuration means for each mount, [`inputs`] knows the files behind
//! options, and [`Live`] has the mount table follow: a mount about which nothing has changed keeps everything. A configuration that
//! makes no sense changes nothing, and that is said.

mod diff;
mod inputs;
mod status;
mod watch;

pub(crate) use inputs::Inputs;
pub(crate) use status::ConfigStatus;

use crate::config::raw::RawConfig;
use crate::fluid::discover;
use crate::fluid::mounts::Standing;
use crate::logging;
use crate::wire::mounts::{Generation, Workshop, announce, announce_writers};
use crate::wire::process::Process;
use anyhow::{Context, bail};
use diff::Diff;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::mounts::{MountTable, NextMount};
use watch::Watch;

/// The configuration in force, and what it takes to put another one in its place.
pub(crate) struct Live {
    process: Process,
    workshop: Workshop,
    table: Arc<MountTable>,
    /// The configuration in force.
    active: Generation,
    standing: Standing,
    /// Where it comes from; `None`: from the command line, for good.
    file: Option<PathBuf>,
    /// What was found in the file last, in force or not.
    found: Option<RawConfig>,
    /// What is wrong with what is in the file, as it was said.
    complaint: Option<String>,
    inputs: Inputs,
    /// What the kernel was told about how long requests may take.
    request_timeout: Duration,
    status: Arc<ConfigStatus>,
}

impl Live {
    /// From the first configuration on, which is that of the table; `inputs` are those of its mounts.
    pub(crate) fn new(
        process: Process,
        workshop: Workshop,
        table: Arc<MountTable>,
        active: Generation,
        inputs: Inputs,
        file: Option<PathBuf>,
        status: Arc<ConfigStatus>,
    ) -> Self {
        let standing = Standing::default().after(&active.mounts);
        let request_timeout = active.request_timeout;
        let live = Self {
            found: Some(active.config.clone()),
            complaint: None,
            process,
            workshop,
            table,
            active,
            standing,
            file,
            inputs,
            request_timeout,
            status,
        };
        live.status.in_force(&live.process, live.file.as_deref(), &live.active.mounts);
        live
    }

    /// Follows the files until it is dropped.
    ///
    /// # Cancellation safety
    /// A change that has begun takes place.
    pub(crate) async fn follow(mut self) -> Infallible {
        let mut watch = Watch::new();
        loop {
            // Before looking, so that nothing is missed that changes in between.
            watch.observe(self.directories());
            self.look().await;
            watch.changed().await;
        }
    }

    /// Every directory in which something may change that matters.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let parent = |file: &Path| file.parent().map(Path::to_owned);
        let mut directories: BTreeSet<_> = self.inputs.files().filter_map(parent).collect();
        directories.extend(self.file.as_deref().and_then(parent));
        if !self.inputs.is_empty() {
            // A directory of it may come to be.
            directories.insert(self.process.args.secrets_dir.clone());
        }
        directories
    }

    async fn look(&mut self) {
        if let Some(file) = self.file.clone() {
            match self.look_at(file.clone()).await {
                Ok(()) => self.complaint = None,
                Err(error) => self.complain(&file, &error),
            }
        }
        self.inputs = std::mem::take(&mut self.inputs).look(&self.table).await;
    }

    /// Reads the file, and puts what is in it in force if it is new.
    async fn look_at(&mut self, file: PathBuf) -> anyhow::Result<()> {
        let read = tokio::task::spawn_blocking(move || discover::load(Some(&file))).await?;
        let config = match read {
            Ok((_, config)) => config,
            Err(error) => {
                // Whatever comes next is news.
                self.found = None;
                return Err(error.into());
            }
        };
        if self.found.as_ref() == Some(&config) {
            // Nothing new is wrong with it, either.
            return self.complaint.clone().map_or(Ok(()), |known| Err(anyhow::Error::msg(known)));
        }
        self.found = Some(config.clone());
        if config == self.active.config {
            tracing::info!("the configuration is again the one in force");
            self.status.agreed();
            return Ok(());
        }
        self.change_to(config).await
    }

    async fn change_to(&mut self, config: RawConfig) -> anyhow::Result<()> {
        self.workshop.admit(&config)?;
        if let Err(error) = self.workshop.prepare_for(&self.process, &config).await {
            // Not the configuration is wrong, and this may pass without another one: it is new again the next time somebody looks.
            self.found = None;
            return Err(error).context("loading plugins");
        }
        let next = self.workshop.generation(&self.process, config, &self.standing);
        let diff = Diff::new(&self.active.mounts, &next.mounts);
        if let Some(broken) = diff.broken {
            let mount = &next.mounts[broken];
            match &mount.serves {
                Err(error) => bail!("mount `{}`: {error}", mount.id),
                Ok(_) => bail!("mount `{}` cannot have its place", mount.id),
            }
        }
        let mounts = next.mounts.iter().zip(&diff.stays).map(|(mount, stays)| match stays {
            true => NextMount::Same(mount.id.clone()),
            false => NextMount::New(self.process.mount(mount)),
        });
        let mounts = mounts.collect();
        self.table.change(mounts, next.owner).context("laying out the mounts")?;
        self.has_changed(next, &diff);
        Ok(())
    }

    /// Takes note of a change, and says what it means.
    fn has_changed(&mut self, next: Generation, diff: &Diff) {
        let fresh = next.mounts.iter().zip(&diff.stays).filter(|(_, stays)| !**stays);
        announce(fresh.map(|(mount, _)| mount));
        let writers = |generation: &Generation| -> Vec<_> {
            let wants = generation.mounts.iter().filter(|mount| mount.wants_writing);
            wants.map(|mount| mount.id.clone()).collect()
        };
        if writers(&next) != writers(&self.active) {
            announce_writers(&next.mounts);
        }
        let named = self.active.config.target_path.as_deref().map(Path::new);
        if named == Some(&*self.process.target) && next.config.target_path != self.active.config.target_path {
            tracing::warn!(
                target_path = %self.process.target.display(), wanted = next.config.target_path,
                "targetPath has changed; the mount stays where it is until the next start"
            );
        }
        if next.request_timeout > self.request_timeout {
            tracing::warn!(
                seconds = self.request_timeout.as_secs_f64(),
                wanted = next.request_timeout.as_secs_f64(),
                "request-timeout is longer than that of all mounts at the start, which holds until the next start"
            );
        }
        self.standing = std::mem::take(&mut self.standing).after(&next.mounts);
        self.inputs = std::mem::take(&mut self.inputs).keep(Inputs::of(&next.mounts));
        self.active = next;
        self.process.shares(self.active.mounts.len());
        let generation = self.status.in_force(&self.process, self.file.as_deref(), &self.active.mounts);
        tracing::info!(
            generation,
            added = diff.added.join(","),
            removed = diff.removed.join(","),
            changed = diff.changed.join(","),
            "a new configuration is in force"
        );
    }

    /// Says once what is wrong.
    fn complain(&mut self, file: &Path, error: &anyhow::Error) {
        let text = logging::redactor().redact(&format!("{error:#}")).into_owned();
        if self.complaint.as_ref() == Some(&text) {
            return;
        }
        let generation = self.status.refuse(&text);
        tracing::error!(
            file = %file.display(), generation, error = text,
            "this configuration is not put in force; the one before stays, and so do its mounts"
        );
        self.complaint = Some(text);
    }
}
