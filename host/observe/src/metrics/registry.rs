//! Puts what was counted and what is collected together.

use super::process;
use super::snapshot::{Samples, Snapshot};
use super::table::MetricId;
use crate::observer::Observer;
use crate::words::{BLAMED, OPS, RESULTS, SOURCES};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

type Collector = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// All metrics of the process.
pub struct Metrics {
    observer: Arc<Observer>,
    collectors: Mutex<Vec<Collector>>,
    since: SystemTime,
    fault_logged: AtomicBool,
}

impl Metrics {
    /// Metrics with what `observer` counts.
    pub fn new(observer: Arc<Observer>) -> Arc<Self> {
        Arc::new(Self {
            observer,
            collectors: Mutex::default(),
            since: SystemTime::now(),
            fault_logged: AtomicBool::new(false),
        })
    }

    /// Lets `collector` add values whenever somebody wants to know. It must return at once, without waiting for anything: it
    /// may run on a thread that serves requests.
    pub fn collect(&self, collector: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(collector));
    }

    /// All values as they are now. What a collector gives that does not fit the table is logged once.
    pub fn snapshot(&self) -> Snapshot {
        let mut samples = Samples::default();
        self.observed(&mut samples);
        process::collect(&mut samples);
        for collector in &*self.collectors.lock().unwrap_or_else(PoisonError::into_inner) {
            collector(&mut samples);
        }
        let snapshot = samples.finish();
        if let [first, ..] = snapshot.faults()
            && !self.fault_logged.swap(true, Ordering::Relaxed)
        {
            tracing::error!(fault = first, "a metric is missing; please report it");
        }
        snapshot
    }

    /// How long ago observing began.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }

    /// Series of operations that never happened are left out, but for reads, so that rates of bytes have a beginning.
    fn observed(&self, samples: &mut Samples) {
        let totals = self.observer.totals();
        for (op, sums) in OPS.iter().zip(&totals.ops) {
            if sums.latency.count() == 0 {
                continue;
            }
            for (index, (result, count)) in RESULTS.iter().zip(sums.results).enumerate() {
                if index == 0 || count > 0 {
                    samples.push(MetricId::Operations, vec![op, result], count);
                }
            }
            samples.push(MetricId::OperationDuration, vec![op], sums.latency.clone());
            for (blame, nanos) in BLAMED.iter().zip(sums.blame_nanos) {
                if nanos > 0 {
                    let time = Duration::from_nanos(nanos);
                    samples.push(MetricId::OperationBlame, vec![op, blame], time);
                }
            }
        }
        for (index, source) in SOURCES.iter().enumerate() {
            samples.push(MetricId::Reads, vec![source], totals.reads[index]);
            samples.push(MetricId::ReadBytes, vec![source], totals.read_bytes[index]);
        }
        samples.push(MetricId::PassthroughOpens, vec![], totals.passthrough_opens);
        samples.push(MetricId::LogReaders, vec![], self.observer.access_log().readers());
        samples.push(MetricId::LogLost, vec![], self.observer.access_log().lost());
        samples.push(MetricId::BuildInfo, vec![env!("CARGO_PKG_VERSION")], true);
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        samples.push(MetricId::StartTime, vec![], since);
    }
}
