//! Values of the metrics at one moment.

use super::histogram::Histogram;
use super::table::{Kind, MetricId, TABLE};
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

/// A value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number, exact.
    Integer(u64),
    /// Any other number.
    Real(f64),
    /// Counts by size.
    Histogram(Box<Histogram>),
}

impl Value {
    /// As a number; for a histogram how many it counted.
    pub fn number(&self) -> f64 {
        match self {
            Self::Integer(number) => *number as f64,
            Self::Real(number) => *number,
            Self::Histogram(histogram) => histogram.count() as f64,
        }
    }

    fn is_finite(&self) -> bool {
        !matches!(self, Self::Real(number) if !number.is_finite())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Integer(number as u64)
    }
}

impl From<bool> for Value {
    /// 1 for true.
    fn from(fact: bool) -> Self {
        Self::Integer(u64::from(fact))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<Duration> for Value {
    /// In seconds.
    fn from(time: Duration) -> Self {
        Self::Real(time.as_secs_f64())
    }
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Box::new(histogram))
    }
}

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Values of the metric's labels, in their order.
    pub labels: Vec<Cow<'static, str>>,
    /// The value.
    pub value: Value,
}

/// Takes values while a snapshot is made.
#[derive(Default)]
pub struct Samples {
    series: HashMap<MetricId, Vec<Sample>>,
    faults: Vec<String>,
}

impl Samples {
    /// Adds a value for the series with these labels (as many as the table says, in its order). Two values for the same series
    /// are summed, so that several parts of one kind may each add their own.
    ///
    /// What does not fit the table is left out and named in [`Snapshot::faults`].
    pub fn add(&mut self, id: MetricId, labels: &[&str], value: impl Into<Value>) {
        let value = value.into();
        let metric = id.metric();
        let fits = labels.len() == metric.labels.len()
            && metric
                .labels
                .iter()
                .zip(labels)
                .all(|(label, value)| label.values.is_empty() || label.values.contains(value));
        let right_kind = matches!(value, Value::Histogram(_)) == (metric.kind == Kind::Histogram);
        if !fits || !right_kind || !value.is_finite() {
            self.faults.push(format!("{} does not take {value:?} for {labels:?}", metric.name));
            return;
        }
        let samples = self.series.entry(id).or_default();
        match samples.iter_mut().find(|sample| sample.labels == labels) {
            Some(sample) => sum(&mut sample.value, value),
            None => {
                let labels = labels.iter().map(|label| Cow::Owned((*label).to_owned())).collect();
                samples.push(Sample { labels, value });
            }
        }
    }

    /// Adds a value for a series that is known to be new and right.
    pub(crate) fn push(&mut self, id: MetricId, labels: Vec<&'static str>, value: impl Into<Value>) {
        let labels = labels.into_iter().map(Cow::Borrowed).collect();
        self.series.entry(id).or_default().push(Sample { labels, value: value.into() });
    }

    pub(crate) fn finish(mut self) -> Snapshot {
        self.compute();
        Snapshot { series: self.series, faults: self.faults }
    }

    /// Adds what follows from other metrics. A quotient of nothing is left out: it would be neither good nor bad.
    fn compute(&mut self) {
        let read = |source| self.get(MetricId::ReadBytes, &[source]).unwrap_or(0.0);
        let (memory, disk, origin) = (read("memory"), read("disk"), read("origin"));
        let fetched = self.get(MetricId::FetchedBytes, &[]);
        let total = memory + disk + origin;
        if total > 0.0 {
            self.push(MetricId::ReadHitRatio, vec![], (memory + disk) / total);
        }
        if let Some(fetched) = fetched
            && memory + origin > 0.0
        {
            self.push(MetricId::WindowEfficiency, vec![], fetched / (memory + origin));
        }
    }

    fn get(&self, id: MetricId, labels: &[&str]) -> Option<f64> {
        find(&self.series, id, labels).map(Value::number)
    }
}

fn sum(to: &mut Value, from: Value) {
    match (&mut *to, from) {
        (Value::Integer(a), Value::Integer(b)) => *a = a.saturating_add(b),
        (Value::Histogram(a), Value::Histogram(b)) => a.merge(&b),
        (_, from) => *to = Value::Real(to.number() + from.number()),
    }
}

fn find<'a>(series: &'a HashMap<MetricId, Vec<Sample>>, id: MetricId, labels: &[&str]) -> Option<&'a Value> {
    series.get(&id)?.iter().find(|sample| sample.labels == labels).map(|sample| &sample.value)
}

/// Values of the metrics at one moment.
pub struct Snapshot {
    series: HashMap<MetricId, Vec<Sample>>,
    faults: Vec<String>,
}

impl Snapshot {
    /// The metrics that have values, in the order of the table.
    pub fn families(&self) -> impl Iterator<Item = (MetricId, &[Sample])> {
        TABLE.iter().filter_map(|(id, _)| Some((*id, self.series.get(id)?.as_slice())))
    }

    /// The value of one series.
    pub fn value(&self, id: MetricId, labels: &[&str]) -> Option<&Value> {
        find(&self.series, id, labels)
    }

    /// The same as a number.
    pub fn number(&self, id: MetricId, labels: &[&str]) -> Option<f64> {
        self.value(id, labels).map(Value::number)
    }

    /// What a collector gave that does not fit the table: a mistake of the program, one sentence each.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_for_one_series_are_summed() {
        let mut samples = Samples::default();
        samples.add(MetricId::PluginCpu, &["m"], Duration::from_millis(1500));
        samples.add(MetricId::PluginCpu, &["m"], Duration::from_millis(250));
        samples.add(MetricId::PluginCalls, &["m"], 1_u64 << 62);
        samples.add(MetricId::PluginCalls, &["m"], 1_u64);
        let snapshot = samples.finish();
        assert_eq!(snapshot.value(MetricId::PluginCpu, &["m"]), Some(&Value::Real(1.75)));
        // Exact, although no floating-point number is.
        assert_eq!(snapshot.value(MetricId::PluginCalls, &["m"]), Some(&Value::Integer((1 << 62) + 1)));
        assert!(snapshot.faults().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_named() {
        let mut samples = Samples::default();
        samples.add(MetricId::Memory, &["attic"], 1_u64);
        samples.add(MetricId::Memory, &[], 1_u64);
        samples.add(MetricId::MemoryLimit, &["x"], 1_u64);
        samples.add(MetricId::MemoryLimit, &[], f64::NAN);
        samples.add(MetricId::MemoryLimit, &[], Histogram::default());
        samples.add(MetricId::MountState, &["any name", "ready"], true);
        let snapshot = samples.finish();
        assert_eq!(snapshot.faults().len(), 5, "{:?}", snapshot.faults());
        assert!(snapshot.faults()[0].contains("wasmount_memory_bytes"), "{:?}", snapshot.faults());
        assert_eq!(snapshot.families().map(|(id, _)| id).collect::<Vec<_>>(), [MetricId::MountState]);
    }

    #[test]
    fn ratios_follow_and_are_absent_where_there_is_nothing() {
        assert_eq!(Samples::default().finish().number(MetricId::ReadHitRatio, &[]), None);
        let mut samples = Samples::default();
        samples.add(MetricId::ReadBytes, &["memory"], 60_u64);
        samples.add(MetricId::ReadBytes, &["disk"], 20_u64);
        samples.add(MetricId::ReadBytes, &["origin"], 20_u64);
        samples.add(MetricId::FetchedBytes, &[], 100_u64);
        let snapshot = samples.finish();
        assert_eq!(snapshot.number(MetricId::ReadHitRatio, &[]), Some(0.8));
        assert_eq!(snapshot.number(MetricId::WindowEfficiency, &[]), Some(1.25));
    }
}
