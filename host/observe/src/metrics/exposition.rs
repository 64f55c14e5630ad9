//! The text format of Prometheus, version 0.0.4.

use super::histogram::{BOUNDS, Histogram};
use super::snapshot::{Sample, Snapshot, Value};
use super::table::{Kind, Metric};
use std::fmt::Write;

/// Media type of [`Snapshot::prometheus`].
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Snapshot {
    /// All values as text for Prometheus.
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        for (id, samples) in self.families() {
            let metric = id.metric();
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            // A `String` takes everything that is written to it.
            let _ = writeln!(out, "# HELP {} {}", metric.name, escape_help(metric.help));
            let _ = writeln!(out, "# TYPE {} {kind}", metric.name);
            for sample in samples {
                write_sample(&mut out, metric, sample);
            }
        }
        out
    }
}

fn write_sample(out: &mut String, metric: &Metric, sample: &Sample) {
    match &sample.value {
        Value::Integer(number) => write_line(out, metric.name, "", labels(metric, sample), number),
        Value::Real(number) => write_line(out, metric.name, "", labels(metric, sample), number),
        Value::Histogram(histogram) => write_histogram(out, metric, sample, histogram),
    }
}

fn write_histogram(out: &mut String, metric: &Metric, sample: &Sample, histogram: &Histogram) {
    let bounds = bounds();
    let mut below = 0;
    for (bound, bucket) in bounds.iter().zip(histogram.buckets) {
        below += bucket;
        let labels = labels(metric, sample).chain([("le", bound.as_str())]);
        write_line(out, metric.name, "_bucket", labels, below);
    }
    write_line(out, metric.name, "_sum", labels(metric, sample), histogram.sum().as_secs_f64());
    // Not counted apart, so that it is equal to the last bucket while others go on counting.
    write_line(out, metric.name, "_count", labels(metric, sample), below);
}

fn labels<'a>(metric: &'a Metric, sample: &'a Sample) -> impl Iterator<Item = (&'a str, &'a str)> {
    metric.labels.iter().map(|label| label.name).zip(sample.labels.iter().map(AsRef::as_ref))
}

/// The upper bounds of the buckets in seconds.
fn bounds() -> Vec<String> {
    BOUNDS.iter().map(|nanos| (*nanos as f64 / 1e9).to_string()).chain(["+Inf".to_owned()]).collect()
}

fn write_line<'a>(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: impl std::fmt::Display,
) {
    out.push_str(name);
    out.push_str(suffix);
    let mut open = false;
    for (label, text) in labels {
        out.push(if open { ',' } else { '{' });
        open = true;
        let _ = write!(out, "{label}=\"");
        escape_label(out, text);
        out.push('"');
    }
    if open {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

fn escape_label(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}
