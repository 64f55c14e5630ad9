//! Reads the text format of Prometheus as strictly as its documentation is written, and checks what `promtool check metrics` would.

use std::collections::{BTreeMap, BTreeSet};

/// One metric with its series.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Name of the series (with `_bucket` and the like), labels, value.
    pub samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Family {
    /// The value of the series with these labels.
    pub fn value(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.iter().find(|(_, other, _)| *other == labels).map(|(_, _, value)| *value)
    }
}

/// All families of a text; panics on whatever is wrong with it.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            check_name(name);
            let family = Family { help: unescape(help, false), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = families.get_mut(name).unwrap();
            assert!(family.kind.is_empty() && family.samples.is_empty(), "{line}");
            family.kind = kind.to_owned();
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} in {current}"));
            let allowed: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(seen.insert((name.clone(), labels.clone())), "{line} comes twice");
            assert!(family.kind != "counter" || value >= 0.0, "{line}");
            family.samples.push((name, labels, value));
        }
    }
    for (name, family) in &families {
        assert!(!family.kind.is_empty() && !family.help.is_empty() && !family.samples.is_empty(), "{name}");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

/// Buckets are cumulative, in order, end with `+Inf`, and agree with `_count`; `_sum` lies between the bounds.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for (sample, labels, value) in &family.samples {
        if *sample == format!("{name}_bucket") {
            let mut rest = labels.clone();
            let le = number(&rest.remove("le").unwrap());
            series.entry(rest).or_default().push((le, *value));
        }
    }
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?}");
        let (last, total) = *buckets.last().unwrap();
        assert!(last.is_infinite(), "{name} {labels:?}");
        let find = |suffix: &str| {
            let sample = format!("{name}{suffix}");
            family.samples.iter().find(|(other, l, _)| *other == sample && *l == labels).unwrap().2
        };
        assert_eq!(find("_count"), total, "{name} {labels:?}");
        let mut low = (0.0, 0.0);
        let mut least = 0.0;
        for (bound, below) in &buckets {
            least += (below - low.1) * low.0;
            low = (*bound, *below);
        }
        assert!(find("_sum") >= least * 0.999_999, "{name} {labels:?}");
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    check_name(name);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(!label.contains(':'), "{line}");
            check_name(label);
            let close = closing_quote(after).unwrap_or_else(|| panic!("{line}"));
            let value = unescape(&after[..close], true);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[close + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (name.to_owned(), labels, number(value))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

fn unescape(text: &str, quotes: bool) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quotes) {
            ('\\', _) => match chars.next() {
                Some('\\') => out.push('\\'),
                Some('n') => out.push('\n'),
                Some('"') if quotes => out.push('"'),
                other => panic!("\\{other:?} in {text}"),
            },
            ('"', true) => panic!("a bare quote in {text}"),
            _ => out.push(c),
        }
    }
    out
}

fn check_name(name: &str) {
    let first = name.chars().next().unwrap();
    assert!(first.is_ascii_alphabetic() || first == '_' || first == ':', "{name:?}");
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "{name:?}");
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'+'));
            assert!(plain, "{text:?}");
            text.parse().unwrap()
        }
    }
}
