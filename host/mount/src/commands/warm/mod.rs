//! `wasmount warm`: reads files through a mount until its disk cache has them.
//!
//! Everything goes through the mount itself: it alone knows credentials, versions and what is cached already. Files are read
//! with `O_DIRECT`, so that the kernel's page cache neither hides bytes from the disk cache nor is filled with them.

mod files;
mod progress;
mod rate;

use crate::cli::WarmArgs;
use crate::logging;
use anyhow::{Context, bail};
use files::File;
use progress::{Outcome, Progress};
use rate::Rate;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// Files found ahead of those being read; more wait in the walk.
const FOUND_AHEAD: usize = 10_000;
/// Failures shown one by one.
const SHOWN: usize = 10;

/// Warms the cache.
///
/// # Errors
/// When a path cannot be warmed at all, or some of its files could not be.
pub(crate) async fn run(args: WarmArgs) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let progress = Arc::new(Progress::new(args.quiet));
    let rate = Arc::new(Rate::new(args.limit_rate));
    let (found, mut files) = mpsc::channel(FOUND_AHEAD);
    let walk = {
        let (paths, progress) = (args.paths.clone(), progress.clone());
        tokio::task::spawn_blocking(move || files::walk(&paths, &progress, &found))
    };
    let jobs = Arc::new(Semaphore::new(args.jobs.into()));
    let mut running = JoinSet::new();
    let mut failures = Failures::default();
    while let Some(file) = files.recv().await {
        let permit = jobs.clone().acquire_owned().await.context("the jobs have ended")?;
        let (progress, rate) = (progress.clone(), rate.clone());
        running.spawn_blocking(move || {
            let outcome = file.warm(&progress, &rate);
            drop(permit);
            finished(file, outcome, &progress)
        });
        while let Some(done) = running.try_join_next() {
            done?.into_iter().for_each(|failure| failures.note(failure));
        }
    }
    while let Some(done) = running.join_next().await {
        done?.into_iter().for_each(|failure| failures.note(failure));
    }
    // Whoever waits has given paths, and has to be told of them whatever else has failed.
    failures.put_first(walk.await?);
    progress.finish();
    failures.tell();
    let (count, skipped) = progress.counts();
    if failures.count > 0 {
        bail!("{} files or directories could not be warmed; {count} are in the cache", failures.count);
    }
    if count == 0 {
        tracing::warn!("there is no file below the given paths");
    }
    progress.summary(count, skipped);
    Ok(())
}

/// What could not be warmed, and why: all of it counted, and the first of it told.
#[derive(Default)]
struct Failures {
    count: usize,
    shown: Vec<(PathBuf, anyhow::Error)>,
}

impl Failures {
    fn note(&mut self, failure: (PathBuf, anyhow::Error)) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(failure);
        }
    }

    fn put_first(&mut self, failures: Vec<(PathBuf, anyhow::Error)>) {
        self.count += failures.len();
        self.shown.splice(0..0, failures);
        self.shown.truncate(SHOWN);
    }

    fn tell(&self) {
        for (path, error) in &self.shown {
            tracing::error!("{}: {error:#}", path.display());
        }
        if self.count > self.shown.len() {
            tracing::error!("{} more that are not shown", self.count - self.shown.len());
        }
    }
}

fn finished(
    file: File,
    outcome: anyhow::Result<Outcome>,
    progress: &Progress,
) -> Option<(PathBuf, anyhow::Error)> {
    match outcome {
        Ok(outcome) => {
            progress.file_done(outcome);
            None
        }
        Err(error) => Some((file.path, error)),
    }
}
