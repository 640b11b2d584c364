//! Where recorded metrics are kept: a recorder of the `metrics` crate with a fixed piece of memory for each series.
//!
//! Each model version has a store of its own, and goes with it. The crate's counters are whole numbers, so that one
//! whose unit is seconds is kept in nanoseconds; its view divides. Every histogram is one of durations in seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;

use super::histogram::DurationHistogram;

/// Series by the name of their metric and their labels. Locked to register and to read, not to record.
type Series<Cell> = Mutex<BTreeMap<String, BTreeMap<Labels, Arc<Cell>>>>;
type Labels = Vec<(String, String)>;

/// Counts, numbers and durations by name and labels, and the descriptions of metrics.
#[derive(Debug, Default)]
pub(super) struct Store {
    helps: Mutex<BTreeMap<String, SharedString>>,
    counters: Series<AtomicU64>,
    /// Floating-point numbers in bits; NaN where nothing is known.
    gauges: Series<AtomicU64>,
    histograms: Series<DurationHistogram>,
}

/// Registers one series after the other.
#[derive(Clone, Copy)]
pub(super) struct Registrar<'a>(pub(super) &'a dyn Recorder);

/// Of no use to this recorder, and asked for by the interface.
const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Registrar<'_> {
    pub(super) fn counter(self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.0.register_counter(&key(name, labels), &METADATA)
    }

    pub(super) fn gauge(self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.0.register_gauge(&key(name, labels), &METADATA)
    }

    pub(super) fn histogram(
        self,
        name: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        self.0.register_histogram(&key(name, labels), &METADATA)
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let label = |&(key, value): &(&'static str, &str)| Label::new(key, value.to_owned());
    Key::from_parts(name, labels.iter().map(label).collect::<Vec<_>>())
}

impl Recorder for Store {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(registered(&self.counters, key, AtomicU64::default))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let unknown = || AtomicU64::new(f64::NAN.to_bits());
        Gauge::from_arc(registered(&self.gauges, key, unknown))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(registered(&self.histograms, key, DurationHistogram::default))
    }
}

/// The cell of a series, made at the first call.
fn registered<Cell>(series: &Series<Cell>, key: &Key, new: impl FnOnce() -> Cell) -> Arc<Cell> {
    let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
    let mut series = series.lock();
    let series = series.entry(key.name().to_owned()).or_default();
    Arc::clone(series.entry(labels.collect()).or_insert_with(|| Arc::new(new())))
}

/// What a scrape reads.
impl Store {
    fn describe(&self, name: &KeyName, help: SharedString) {
        self.helps.lock().insert(name.as_str().to_owned(), help);
    }

    /// What a metric was described as; empty where it was not.
    pub(super) fn help(&self, name: &str) -> String {
        self.helps.lock().get(name).map(|help| help.to_string()).unwrap_or_default()
    }

    /// The count of one series; 0 where nothing was registered.
    pub(super) fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        found(&self.counters, name, labels).map_or(0, |cell| cell.load(Relaxed))
    }

    /// The count of the series without labels; `None` where it was not registered.
    pub(super) fn counter_if(&self, name: &str) -> Option<u64> {
        found(&self.counters, name, &[]).map(|cell| cell.load(Relaxed))
    }

    /// The sum over all labels of a metric.
    pub(super) fn counters_sum(&self, name: &str) -> u64 {
        let series = self.counters.lock();
        series.get(name).map_or(0, |cells| cells.values().map(|cell| cell.load(Relaxed)).sum())
    }

    /// The series of a counter that has one label, by that label's value.
    pub(super) fn counters_of(&self, name: &str) -> Vec<(String, u64)> {
        let series = self.counters.lock();
        let cells = series.get(name).into_iter().flatten();
        let read = |(labels, cell): (&Labels, &Arc<AtomicU64>)| {
            let (_, value) = labels.first()?;
            Some((value.clone(), cell.load(Relaxed)))
        };
        cells.filter_map(read).collect()
    }

    /// The number of one series; `None` while nothing is known.
    pub(super) fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        found(&self.gauges, name, labels)
            .map(|cell| f64::from_bits(cell.load(Relaxed)))
            .filter(|value| !value.is_nan())
    }

    /// The durations of one series.
    pub(super) fn histogram(
        &self,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Option<Arc<DurationHistogram>> {
        found(&self.histograms, name, labels)
    }

    /// The values, as whole numbers and rising, that one label has in the counters of that name.
    pub(super) fn counter_labels(&self, name: &str, label: &str) -> Vec<u64> {
        whole_numbers(&self.counters, name, label)
    }

    /// The same of gauges.
    pub(super) fn gauge_labels(&self, name: &str, label: &str) -> Vec<u64> {
        whole_numbers(&self.gauges, name, label)
    }
}

fn found<Cell>(series: &Series<Cell>, name: &str, labels: &[(&str, &str)]) -> Option<Arc<Cell>> {
    let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    let labels: Labels = labels.iter().map(owned).collect();
    series.lock().get(name)?.get(&labels).map(Arc::clone)
}

fn whole_numbers<Cell>(series: &Series<Cell>, name: &str, label: &str) -> Vec<u64> {
    let series = series.lock();
    let labels = series.get(name).into_iter().flat_map(BTreeMap::keys).flatten();
    let mut values: Vec<u64> = labels
        .filter(|(key, _)| key == label)
        .filter_map(|(_, value)| value.parse().ok())
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_registered_twice_is_one() {
        let store = Store::default();
        let registrar = Registrar(&store);
        registrar.counter("a", &[("rows", "2")]).increment(3);
        registrar.counter("a", &[("rows", "2")]).increment(4);
        registrar.counter("a", &[("rows", "10")]).increment(1);
        assert_eq!(store.counter("a", &[("rows", "2")]), 7);
        assert_eq!(store.counters_sum("a"), 8);
        assert_eq!(store.counter_labels("a", "rows"), [2, 10]);
        assert_eq!(store.counter("a", &[]), 0);
    }

    #[test]
    fn macros_of_the_crate_record_here_too() {
        let store = Store::default();
        metrics::with_local_recorder(&store, || {
            metrics::describe_counter!("asked", "How often.");
            metrics::counter!("asked", "by" => "me").increment(2);
            metrics::gauge!("level").set(0.5);
            metrics::histogram!("taken").record(0.000_02);
        });
        assert_eq!(store.help("asked"), "How often.");
        assert_eq!(store.counter("asked", &[("by", "me")]), 2);
        assert_eq!(store.gauge("level", &[]), Some(0.5));
        assert_eq!(store.histogram("taken", &[]).unwrap().nanos(), 20_000);
    }

    #[test]
    fn a_gauge_is_unknown_until_it_is_set() {
        let store = Store::default();
        let gauge = Registrar(&store).gauge("g", &[]);
        assert_eq!(store.gauge("g", &[]), None);
        gauge.set(1.5);
        assert_eq!(store.gauge("g", &[]), Some(1.5));
    }
}
