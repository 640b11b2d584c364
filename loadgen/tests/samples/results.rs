//! Results of a simulated single server with batches, for tests of what is made of results.

use std::collections::VecDeque;
use std::time::{Duration, UNIX_EPOCH};

use loadgen::result::{Batches, Kind, Made, ModelView, Point, ResultFile, Series, ServerView};
use loadgen::{Arrivals, Outcome, Record};

const DEADLINE_NS: u64 = 25_000_000;
const SECONDS: u64 = 20;

/// A server that runs all that waits, up to a bound, and refuses what waits too long.
#[derive(Clone, Copy)]
pub(crate) struct Fake {
    pub(crate) name: &'static str,
    pub(crate) fixed_ns: u64,
    pub(crate) row_ns: u64,
    pub(crate) batch_max: usize,
    pub(crate) refuses: bool,
}

pub(crate) const GOOD: Fake =
    Fake { name: "Good 1.0", fixed_ns: 4_000_000, row_ns: 300_000, batch_max: 32, refuses: true };
pub(crate) const PLAIN: Fake =
    Fake { name: "Plain 2.1", fixed_ns: 4_000_000, row_ns: 400_000, batch_max: 16, refuses: false };

impl Fake {
    pub(crate) fn point(&self, rate: f64, seed: u64) -> Point {
        let end = SECONDS * 1_000_000_000;
        let mut due: VecDeque<u64> =
            Arrivals::Poisson.offsets(rate, seed).unwrap().take_while(|at| *at < end).collect();
        let (mut records, mut batches) = (Vec::new(), std::collections::BTreeMap::new());
        let mut free = 0;
        while let Some(first) = due.front() {
            let start = free.max(*first);
            let mut batch = Vec::new();
            while let Some(at) = due.front().copied().filter(|at| *at <= start) {
                if self.refuses && start - at > DEADLINE_NS - self.time(self.batch_max) {
                    due.pop_front();
                    records.push(record(
                        at,
                        200_000,
                        Outcome::Refused("deadline_unreachable".into()),
                    ));
                } else if batch.len() < self.batch_max {
                    batch.push(due.pop_front().unwrap());
                } else {
                    break;
                }
            }
            free = start + self.time(batch.len());
            *batches.entry(batch.len() as u64).or_insert(0) += 1;
            for at in batch {
                let outcome = match free - at {
                    late if late > 400 * DEADLINE_NS => Outcome::Timeout,
                    late if late > DEADLINE_NS => Outcome::Late,
                    _ => Outcome::InTime,
                };
                records.push(record(at, free - at, outcome));
            }
        }
        let mut point = Point::of(&records, &["model"], Duration::from_secs(SECONDS));
        (point.load, point.seed) = (format!("poisson {rate}/s"), seed);
        batches.remove(&0);
        point.server = Some(self.view(&point, batches.into_iter().collect()));
        point
    }

    fn time(&self, rows: usize) -> u64 {
        if rows == 0 { 0 } else { self.fixed_ns + rows as u64 * self.row_ns }
    }

    fn view(&self, point: &Point, counts: Vec<(u64, u64)>) -> ServerView {
        let ms = |rows: u64| self.time(rows as usize) as f64 / 1e6;
        let rows: u64 = counts.iter().map(|(rows, count)| rows * count).sum();
        let infer_ms =
            counts.iter().map(|(rows, count)| ms(*rows) * (rows * count) as f64).sum::<f64>()
                / rows as f64;
        let batches =
            counts.into_iter().map(|(rows, count)| Batches { rows, count, infer_ms: ms(rows) });
        let model = ModelView {
            name: "mammoth_mmm".into(),
            answered: point.report.tally.answered(),
            batches: batches.collect(),
            queue_ms: (point.report.latency.mean_ms - infer_ms).max(0.0),
            input_ms: 0.2,
            infer_ms,
            output_ms: 0.1,
        };
        ServerView { models: vec![model], ..ServerView::default() }
    }

    pub(crate) fn result(&self, kind: Kind, title: &str, rates: &[f64]) -> ResultFile {
        let made = Made {
            program: "punctual-bench 0.1.0".into(),
            command:
                "punctual-bench sweep --url http://localhost:8000 --model model --deadline 25ms"
                    .into(),
            began: UNIX_EPOCH,
        };
        let mut result = ResultFile::new(kind, title, &made);
        result.series.push(Series {
            name: self.name.into(),
            target: Some("http://localhost:8000".into()),
            server: self.name.into(),
            simulated: true,
            deadline_ms: Some(DEADLINE_NS as f64 / 1e6),
            points: (1..).zip(rates).map(|(seed, rate)| self.point(*rate, seed)).collect(),
        });
        result
    }
}

fn record(at: u64, latency_ns: u64, outcome: Outcome) -> Record {
    Record { share: 0, intended_ns: at, lag_ns: 20_000, latency_ns, outcome }
}
