//! Which configuration is in force: for metrics, for `.wasmount/config`.

use crate::config::resolved::Resolved;
use crate::plugins::load::Loaded;
use crate::show;
use crate::wire::process::Process;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ConfigStatus {
    generation: AtomicU64,
    refused: AtomicU64,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    in_force: serde_json::Value,
    /// Why what is in the file is something else.
    complaint: Option<String>,
}

impl ConfigStatus {
    /// Nothing is in force yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Which configuration is in force: the first one is 1.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// How many were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What `.wasmount/config` says.
    pub(crate) fn text(&self) -> String {
        let shown = self.lock();
        show::text(&shown.in_force, self.generation(), shown.complaint.as_deref())
    }

    /// Another configuration is in force, with these mounts. Returns its number.
    pub(super) fn in_force(
        &self,
        process: &Process,
        file: Option<&Path>,
        mounts: &[Resolved<Loaded>],
    ) -> u64 {
        *self.lock() = Shown { in_force: show::config(process, file, mounts), complaint: None };
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One was refused. Returns the number of the one in force.
    pub(super) fn refuse(&self, why: &str) -> u64 {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.lock().complaint = Some(why.to_owned());
        self.generation()
    }

    /// What is in the file is what is in force.
    pub(super) fn agreed(&self) {
        self.lock().complaint = None;
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
