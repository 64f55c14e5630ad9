//! The table as a document: `METRICS.md`.

use super::table::{Kind, Label, Metric, Source, Stability, TABLE, Unit};
use std::fmt::Write;

const HEAD: &str = "# Metrics

What a mount counts and measures. `--metrics-addr IP:PORT` serves it as text for Prometheus at `/metrics`; it is off unless asked for, and whoever reaches the
address may read it. `.wasmount/stats` in the mount shows the same for people.

This page is made from the table in `host/observe/src/metrics/table.rs`; a test holds the two together. *Stable* names, units and labels change only with a major
version, *experimental* ones with any. A series appears with its first value; a metric of a part that is not in use is absent.
";

/// The table as Markdown.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    let mut area = "";
    // A `String` takes everything that is written to it.
    for (_, metric) in TABLE {
        if metric.area != area {
            area = metric.area;
            let _ = write!(
                out,
                "\n## {area}\n\n| name | type | unit | labels | | |\n|---|---|---|---|---|---|\n"
            );
        }
        row(&mut out, metric);
    }
    out.push_str("\n## Labels\n\n| label | values | |\n|---|---|---|\n");
    let mut labels: Vec<&Label> = Vec::new();
    for label in TABLE.iter().flat_map(|(_, metric)| metric.labels) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    for label in labels {
        let values = match label.values {
            [] => "any".to_owned(),
            values => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" "),
        };
        let _ = writeln!(out, "| `{}` | {values} | {} |", label.name, label.help);
    }
    out
}

fn row(out: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let unit = match metric.unit {
        Unit::Count => "",
        Unit::Bytes => "bytes",
        Unit::Seconds => "seconds",
        Unit::Ratio => "ratio",
    };
    let stability = match metric.stability {
        Stability::Stable => "stable",
        Stability::Experimental => "experimental",
    };
    let computed = if metric.source == Source::Computed { " Computed from the others." } else { "" };
    let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
    let labels = labels.join(", ");
    let _ = writeln!(
        out,
        "| `{}` | {kind} | {unit} | {labels} | {}{computed} | {stability} |",
        metric.name, metric.help
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `WASMOUNT_BLESS=1` the page is written instead.
    #[test]
    fn the_page_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../METRICS.md");
        if std::env::var_os("WASMOUNT_BLESS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page == reference(),
            "METRICS.md is old: WASMOUNT_BLESS=1 cargo test -p wasmount-observe the_page"
        );
        for (_, metric) in TABLE {
            let rows = page.lines().filter(|line| line.starts_with(&format!("| `{}` |", metric.name)));
            assert_eq!(rows.count(), 1, "{}", metric.name);
        }
    }
}
