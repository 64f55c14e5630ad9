//! Is told of every operation, and counts, logs and ranks it.

use crate::access_log::{self, AccessLog};
use crate::metrics::counters::{Counters, Totals};
use crate::slow::SlowPaths;
use crate::words::Blamed;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use wasmount_core::FileSystem;
use wasmount_core::control::is_control;
use wasmount_core::ports::{Operation, Operations};
use wasmount_types::Ino;

/// Counts every operation, writes it to the access log while somebody reads that, and remembers slow paths.
///
/// Operations on the control directory are left out: reading the access log would fill it, and its waiting would look like latency.
pub struct Observer {
    counters: Counters,
    log: Arc<AccessLog>,
    slow: SlowPaths,
    names: OnceLock<Arc<dyn FileSystem>>,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            counters: Counters::new(),
            log: Arc::default(),
            slow: SlowPaths::new(Instant::now()),
            names: OnceLock::new(),
        })
    }

    /// Lets `fs` say the paths of nodes from now on, by [`FileSystem::path`]. Until then, and for nodes it has forgotten, numbers
    /// stand for them. Only the first call counts.
    pub fn name_nodes_by(&self, fs: Arc<dyn FileSystem>) {
        // A second file system would know other nodes; the program has one.
        let _ = self.names.set(fs);
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counters.totals()
    }

    pub(crate) fn access_log(&self) -> &Arc<AccessLog> {
        &self.log
    }

    pub(crate) fn slow(&self) -> &SlowPaths {
        &self.slow
    }

    fn path(&self, ino: Ino) -> Option<String> {
        self.names.get().and_then(|fs| fs.path(ino))
    }

    /// The path of a node, fit to be shown.
    fn shown_path(&self, ino: Ino) -> Arc<str> {
        match self.path(ino) {
            Some(path) => {
                let mut shown = String::with_capacity(path.len() + 1);
                shown.push('/');
                access_log::escape(&mut shown, path.as_bytes());
                shown.into()
            }
            None => format!("<{ino}>").into(),
        }
    }
}

impl Operations for Observer {
    fn finished(&self, operation: &Operation<'_>) {
        if is_control(operation.ino) {
            return;
        }
        let blamed = Blamed::of(operation);
        let nanos = u64::try_from(operation.latency.as_nanos()).unwrap_or(u64::MAX);
        self.counters.count(operation, nanos, blamed);
        if let Some(time) = SlowPaths::weigh(operation.latency) {
            self.slow.add(operation, blamed, time, Instant::now(), || self.shown_path(operation.ino));
        }
        if self.log.is_read() {
            let path = self.path(operation.ino);
            self.log.publish(access_log::format(operation, path.as_deref(), blamed));
        }
    }
}
