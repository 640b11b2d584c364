//! What a run amounts to: goodput, attainment and latency percentiles, overall and for each model.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Record, Tally};

/// Lag of the client's own sending, at its 99th percentile, above which a run's latencies are not to be trusted.
pub const LAG_P99_MAX: Duration = Duration::from_millis(1);

/// Above that part of its core in use the client may be what limits the run.
pub const CLIENT_BUSY_MAX: f64 = 0.9;

/// An hour: longer latencies count as that.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Latencies in milliseconds, each at most 0.1 % too high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles by their names")]
pub struct Percentiles {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percent: f64| histogram.value_at_percentile(percent) as f64 / 1e6;
        Self {
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(50.0),
            p90_ms: at(90.0),
            p99_ms: at(99.0),
            p999_ms: at(99.9),
            max_ms: histogram.max() as f64 / 1e6,
        }
    }
}

/// The account of a run, or of one model's part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The model, or `all`.
    pub model: String,
    /// Seconds in which requests were due.
    pub duration_s: f64,
    /// Requests due a second.
    pub offered_rate: f64,
    /// Requests answered a second, late ones included.
    pub throughput: f64,
    /// Requests answered within their deadline a second.
    pub goodput: f64,
    /// The part of all requests that was answered within its deadline.
    pub attainment: f64,
    /// How each request ended.
    pub tally: Tally,
    /// From when a request was due to its answer; answered requests only.
    pub latency: Percentiles,
    /// From when a request was due to its refusal; refused requests only.
    pub refusal_latency: Percentiles,
    /// How late the client itself was in sending.
    pub lag: Percentiles,
    /// Whether the client kept to its schedule: lag p99 at most 1 ms.
    pub client_on_time: bool,
    /// The same for each model, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Report>,
}

impl Report {
    /// Sums up the requests that were due within `duration`; `names` are the models of the mix, by share.
    #[must_use]
    pub fn of(records: &[Record], names: &[&str], duration: Duration) -> Self {
        let mut whole = summary("all", records.iter(), duration);
        if let [name] = names {
            whole.model = (*name).to_owned();
        } else {
            let part = |(share, name): (usize, &&str)| {
                summary(name, records.iter().filter(move |record| record.share == share), duration)
            };
            whole.models = names.iter().enumerate().map(part).collect();
        }
        whole
    }
}

fn summary<'a>(
    model: &str,
    records: impl Iterator<Item = &'a Record>,
    duration: Duration,
) -> Report {
    let mut tally = Tally::default();
    let [mut latency, mut refusal, mut lag] = std::array::from_fn(|_| {
        Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .expect("3 digits and the bounds are allowed")
    });
    for record in records {
        tally.count(&record.outcome);
        lag.saturating_record(record.lag_ns);
        match record.outcome {
            Outcome::InTime | Outcome::Late => latency.saturating_record(record.latency_ns),
            Outcome::Refused(_) => refusal.saturating_record(record.latency_ns),
            Outcome::Error(_) | Outcome::Timeout | Outcome::Cancelled | Outcome::ConnectionLost => {
            }
        }
    }
    let duration_s = duration.as_secs_f64();
    let lag_p99 = Duration::from_nanos(lag.value_at_percentile(99.0));
    Report {
        model: model.to_owned(),
        duration_s,
        offered_rate: tally.requests as f64 / duration_s,
        throughput: tally.answered() as f64 / duration_s,
        goodput: tally.in_time as f64 / duration_s,
        attainment: if tally.requests == 0 {
            0.0
        } else {
            tally.in_time as f64 / tally.requests as f64
        },
        latency: Percentiles::of(&latency),
        refusal_latency: Percentiles::of(&refusal),
        client_on_time: lag_p99 <= LAG_P99_MAX,
        lag: Percentiles::of(&lag),
        tally,
        models: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arrivals;

    fn record(share: usize, latency_ns: u64, outcome: Outcome) -> Record {
        Record { share, intended_ns: 0, lag_ns: 0, latency_ns, outcome }
    }

    #[test]
    fn percentiles_agree_with_the_exact_ones() {
        let mut latencies: Vec<u64> = Arrivals::Gamma { cv: 2.0 }
            .offsets(500.0, 5)
            .unwrap()
            .scan(0, |before, at| Some(at - std::mem::replace(before, at)))
            .take(10_000)
            .collect();
        let records: Vec<Record> =
            latencies.iter().map(|ns| record(0, *ns, Outcome::InTime)).collect();
        let found = Report::of(&records, &["m"], Duration::from_secs(1)).latency;
        latencies.sort_unstable();
        // The histogram rounds ranks up in floating point: the next rank is as good.
        let within = |found: f64, rank: usize| {
            let exact = |rank: usize| latencies[rank - 1] as f64 / 1e6;
            found >= exact(rank) * 0.999 && found <= exact((rank + 1).min(10_000)) * 1.001
        };
        let ranks = [
            (found.p50_ms, 5_000),
            (found.p90_ms, 9_000),
            (found.p99_ms, 9_900),
            (found.p999_ms, 9_990),
        ];
        for (found, rank) in ranks.into_iter().chain([(found.max_ms, 10_000)]) {
            assert!(within(found, rank), "{found} at {rank}");
        }
        let mean = latencies.iter().sum::<u64>() as f64 / 1e10;
        assert!((found.mean_ms / mean - 1.0).abs() < 0.001, "{} for {mean}", found.mean_ms);
    }

    #[test]
    fn goodput_counts_answers_in_time_and_attainment_all_requests() {
        let records = [
            record(0, 1_000_000, Outcome::InTime),
            record(0, 2_000_000, Outcome::InTime),
            record(0, 9_000_000, Outcome::Late),
            record(0, 500_000, Outcome::Refused("queue_full".into())),
        ];
        let report = Report::of(&records, &["m"], Duration::from_secs(2));
        assert_eq!((report.goodput, report.throughput, report.attainment), (1.0, 1.5, 0.5));
        assert!((report.refusal_latency.p99_ms - 0.5).abs() < 0.001);
        assert!((report.latency.max_ms - 9.0).abs() < 0.01);
        assert!(report.models.is_empty());
    }

    #[test]
    fn each_model_has_its_own_account() {
        let records = [
            record(0, 1, Outcome::InTime),
            record(1, 1, Outcome::Late),
            record(1, 1, Outcome::InTime),
        ];
        let report = Report::of(&records, &["a", "b"], Duration::from_secs(1));
        let parts: Vec<_> =
            report.models.iter().map(|part| (part.model.as_str(), part.attainment)).collect();
        assert_eq!((report.model.as_str(), parts), ("all", vec![("a", 1.0), ("b", 0.5)]));
    }

    #[test]
    fn a_client_behind_its_schedule_is_marked() {
        let mut records = vec![record(0, 1, Outcome::InTime); 100];
        assert!(Report::of(&records, &["m"], Duration::from_secs(1)).client_on_time);
        for late in &mut records[..2] {
            late.lag_ns = 3_000_000;
        }
        assert!(!Report::of(&records, &["m"], Duration::from_secs(1)).client_on_time);
    }
}
