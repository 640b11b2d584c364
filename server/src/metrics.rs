//! Every number that an operator sees: counted once in [`ModelMetrics`], named once in [`ALL`].
//!
//! Recording is a few relaxed atomic additions in fixed memory: no look-up, no lock, no allocation, and nothing grows
//! while nobody scrapes (docs/decisions/0013-own-metrics-registry.md). Names, units and views are made at the scrape.

mod histogram;
mod model;
mod process;
mod samples;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub use model::ModelMetrics;
pub(crate) use model::{BatchCount, Phase};
pub use table::{ALL, Kind, Metric, Unit};

use crate::statistics::ModelStatistics;
use process::{CpuTimes, Process};
use samples::Samples;
use table::Source;

/// The metrics of all served models, and of the machine.
#[derive(Debug, Default)]
pub struct Metrics {
    models: Mutex<BTreeMap<Key, Arc<ModelMetrics>>>,
    /// The processor's times at the scrape before.
    cpu_before: Mutex<CpuTimes>,
}

type Key = (String, String);

impl Metrics {
    /// Makes a registry without models.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
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

    /// The statistics of the versions of one model, or of all; in order of name and version.
    #[must_use]
    pub fn statistics(&self, name: Option<&str>, version: Option<&str>) -> Vec<ModelStatistics> {
        let wanted = |model: &&Arc<ModelMetrics>| {
            name.is_none_or(|name| name == model.name())
                && version.is_none_or(|version| version == model.version())
        };
        self.served().iter().filter(wanted).map(|model| ModelStatistics::of(model)).collect()
    }

    /// The whole table in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let models = self.served();
        let process = Process::read(models.len(), &mut self.cpu_before.lock());
        let mut text = String::new();
        for metric in &ALL {
            let mut samples = Samples::of(metric, &mut text);
            match metric.source {
                Source::Model(read) => {
                    for model in &models {
                        samples.label_all(model.labels());
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
