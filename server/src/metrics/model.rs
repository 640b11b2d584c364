//! What is counted of one model version. Held by whoever serves it, so that nothing is looked up for a request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gpu::Timing;
use metrics::{Counter, Gauge, Histogram};
use models::{LatencyProfile, Share};
use parking_lot::Mutex;
use router::Rejection;

use super::histogram::nanos;
use super::name;
use super::store::{Registrar, Store};
use crate::clock;
use crate::infer::RequestTiming;

/// Batch sizes are counted one by one up to this; larger batches count as this size. Triton's configurations in use
/// stay below 1,024.
pub(crate) const ROWS_MAX: usize = CHUNK * 64;
const CHUNK: usize = 64;

/// The counters of one model version. Every request that arrived ends in exactly one of [`Self::answered`],
/// [`Self::refused`], [`Self::failed`] and [`Self::cancelled`].
///
/// Each field is a handle that was registered under a name; numbers are read back from the store.
#[derive(Debug)]
pub struct ModelMetrics {
    name: String,
    version: String,
    pub(super) store: Arc<Store>,
    arrived: Counter,
    arrived_rows: Counter,
    /// In the order of [`Deadline`].
    answered: [Counter; 3],
    answered_rows: Counter,
    /// In the order of [`Phase`].
    phases: [Histogram; 5],
    /// By [`Rejection::index`].
    refused: [Counter; Rejection::ALL.len()],
    failed: Counter,
    failed_rows: Counter,
    cancelled: Counter,
    lost_nanos: Counter,
    loads: Counter,
    load_failures: Counter,
    load_nanos: Counter,
    evictions: Counter,
    waiting: Gauge,
    prediction_ratio: Gauge,
    prediction_error: Gauge,
    batches: [OnceLock<Box<[OnceLock<BatchCounters>; CHUNK]>>; ROWS_MAX / CHUNK],
    pub(super) last_batch_millis: AtomicU64,
    /// Those of the profile in force.
    profile: Mutex<Vec<Gauge>>,
}

/// What a request's time went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Queue,
    Input,
    Infer,
    Output,
    Total,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] =
        [Self::Queue, Self::Input, Self::Infer, Self::Output, Self::Total];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Input => "input",
            Self::Infer => "infer",
            Self::Output => "output",
            Self::Total => "total",
        }
    }
}

/// What became of an answered request's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    Met,
    Missed,
    None,
}

impl Deadline {
    pub(crate) const ALL: [Self; 3] = [Self::Met, Self::Missed, Self::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::None => "none",
        }
    }
}

/// Handles of the batches of one size, registered when the first of them has run.
#[derive(Debug)]
struct BatchCounters {
    count: Counter,
    /// Nanoseconds of gathering, running and taking out.
    input: Counter,
    infer: Counter,
    output: Counter,
}

impl BatchCounters {
    fn register(to: Registrar<'_>, rows: usize) -> Self {
        let rows = rows.to_string();
        let nanos = |phase: Phase| {
            to.counter(name::BATCH_SECONDS, &[("phase", phase.name()), ("rows", &rows)])
        };
        Self {
            count: to.counter(name::BATCHES, &[("rows", &rows)]),
            input: nanos(Phase::Input),
            infer: nanos(Phase::Infer),
            output: nanos(Phase::Output),
        }
    }
}

/// What is counted where answers are kept.
#[derive(Clone, Debug)]
pub struct CacheCounters {
    /// Requests answered by a kept answer.
    pub hits: Counter,
    /// Requests that ran.
    pub misses: Counter,
    /// Requests that waited for the answer to an equal one.
    pub joined: Counter,
    /// Answers that made room, or found none.
    pub evictions: Counter,
    /// Bytes kept.
    pub bytes: Gauge,
}

/// What clients said of the answers of one variant.
#[derive(Debug)]
pub struct Verdicts {
    count: Counter,
    /// In millionths.
    loss: Counter,
}

impl Verdicts {
    /// A client said what an answer was worth.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is from 0 to 1 million"
    )]
    pub fn told(&self, loss: Share) {
        self.count.increment(1);
        self.loss.increment((f64::from(loss) * name::MILLION).round() as u64);
    }
}

impl ModelMetrics {
    pub(super) fn new(name: &str, version: &str) -> Self {
        let store = Arc::new(Store::default());
        let to = Registrar(&store);
        let refused =
            |rejection: &Rejection| to.counter(name::REFUSALS, &[("reason", rejection.name())]);
        let waiting = to.gauge(name::QUEUE, &[]);
        waiting.set(0);
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            arrived: to.counter(name::REQUESTS, &[]),
            arrived_rows: to.counter(name::REQUEST_ROWS, &[]),
            answered: Deadline::ALL
                .map(|deadline| to.counter(name::ANSWERS, &[("deadline", deadline.name())])),
            answered_rows: to.counter(name::ANSWER_ROWS, &[]),
            phases: Phase::ALL.map(|phase| to.histogram(name::LATENCY, &[("phase", phase.name())])),
            refused: std::array::from_fn(|index| refused(&Rejection::ALL[index])),
            failed: to.counter(name::FAILURES, &[]),
            failed_rows: to.counter(name::FAILURE_ROWS, &[]),
            cancelled: to.counter(name::CANCELLATIONS, &[]),
            lost_nanos: to.counter(name::LOST_SECONDS, &[]),
            loads: to.counter(name::LOADS, &[]),
            load_failures: to.counter(name::LOAD_FAILURES, &[]),
            load_nanos: to.counter(name::LOAD_SECONDS, &[]),
            evictions: to.counter(name::EVICTIONS, &[]),
            waiting,
            prediction_ratio: to.gauge(name::PREDICTION, &[]),
            prediction_error: to.gauge(name::PREDICTION_ERROR, &[]),
            batches: std::array::from_fn(|_| OnceLock::new()),
            last_batch_millis: AtomicU64::new(0),
            profile: Mutex::default(),
            store,
        }
    }

    /// A request of this model was offered to the scheduler.
    pub fn arrived(&self, rows: u32) {
        self.arrived.increment(1);
        self.arrived_rows.increment(rows.into());
    }

    /// The rows of a request that was said to have arrived before they were known.
    pub fn arrived_rows(&self, rows: u32) {
        self.arrived_rows.increment(rows.into());
    }

    /// A request got its answer, `total` after its arrival; `in_time` is `None` where it had no deadline.
    pub fn answered(
        &self,
        timing: &RequestTiming,
        total: Duration,
        in_time: Option<bool>,
        rows: u32,
    ) {
        let deadline = match in_time {
            Some(true) => Deadline::Met,
            Some(false) => Deadline::Missed,
            None => Deadline::None,
        };
        self.answered[deadline as usize].increment(1);
        self.answered_rows.increment(rows.into());
        let RequestTiming { queue, input, infer, output, batch: _ } = *timing;
        // In the order of `Phase`.
        for (phase, took) in self.phases.iter().zip([queue, input, infer, output, total]) {
            phase.record(took);
        }
    }

    /// The scheduler gave a request up, so long after its arrival.
    pub fn refused(&self, rejection: &Rejection, after: Duration) {
        self.refused[rejection.index()].increment(1);
        self.lost_nanos.increment(nanos(after));
    }

    /// A request's batch failed; the request ended so long after its arrival.
    pub fn failed(&self, rows: u32, after: Duration) {
        self.failed.increment(1);
        self.failed_rows.increment(rows.into());
        self.lost_nanos.increment(nanos(after));
    }

    /// A client left before its answer, so long after its request arrived.
    pub fn cancelled(&self, after: Duration) {
        self.cancelled.increment(1);
        self.lost_nanos.increment(nanos(after));
    }

    /// A batch of so many rows ran.
    pub fn batch_ran(&self, rows: u32, timing: &Timing) {
        let rows = (rows as usize).clamp(1, ROWS_MAX);
        let chunk = self.batches[(rows - 1) / CHUNK]
            .get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        let counters = chunk[(rows - 1) % CHUNK]
            .get_or_init(|| BatchCounters::register(Registrar(&self.store), rows));
        counters.count.increment(1);
        counters.input.increment(nanos(timing.input));
        counters.infer.increment(nanos(timing.infer));
        counters.output.increment(nanos(timing.output));
        self.last_batch_millis.fetch_max(clock::unix_millis(), Relaxed);
    }

    /// How well runs are predicted: measured over profiled time, and the mean relative error of the prediction.
    pub fn prediction(&self, ratio: f64, error: f64) {
        self.prediction_ratio.set(ratio);
        self.prediction_error.set(error);
    }

    /// An executor loaded it, or tried to.
    pub fn loaded(&self, took: Duration, well: bool) {
        let count = if well { &self.loads } else { &self.load_failures };
        count.increment(1);
        self.load_nanos.increment(nanos(took));
    }

    /// An executor let it go.
    pub fn evicted(&self) {
        self.evictions.increment(1);
    }

    /// How many requests wait.
    #[expect(clippy::cast_precision_loss, reason = "queues are far shorter than 2^53")]
    pub fn waiting(&self, requests: usize) {
        self.waiting.set(requests as f64);
    }

    /// The profile that the scheduler plans with, as measured at load. Not for the path of a request: it locks.
    pub fn profiled(&self, profile: &LatencyProfile) {
        let mut gauges = self.profile.lock();
        // What an earlier profile knew of other sizes is not known of this one.
        gauges.drain(..).for_each(|gauge| gauge.set(f64::NAN));
        let to = Registrar(&self.store);
        for point in profile.points() {
            let rows = point.batch.to_string();
            for (name, time) in
                [(name::PROFILE_MEDIAN, point.median), (name::PROFILE_P99, point.p99)]
            {
                let gauge = to.gauge(name, &[("rows", &rows)]);
                gauge.set(time);
                gauges.push(gauge);
            }
        }
    }

    /// Counts the requests of this task that a variant answered. For whoever keeps it.
    pub fn answers_of(&self, variant: &str) -> Counter {
        Registrar(&self.store).counter(name::TASK_ANSWERS, &[("variant", variant)])
    }

    /// Counts what becomes of requests of a model whose answers are kept. For whoever keeps them.
    pub fn cached(&self) -> CacheCounters {
        let counter = |name| Registrar(&self.store).counter(name, &[]);
        CacheCounters {
            hits: counter(name::CACHE_HITS),
            misses: counter(name::CACHE_MISSES),
            joined: counter(name::CACHE_JOINED),
            evictions: counter(name::CACHE_EVICTIONS),
            bytes: Registrar(&self.store).gauge(name::CACHE_BYTES, &[]),
        }
    }

    /// Counts what clients say of a variant's answers to this task. For whoever keeps it.
    pub fn verdicts_of(&self, variant: &str) -> Verdicts {
        let counter = |name| Registrar(&self.store).counter(name, &[("variant", variant)]);
        Verdicts { count: counter(name::FEEDBACK), loss: counter(name::FEEDBACK_LOSS) }
    }

    /// Counts how often a variant was asked for this task's composed answers. For whoever keeps it.
    pub fn asked_of(&self, variant: &str) -> Counter {
        Registrar(&self.store).counter(name::TASK_ASKED, &[("variant", variant)])
    }

    /// Counts this task's answers that followed from those of other requests. For whoever keeps it.
    pub fn reconstructed(&self) -> Counter {
        Registrar(&self.store).counter(name::TASK_RECONSTRUCTED, &[])
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}
