//! What a server says of itself: its statistics and metrics before and after a run, and what went on between.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// More counters of a server than these are not kept.
const COUNTERS_MAX: usize = 400;

/// What a server did during a run, by its own account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// By model, in the order of their names.
    pub models: Vec<ModelView>,
    /// Counters of its metrics that went on, with their labels, by how much.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, f64>,
}

/// What a server did for one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelView {
    /// The model's name.
    pub name: String,
    /// Requests answered.
    pub answered: u64,
    /// Batches by their rows, rising.
    pub batches: Vec<Batches>,
    /// Milliseconds of an answered request before its batch began, on average.
    pub queue_ms: f64,
    /// Of gathering its batch's inputs.
    pub input_ms: f64,
    /// Of its batch's run.
    pub infer_ms: f64,
    /// Of taking its batch's outputs out.
    pub output_ms: f64,
}

/// The batches of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batches {
    /// Rows of each.
    pub rows: u64,
    /// How many ran.
    pub count: u64,
    /// Milliseconds that one took on average, of the model's run alone.
    pub infer_ms: f64,
}

impl ServerView {
    /// Rows of a batch on average, over all models.
    #[must_use]
    pub fn batch_mean(&self) -> Option<f64> {
        let all = || self.models.iter().flat_map(|model| &model.batches);
        let batches: u64 = all().map(|batch| batch.count).sum();
        let rows: u64 = all().map(|batch| batch.count * batch.rows).sum();
        (batches > 0).then(|| rows as f64 / batches as f64)
    }
}

/// A server's counters at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By the statistics extension.
    pub models: Vec<Statistics>,
    /// By its metrics.
    pub counters: Counters,
}

/// `model_stats` of the statistics extension, as far as it is needed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Statistics {
    name: String,
    version: String,
    inference_stats: Phases,
    batch_stats: Vec<BatchStatistics>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Phases {
    success: Sum,
    queue: Sum,
    compute_input: Sum,
    compute_infer: Sum,
    compute_output: Sum,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct BatchStatistics {
    batch_size: u64,
    compute_infer: Sum,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Sum {
    count: u64,
    ns: u64,
}

impl Sum {
    fn since(self, before: Self) -> Self {
        let (count, ns) =
            (self.count.saturating_sub(before.count), self.ns.saturating_sub(before.ns));
        Self { count, ns }
    }

    /// Milliseconds of each on average.
    fn each_ms(self) -> f64 {
        self.ns as f64 / 1e6 / self.count.max(1) as f64
    }
}

/// The counters of metrics in Prometheus' text format, by name and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads the text; buckets of histograms and what is not a counter are left out.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut counters = BTreeMap::new();
        let mut counter = "";
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                counter = kind.strip_suffix(" counter").unwrap_or_default();
            }
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or_default();
            // OpenMetrics states the type of the name without `_total`.
            let stated = !counter.is_empty()
                && name.trim_end_matches("_total") == counter.trim_end_matches("_total");
            if let (true, Ok(value)) = (stated && !line.starts_with('#'), value.parse::<f64>()) {
                counters.insert(series.to_owned(), value);
            }
        }
        Self(counters)
    }
}

impl Snapshot {
    /// Adds the answer of a statistics request.
    ///
    /// # Errors
    /// JSON of another form.
    pub fn add_statistics(&mut self, json: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Answer {
            model_stats: Vec<Statistics>,
        }
        let answer: Answer = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        self.models.extend(answer.model_stats);
        Ok(())
    }

    /// What went on since a moment before.
    #[must_use]
    pub fn since(&self, before: &Self) -> ServerView {
        let earlier = |after: &Statistics| {
            let same = |one: &&Statistics| one.name == after.name && one.version == after.version;
            before.models.iter().find(same).cloned().unwrap_or_default()
        };
        let models = self.models.iter().map(|model| model.since(&earlier(model)));
        let models = models.filter(|model| model.answered > 0 || !model.batches.is_empty());
        let counters = self.counters.0.iter().filter_map(|(series, value)| {
            let by = value - before.counters.0.get(series).copied().unwrap_or_default();
            (by > 0.0).then(|| (series.clone(), by))
        });
        ServerView { models: models.collect(), counters: counters.take(COUNTERS_MAX).collect() }
    }
}

impl Statistics {
    fn since(&self, before: &Self) -> ModelView {
        let phase =
            |of: fn(&Phases) -> Sum| of(&self.inference_stats).since(of(&before.inference_stats));
        let batches = self.batch_stats.iter().map(|batch| {
            let same = |one: &&BatchStatistics| one.batch_size == batch.batch_size;
            let before = before.batch_stats.iter().find(same).copied().unwrap_or_default();
            let ran = batch.compute_infer.since(before.compute_infer);
            Batches { rows: batch.batch_size, count: ran.count, infer_ms: ran.each_ms() }
        });
        ModelView {
            name: self.name.clone(),
            answered: phase(|phases| phases.success).count,
            batches: batches.filter(|batch| batch.count > 0).collect(),
            queue_ms: phase(|phases| phases.queue).each_ms(),
            input_ms: phase(|phases| phases.compute_input).each_ms(),
            infer_ms: phase(|phases| phases.compute_infer).each_ms(),
            output_ms: phase(|phases| phases.compute_output).each_ms(),
        }
    }
}
