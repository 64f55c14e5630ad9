//! The files of the control directory.

use crate::access_log::AccessLog;
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::stats;
use std::sync::Arc;
use std::time::Instant;
use wasmount_core::control::{Content, ControlFile, TextFile};
use wasmount_types::{Error, Name};

/// `accesslog`, `slow`, `stats` and `config`, for [`ControlFs`](wasmount_core::control::ControlFs).
///
/// `config` makes the text of the file of that name at each open; it must not contain secrets.
pub fn control_files(
    observer: &Arc<Observer>,
    metrics: &Arc<Metrics>,
    config: impl Fn() -> String + Send + Sync + 'static,
) -> Vec<(Name, Arc<dyn ControlFile>)> {
    let log = AccessLogFile(observer.access_log().clone());
    let (observer, metrics) = (observer.clone(), metrics.clone());
    let files: [(&str, Arc<dyn ControlFile>); 4] = [
        ("accesslog", Arc::new(log)),
        ("slow", Arc::new(TextFile(move || observer.slow().render(Instant::now())))),
        ("stats", Arc::new(TextFile(move || stats::render(&metrics)))),
        ("config", Arc::new(TextFile(config))),
    ];
    files.into_iter().filter_map(|(name, file)| Some((Name::new(name.as_bytes()).ok()?, file))).collect()
}

/// The access log, from the open on.
struct AccessLogFile(Arc<AccessLog>);

impl ControlFile for AccessLogFile {
    fn open(&self) -> Result<Content, Error> {
        Ok(Content::Stream(Box::new(self.0.subscribe()?)))
    }
}
