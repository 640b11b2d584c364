//! Every number that an operator sees: counted once in [`ModelMetrics`], described once in [`ALL`].
//!
//! Numbers are registered and recorded through the `metrics` crate and kept by a recorder of ours: a request costs a few
//! atomic additions in fixed memory, by handles that its model holds. There is no look-up, no lock, no allocation, and
//! nothing grows while nobody scrapes (docs/decisions/0013-own-metrics-registry.md). Views are made at the scrape.

mod histogram;
mod metric;
mod model;
mod name;
mod process;
mod reading;
mod samples;
mod store;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub use metric::{Kind, Metric, Unit};
pub(crate) use model::Phase;
pub use model::{CacheCounters, ModelMetrics, Verdicts};
pub(crate) use reading::BatchCount;
pub use table::{ALL, Row};

use process::{CpuTimes, Process};
use samples::{Samples, label};
use store::Store;
use table::Source;

/// The metrics of all served models, and of the machine.
#[derive(Debug)]
pub struct Metrics {
    /// What each metric is; the numbers of a model are in its own store.
    described: Store,
    models: Mutex<BTreeMap<Key, Arc<ModelMetrics>>>,
    /// The processor's times at the scrape before.
    cpu_before: Mutex<CpuTimes>,
    memory: Mutex<Vec<(u64, u64)>>,
}

type Key = (String, String);

impl Metrics {
    /// Makes a registry without models.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let described = Store::default();
        ALL.iter().for_each(|row| row.metric.describe(&described));
        let (models, cpu_before, memory) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { described, models, cpu_before, memory })
    }

    /// The counters of a model version, made at the first call; to be kept by whoever serves it.
    #[must_use]
    pub fn model(&self, name: &str, version: &str) -> Arc<ModelMetrics> {
        let mut models = self.models.lock();
        let key = (name.to_owned(), version.to_owned());
        let model = models.entry(key).or_insert_with(|| Arc::new(ModelMetrics::new(name, version)));
        Arc::clone(model)
    }

    /// Drops a model version that is no longer served; when it returns, its counters begin again at zero.
    pub fn forget(&self, name: &str, version: &str) {
        self.models.lock().remove(&(name.to_owned(), version.to_owned()));
    }

    /// The versions of one model, or of all; in order of name and version.
    #[must_use]
    pub fn of(&self, name: Option<&str>, version: Option<&str>) -> Vec<Arc<ModelMetrics>> {
        let mut models = self.served();
        models.retain(|model| {
            name.is_none_or(|name| name == model.name())
                && version.is_none_or(|version| version == model.version())
        });
        models
    }

    /// By executor, the bytes of models on it and all that it holds.
    pub fn memory(&self, by_executor: Vec<(u64, u64)>) {
        *self.memory.lock() = by_executor;
    }

    /// The whole table in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let models = self.served();
        let process = Process::read(models.len(), &mut self.cpu_before.lock());
        let process = Process { memory: self.memory.lock().clone(), ..process };
        let mut text = String::new();
        let labels = |model: &Arc<ModelMetrics>| {
            format!("{},{}", label("model", model.name()), label("version", model.version()))
        };
        let labelled: Vec<_> = models.iter().map(|model| (labels(model), model)).collect();
        for Row { metric, source } in &ALL {
            let help = self.described.help(metric.name);
            let mut samples = Samples::of(metric, &help, &mut text);
            match source {
                Source::Model(read) => {
                    for (labels, model) in &labelled {
                        samples.label_all(labels);
                        read(model, &mut samples);
                    }
                }
                Source::Process(read) => read(&process, &mut samples),
            }
        }
        text
    }

    /// A copy of the list, so that a slow scrape holds up no loading of models.
    fn served(&self) -> Vec<Arc<ModelMetrics>> {
        self.models.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
