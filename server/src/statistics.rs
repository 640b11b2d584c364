//! A model's statistics in the form of Triton's statistics extension, from the same counters as the metrics.
//!
//! As in Triton, a request counts once in `success` and in each phase, with the whole time of its batch;
//! `inference_count` counts rows and `execution_count` batches. The three compute counts are equal: perf_analyzer
//! demands it.

use serde::Serialize;

use crate::metrics::{BatchCount, Metrics, ModelMetrics, Phase};

/// The answer to a statistics request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatisticsReport {
    /// One for each model version asked for.
    pub model_stats: Vec<ModelStatistics>,
}

/// The statistics of one model version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelStatistics {
    /// The model's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// When the last batch ended, in milliseconds since 1970; 0 before the first.
    pub last_inference: u64,
    /// Rows answered.
    pub inference_count: u64,
    /// Batches run.
    pub execution_count: u64,
    /// By outcome and by phase.
    pub inference_stats: InferenceStatistics,
    /// Of decoupled models only: none is served.
    pub response_stats: ResponseStatistics,
    /// By batch size, rising.
    pub batch_stats: Vec<BatchStatistics>,
    /// Not measured for each model.
    pub memory_usage: Vec<MemoryUsage>,
}

/// How often, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatisticDuration {
    /// How often.
    pub count: u64,
    /// Nanoseconds in all.
    pub ns: u64,
}

/// What became of requests, and where their time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InferenceStatistics {
    /// Answered requests, from arrival to answer.
    pub success: StatisticDuration,
    /// Requests refused, failed or cancelled, from arrival to that end.
    pub fail: StatisticDuration,
    /// Before the batch began.
    pub queue: StatisticDuration,
    /// Gathering the batch's inputs.
    pub compute_input: StatisticDuration,
    /// Running the batch.
    pub compute_infer: StatisticDuration,
    /// Taking the batch's outputs out.
    pub compute_output: StatisticDuration,
    /// There is no response cache.
    pub cache_hit: StatisticDuration,
    /// There is no response cache.
    pub cache_miss: StatisticDuration,
}

/// Statistics by response: an empty object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ResponseStatistics {}

/// The batches of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BatchStatistics {
    /// Rows run together.
    pub batch_size: u64,
    /// Gathering inputs.
    pub compute_input: StatisticDuration,
    /// Running.
    pub compute_infer: StatisticDuration,
    /// Taking outputs out.
    pub compute_output: StatisticDuration,
}

/// Memory that a model takes on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUsage {
    /// What kind of memory.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of which device.
    pub id: i64,
    /// How much.
    pub byte_size: u64,
}

/// The statistics of the versions of one model, or of all; in order of name and version.
#[must_use]
pub fn read(metrics: &Metrics, name: Option<&str>, version: Option<&str>) -> Vec<ModelStatistics> {
    metrics.of(name, version).iter().map(|model| ModelStatistics::of(model)).collect()
}

impl ModelStatistics {
    /// Reads a model's counters.
    #[must_use]
    pub fn of(model: &ModelMetrics) -> Self {
        let answered = model.answered_requests();
        let duration = |phase| StatisticDuration { count: answered, ns: model.phase_nanos(phase) };
        let batch_stats: Vec<_> = model.batches().into_iter().map(BatchStatistics::of).collect();
        Self {
            name: model.name().to_owned(),
            version: model.version().to_owned(),
            last_inference: model.last_batch_millis(),
            inference_count: model.answered_rows(),
            execution_count: batch_stats.iter().map(|batch| batch.compute_infer.count).sum(),
            inference_stats: InferenceStatistics {
                success: duration(Phase::Total),
                fail: StatisticDuration { count: model.lost_requests(), ns: model.lost_nanos() },
                queue: duration(Phase::Queue),
                compute_input: duration(Phase::Input),
                compute_infer: duration(Phase::Infer),
                compute_output: duration(Phase::Output),
                cache_hit: StatisticDuration::default(),
                cache_miss: StatisticDuration::default(),
            },
            response_stats: ResponseStatistics {},
            batch_stats,
            memory_usage: Vec::new(),
        }
    }
}

impl BatchStatistics {
    fn of(batch: BatchCount) -> Self {
        let duration = |ns| StatisticDuration { count: batch.count, ns };
        Self {
            batch_size: batch.rows,
            compute_input: duration(batch.input_nanos),
            compute_infer: duration(batch.infer_nanos),
            compute_output: duration(batch.output_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gpu::Timing;
    use router::Rejection;

    use super::*;
    use crate::infer::RequestTiming;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn two_requests_of_three_rows_in_one_batch_read_as_triton_writes_them() {
        let metrics = Metrics::new();
        let model = metrics.model("digits", "2");
        for (queue, rows) in [(5, 1), (3, 2)] {
            let (input, infer, output) = (2 * US, 40 * US, US);
            let timing = RequestTiming { queue: queue * US, input, infer, output, batch: 3 };
            model.arrived(rows);
            model.answered(&timing, (43 + queue) * US, Some(true), rows);
        }
        model.batch_ran(3, &Timing { input: 2 * US, infer: 40 * US, output: US });
        model.arrived(1);
        model.refused(&Rejection::QueueFull, 7 * US);
        let mut report = StatisticsReport { model_stats: read(&metrics, Some("digits"), None) };
        assert!(report.model_stats[0].last_inference > 1_500_000_000_000);
        report.model_stats[0].last_inference = 7;
        let expected = serde_json::json!({"model_stats": [{
            "name": "digits", "version": "2", "last_inference": 7, "inference_count": 3, "execution_count": 1,
            "inference_stats": {
                "success": {"count": 2, "ns": 94_000}, "fail": {"count": 1, "ns": 7_000},
                "queue": {"count": 2, "ns": 8_000}, "compute_input": {"count": 2, "ns": 4_000},
                "compute_infer": {"count": 2, "ns": 80_000}, "compute_output": {"count": 2, "ns": 2_000},
                "cache_hit": {"count": 0, "ns": 0}, "cache_miss": {"count": 0, "ns": 0}
            },
            "response_stats": {},
            "batch_stats": [{
                "batch_size": 3, "compute_input": {"count": 1, "ns": 2_000},
                "compute_infer": {"count": 1, "ns": 40_000}, "compute_output": {"count": 1, "ns": 1_000}
            }],
            "memory_usage": []
        }]});
        assert_eq!(serde_json::to_value(report).unwrap(), expected);
    }

    #[test]
    fn statistics_are_of_the_version_asked_for() {
        let metrics = Metrics::new();
        for (name, version) in [("b", "1"), ("a", "2"), ("a", "1")] {
            drop(metrics.model(name, version));
        }
        let of = |name, version| {
            let all = read(&metrics, name, version).into_iter();
            all.map(|model| model.name + &model.version).collect::<Vec<_>>()
        };
        assert_eq!(of(None, None), ["a1", "a2", "b1"]);
        assert_eq!(of(Some("a"), None), ["a1", "a2"]);
        assert_eq!(of(Some("a"), Some("2")), ["a2"]);
        assert!(of(Some("c"), None).is_empty());
    }
}
