//! What is counted of one model version. Held by whoever serves it, so that nothing is looked up for a request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use gpu::Timing;
use models::LatencyProfile;
use parking_lot::Mutex;
use router::Rejection;

use super::histogram::{Counter, DurationHistogram, nanos};
use super::samples::label;
use crate::clock;
use crate::infer::RequestTiming;

/// Batch sizes are counted one by one up to this; larger batches count as this size. Triton's configurations in use
/// stay below 1,024.
pub(crate) const ROWS_MAX: usize = CHUNK * 64;
const CHUNK: usize = 64;

/// The counters of one model version. Every request that arrived ends in exactly one of [`Self::answered`],
/// [`Self::refused`], [`Self::failed`] and [`Self::cancelled`].
#[derive(Debug)]
pub struct ModelMetrics {
    name: String,
    version: String,
    /// `model="..",version=".."`, escaped.
    labels: String,
    pub(super) arrived: Counter,
    pub(super) arrived_rows: Counter,
    /// In the order of [`Deadline`].
    answered: [Counter; 3],
    pub(super) answered_rows: Counter,
    /// In the order of [`Phase`].
    phases: [DurationHistogram; 5],
    /// By [`Rejection::index`].
    refused: [Counter; Rejection::ALL.len()],
    pub(super) failed: Counter,
    pub(super) failed_rows: Counter,
    pub(super) cancelled: Counter,
    waiting: AtomicU64,
    prediction_ratio: AtomicU64,
    prediction_error: AtomicU64,
    batches: [OnceLock<Box<[BatchCounters; CHUNK]>>; ROWS_MAX / CHUNK],
    last_batch_millis: AtomicU64,
    profile: Mutex<Option<LatencyProfile>>,
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

#[derive(Debug, Default)]
struct BatchCounters {
    count: Counter,
    input: Counter,
    infer: Counter,
    output: Counter,
}

/// The batches of one size that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchCount {
    pub(crate) rows: u64,
    pub(crate) count: u64,
    pub(crate) input_nanos: u64,
    pub(crate) infer_nanos: u64,
    pub(crate) output_nanos: u64,
}

impl BatchCount {
    /// The time that executors were taken.
    pub(crate) fn nanos(&self) -> u64 {
        self.input_nanos + self.infer_nanos + self.output_nanos
    }
}

impl ModelMetrics {
    pub(super) fn new(name: &str, version: &str) -> Self {
        let unknown = f64::NAN.to_bits();
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            labels: format!("{},{}", label("model", name), label("version", version)),
            arrived: Counter::default(),
            arrived_rows: Counter::default(),
            answered: Default::default(),
            answered_rows: Counter::default(),
            phases: Default::default(),
            refused: Default::default(),
            failed: Counter::default(),
            failed_rows: Counter::default(),
            cancelled: Counter::default(),
            waiting: AtomicU64::new(0),
            prediction_ratio: AtomicU64::new(unknown),
            prediction_error: AtomicU64::new(unknown),
            batches: std::array::from_fn(|_| OnceLock::new()),
            last_batch_millis: AtomicU64::new(0),
            profile: Mutex::new(None),
        }
    }

    /// A request of this model was offered to the scheduler.
    pub fn arrived(&self, rows: u32) {
        self.arrived.add(1);
        self.arrived_rows.add(rows.into());
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
        self.answered[deadline as usize].add(1);
        self.answered_rows.add(rows.into());
        self.phase(Phase::Queue).record(timing.queue);
        self.phase(Phase::Input).record(timing.input);
        self.phase(Phase::Infer).record(timing.infer);
        self.phase(Phase::Output).record(timing.output);
        self.phase(Phase::Total).record(total);
    }

    /// The scheduler gave a request up.
    pub fn refused(&self, rejection: &Rejection) {
        self.refused[rejection.index()].add(1);
    }

    /// A request's batch failed.
    pub fn failed(&self, rows: u32) {
        self.failed.add(1);
        self.failed_rows.add(rows.into());
    }

    /// A client left before its answer.
    pub fn cancelled(&self) {
        self.cancelled.add(1);
    }

    /// A batch of so many rows ran.
    pub fn batch_ran(&self, rows: u32, timing: &Timing) {
        let place = (rows as usize).clamp(1, ROWS_MAX) - 1;
        let chunk = self.batches[place / CHUNK]
            .get_or_init(|| Box::new(std::array::from_fn(|_| BatchCounters::default())));
        let counters = &chunk[place % CHUNK];
        counters.count.add(1);
        counters.input.add(nanos(timing.input));
        counters.infer.add(nanos(timing.infer));
        counters.output.add(nanos(timing.output));
        self.last_batch_millis.fetch_max(clock::unix_millis(), Relaxed);
    }

    /// How well runs are predicted: measured over profiled time, and the mean relative error of the prediction.
    pub fn prediction(&self, ratio: f64, error: f64) {
        self.prediction_ratio.store(ratio.to_bits(), Relaxed);
        self.prediction_error.store(error.to_bits(), Relaxed);
    }

    /// How many requests wait.
    pub fn waiting(&self, requests: usize) {
        self.waiting.store(requests as u64, Relaxed);
    }

    /// The profile that the scheduler plans with, as measured at load. Not for the path of a request: it locks.
    pub fn profiled(&self, profile: &LatencyProfile) {
        *self.profile.lock() = Some(profile.clone());
    }
}

/// What the table and the statistics read.
impl ModelMetrics {
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

    pub(super) fn labels(&self) -> &str {
        &self.labels
    }

    pub(crate) fn phase(&self, phase: Phase) -> &DurationHistogram {
        &self.phases[phase as usize]
    }

    pub(super) fn answered_of(&self, deadline: Deadline) -> u64 {
        self.answered[deadline as usize].value()
    }

    pub(crate) fn answered_requests(&self) -> u64 {
        self.answered.iter().map(Counter::value).sum()
    }

    pub(crate) fn answered_rows(&self) -> u64 {
        self.answered_rows.value()
    }

    pub(super) fn refused_of(&self, rejection: &Rejection) -> u64 {
        self.refused[rejection.index()].value()
    }

    /// Requests that ended without an answer.
    pub(crate) fn lost_requests(&self) -> u64 {
        let refused: u64 = self.refused.iter().map(Counter::value).sum();
        refused + self.failed.value() + self.cancelled.value()
    }

    /// Requests that have not ended. A request counted between two loads is not taken for a negative number.
    pub(super) fn in_flight(&self) -> u64 {
        let ended = self.answered_requests() + self.lost_requests();
        self.arrived.value().saturating_sub(ended)
    }

    /// Answers in time among all requests that had a deadline and ended; `None` before the first deadline is known.
    /// Refusals and failures count as missed, also of requests without a deadline: the number never flatters.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to 15 digits is enough")]
    pub(super) fn attainment(&self) -> Option<f64> {
        let met = self.answered_of(Deadline::Met);
        let late = self.answered_of(Deadline::Missed);
        let unreachable = Rejection::DeadlineUnreachable { predicted: Duration::ZERO };
        let for_deadline =
            self.refused_of(&unreachable) + self.refused_of(&Rejection::DeadlineHopeless);
        if met + late + for_deadline == 0 {
            return None;
        }
        let missed = late + self.lost_requests().saturating_sub(self.cancelled.value());
        Some(met as f64 / (met + missed) as f64)
    }

    pub(super) fn waiting_requests(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// `None` before the first prediction.
    pub(super) fn prediction_ratio(&self) -> Option<f64> {
        known(&self.prediction_ratio)
    }

    /// `None` before the first prediction.
    pub(super) fn prediction_error(&self) -> Option<f64> {
        known(&self.prediction_error)
    }

    /// The batches that ran, by rising size.
    pub(crate) fn batches(&self) -> impl Iterator<Item = BatchCount> + '_ {
        let counters = self.batches.iter().enumerate().filter_map(|(chunk, counters)| {
            let sizes = (chunk * CHUNK + 1) as u64..;
            counters.get().map(|counters| sizes.zip(counters.iter()))
        });
        counters.flatten().filter(|(_, counters)| counters.count.value() > 0).map(
            |(rows, counters)| BatchCount {
                rows,
                count: counters.count.value(),
                input_nanos: counters.input.value(),
                infer_nanos: counters.infer.value(),
                output_nanos: counters.output.value(),
            },
        )
    }

    pub(crate) fn batch_count(&self) -> u64 {
        self.batches().map(|batch| batch.count).sum()
    }

    /// Since 1970; 0 before the first batch.
    pub(crate) fn last_batch_millis(&self) -> u64 {
        self.last_batch_millis.load(Relaxed)
    }

    pub(super) fn profile(&self) -> Option<LatencyProfile> {
        self.profile.lock().clone()
    }
}

fn known(bits: &AtomicU64) -> Option<f64> {
    Some(f64::from_bits(bits.load(Relaxed))).filter(|value| !value.is_nan())
}
