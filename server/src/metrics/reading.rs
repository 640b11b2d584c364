//! What a scrape and the statistics read of one model version.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use router::Rejection;

use super::histogram::DurationHistogram;
use super::model::{Deadline, ModelMetrics, Phase};
use super::name;

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

/// Look-ups by name: for a scrape, not for the path of a request.
impl ModelMetrics {
    /// A counter without further labels.
    pub(super) fn counter(&self, name: &str) -> u64 {
        self.store.counter(name, &[])
    }

    /// A counter without further labels; `None` where it was not registered.
    pub(super) fn counter_if(&self, name: &str) -> Option<u64> {
        self.store.counter_if(name)
    }

    /// A gauge without further labels; `None` while nothing is known.
    pub(super) fn gauge(&self, name: &str) -> Option<f64> {
        self.store.gauge(name, &[])
    }

    pub(super) fn phase(&self, phase: Phase) -> Arc<DurationHistogram> {
        self.store.histogram(name::LATENCY, &[("phase", phase.name())]).unwrap_or_default()
    }

    /// The time that answered requests spent in that phase.
    pub(crate) fn phase_nanos(&self, phase: Phase) -> u64 {
        self.phase(phase).nanos()
    }

    pub(super) fn answered_of(&self, deadline: Deadline) -> u64 {
        self.store.counter(name::ANSWERS, &[("deadline", deadline.name())])
    }

    pub(crate) fn answered_requests(&self) -> u64 {
        self.store.counters_sum(name::ANSWERS)
    }

    pub(crate) fn answered_rows(&self) -> u64 {
        self.counter(name::ANSWER_ROWS)
    }

    pub(super) fn refused_of(&self, rejection: &Rejection) -> u64 {
        self.store.counter(name::REFUSALS, &[("reason", rejection.name())])
    }

    /// Requests that ended without an answer.
    pub(crate) fn lost_requests(&self) -> u64 {
        self.store.counters_sum(name::REFUSALS)
            + self.counter(name::FAILURES)
            + self.counter(name::CANCELLATIONS)
    }

    /// The time of those requests from their arrival to their end.
    pub(crate) fn lost_nanos(&self) -> u64 {
        self.counter(name::LOST_SECONDS)
    }

    /// Requests that have not ended. A request counted between two loads is not taken for a negative number.
    pub(super) fn in_flight(&self) -> u64 {
        let ended = self.answered_requests() + self.lost_requests();
        self.counter(name::REQUESTS).saturating_sub(ended)
    }

    /// Answers in time among all requests that had a deadline and ended; `None` before the first deadline is known.
    /// Refusals and failures count as missed, also of requests without a deadline: the number never flatters.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to 15 digits is enough")]
    pub(super) fn attainment(&self) -> Option<f64> {
        let met = self.answered_of(Deadline::Met);
        let late = self.answered_of(Deadline::Missed);
        let unreachable =
            Rejection::DeadlineUnreachable { predicted: Duration::ZERO, soonest: None };
        let for_deadline =
            self.refused_of(&unreachable) + self.refused_of(&Rejection::DeadlineHopeless);
        if met + late + for_deadline == 0 {
            return None;
        }
        let lost = self.lost_requests().saturating_sub(self.counter(name::CANCELLATIONS));
        Some(met as f64 / (met + late + lost) as f64)
    }

    /// The batches that ran, by rising size.
    pub(crate) fn batches(&self) -> Vec<BatchCount> {
        let read = |rows: u64| {
            let label = rows.to_string();
            let nanos = |phase: Phase| {
                let labels = [("phase", phase.name()), ("rows", label.as_str())];
                self.store.counter(name::BATCH_SECONDS, &labels)
            };
            BatchCount {
                rows,
                count: self.store.counter(name::BATCHES, &[("rows", &label)]),
                input_nanos: nanos(Phase::Input),
                infer_nanos: nanos(Phase::Infer),
                output_nanos: nanos(Phase::Output),
            }
        };
        self.store.counter_labels(name::BATCHES, "rows").into_iter().map(read).collect()
    }

    pub(super) fn batch_count(&self) -> u64 {
        self.store.counters_sum(name::BATCHES)
    }

    /// Since 1970; 0 before the first batch.
    pub(crate) fn last_batch_millis(&self) -> u64 {
        self.last_batch_millis.load(Relaxed)
    }

    /// Requests of this task that were answered, by the variant that did.
    #[must_use]
    pub fn by_variant(&self) -> Vec<(String, u64)> {
        self.store.counters_of(name::TASK_ANSWERS)
    }

    /// What clients said of this task's answers: how often and the sum of the losses, by the variant that answered.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean to 15 digits is enough")]
    pub fn verdicts(&self) -> Vec<(String, u64, f64)> {
        let losses = self.store.counters_of(name::FEEDBACK_LOSS);
        let counts = self.store.counters_of(name::FEEDBACK).into_iter();
        let verdict = |((variant, count), (_, loss)): ((String, u64), (String, u64))| {
            (variant, count, loss as f64 / name::MILLION)
        };
        // Both are registered together, and read in the order of their labels.
        counts.zip(losses).map(verdict).collect()
    }

    /// By variant, how often it was asked for this task's composed answers.
    #[must_use]
    pub fn asked_by_variant(&self) -> Vec<(String, u64)> {
        self.store.counters_of(name::TASK_ASKED)
    }

    /// The known values of a gauge that has one for each number of rows, by rising rows.
    pub(super) fn by_rows(&self, name: &str) -> Vec<(u64, f64)> {
        let read = |rows: u64| {
            let value = self.store.gauge(name, &[("rows", &rows.to_string())]);
            value.map(|value| (rows, value))
        };
        self.store.gauge_labels(name, "rows").into_iter().filter_map(read).collect()
    }
}
