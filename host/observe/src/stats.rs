//! The metrics for people: `.wasmount/stats`.

use crate::human;
use crate::metrics::{Kind, MetricId, Metrics, Sample, Snapshot, Unit, Value};
use crate::words::{BLAMED, SOURCES};
use std::fmt::Write;
use std::time::Duration;

/// The metrics that have a section of their own, and are not repeated below.
const OWN: [MetricId; 10] = [
    MetricId::Operations,
    MetricId::OperationDuration,
    MetricId::OperationBlame,
    MetricId::Reads,
    MetricId::ReadBytes,
    MetricId::MountState,
    MetricId::CacheHealth,
    MetricId::BuildInfo,
    MetricId::StartTime,
    MetricId::LogReaders,
];

/// A summary of all metrics.
pub(crate) fn render(metrics: &Metrics) -> String {
    let snapshot = metrics.snapshot();
    let mut out = String::with_capacity(4096);
    // A `String` takes everything that is written to it.
    let _ = writeln!(out, "wasmount {}, up {}", env!("CARGO_PKG_VERSION"), human::time(metrics.age()));
    mounts(&mut out, &snapshot);
    reads(&mut out, &snapshot);
    operations(&mut out, &snapshot);
    failures(&mut out, &snapshot);
    blame(&mut out, &snapshot);
    others(&mut out, &snapshot);
    out
}

fn samples(snapshot: &Snapshot, id: MetricId) -> &[Sample] {
    snapshot.families().find(|(other, _)| *other == id).map_or(&[], |(_, samples)| samples)
}

fn integer(snapshot: &Snapshot, id: MetricId, labels: &[&str]) -> u64 {
    match snapshot.value(id, labels) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}

fn mounts(out: &mut String, snapshot: &Snapshot) {
    let states = samples(snapshot, MetricId::MountState);
    let current: Vec<_> = states.iter().filter(|sample| sample.value.number() > 0.0).collect();
    if !current.is_empty() {
        let _ = writeln!(out, "\nMounts");
    }
    for sample in current {
        if let [mount, state] = sample.labels.as_slice() {
            let _ = writeln!(out, "  {mount:<28} {state}");
        }
    }
}

fn reads(out: &mut String, snapshot: &Snapshot) {
    let given = |source| integer(snapshot, MetricId::ReadBytes, &[source]);
    let total: u64 = SOURCES.iter().map(|source| given(source)).sum();
    let _ = writeln!(out, "\n{:<16} {:>12} {:>8} {:>14}", "Bytes given from", "bytes", "share", "reads");
    for source in SOURCES {
        let share = if total == 0 { 0.0 } else { given(source) as f64 * 100.0 / total as f64 };
        let reads = human::count(integer(snapshot, MetricId::Reads, &[source]));
        let bytes = human::bytes(given(source));
        let _ = writeln!(out, "  {source:<14} {bytes:>12} {share:>7.1}% {reads:>14}");
    }
}

fn operations(out: &mut String, snapshot: &Snapshot) {
    let _ = writeln!(
        out,
        "\n{:<16} {:>12} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "Operations", "count", "failed", "p50", "p95", "p99", "time"
    );
    for sample in samples(snapshot, MetricId::OperationDuration) {
        let (Some(op), Value::Histogram(histogram)) = (sample.labels.first(), &sample.value) else {
            continue;
        };
        let count = histogram.count();
        let failed = count.saturating_sub(integer(snapshot, MetricId::Operations, &[op, "ok"]));
        let at = |q| histogram.quantile(q).map_or_else(String::new, human::time);
        let (count, failed) = (human::count(count), human::count(failed));
        let (p50, p95, p99, sum) = (at(0.5), at(0.95), at(0.99), human::time(histogram.sum()));
        let _ = writeln!(out, "  {op:<14} {count:>12} {failed:>8} {p50:>9} {p95:>9} {p99:>9} {sum:>9}");
    }
}

fn failures(out: &mut String, snapshot: &Snapshot) {
    let failed = samples(snapshot, MetricId::Operations).iter().filter_map(|sample| {
        let [op, result] = sample.labels.as_slice() else { return None };
        (result != "ok").then_some((op, result, &sample.value))
    });
    for (index, (op, result, value)) in failed.enumerate() {
        if index == 0 {
            let _ = writeln!(out, "\nFailures");
        }
        let _ = writeln!(out, "  {op:<14} {result:<16} {:>10}", human::count(value.number() as u64));
    }
}

fn blame(out: &mut String, snapshot: &Snapshot) {
    let _ = writeln!(out, "\nTime spent on");
    for name in BLAMED {
        let ours = samples(snapshot, MetricId::OperationBlame)
            .iter()
            .filter(|sample| sample.labels.get(1).is_some_and(|blame| blame == name));
        let seconds: f64 = ours.map(|sample| sample.value.number()).sum();
        if seconds > 0.0 {
            let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let _ = writeln!(out, "  {name:<14} {:>12}", human::time(time));
        }
    }
}

/// Everything else, in the order of the table.
fn others(out: &mut String, snapshot: &Snapshot) {
    let mut area = "";
    for (id, samples) in
        snapshot.families().filter(|(id, _)| !OWN.contains(id) || *id == MetricId::CacheHealth)
    {
        let metric = id.metric();
        if metric.area != area {
            area = metric.area;
            let _ = writeln!(out, "\n{area}");
        }
        for sample in samples {
            // Of several states only the one that holds.
            if id == MetricId::CacheHealth && sample.value.number() == 0.0 {
                continue;
            }
            let labels = sample.labels.join(" ");
            let name = metric.name.trim_start_matches("wasmount_").trim_end_matches("_total");
            let name = format!("{} {labels}", name.replace('_', " "));
            let value = show(metric.unit, metric.kind, &sample.value);
            let _ = writeln!(out, "  {:<42} {value:>12}", name.trim_end());
        }
    }
}

fn show(unit: Unit, kind: Kind, value: &Value) -> String {
    let number = value.number();
    match (unit, value) {
        (Unit::Bytes, _) => human::bytes(number as u64),
        (Unit::Seconds, _) => human::time(Duration::try_from_secs_f64(number).unwrap_or_default()),
        (Unit::Ratio, _) => format!("{number:.3}"),
        (Unit::Count, Value::Real(number)) if kind == Kind::Gauge => format!("{number:.3}"),
        (Unit::Count, _) => human::count(number as u64),
    }
}
