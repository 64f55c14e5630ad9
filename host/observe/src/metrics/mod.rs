//! Metrics: one table ([`TABLE`]), the values of its rows at a moment ([`Snapshot`]), and their text for Prometheus.
//!
//! Some values are counted by the [`Observer`](crate::Observer) as operations end. Others belong to parts that this crate does
//! not know; the program registers a closure for them ([`Metrics::collect`]), which is called when somebody wants to know.

pub(crate) mod counters;
mod exposition;
mod histogram;
mod process;
mod reference;
mod registry;
mod server;
mod snapshot;
mod table;

pub use histogram::Histogram;
pub use reference::reference;
pub use registry::Metrics;
pub use server::{Health, Listening, ServeError, serve};
pub use snapshot::{Sample, Samples, Snapshot, Value};
pub use table::{Kind, Label, Metric, MetricId, Source, Stability, TABLE, Unit};
