//! Prediction against reality: a recording of the server, and what the simulator makes of the same requests.

use std::collections::BTreeMap;
use std::time::Duration;

use batcher::Instant;
use models::{BatchId, ExecutorId, VariantId};
use router::{Action, Event, Line, RouterSettings};

use super::outcomes::{Outcome, Outcomes};
use super::predicted::Predicted;
use super::runs::{Run, Runs, Times};
use super::{ReplayError, walk};

/// How a prediction is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Where run times come from.
    pub times: Times,
    /// Requests that arrive so soon after the first are served and not counted.
    pub warmup: Duration,
    /// Predictions, of which the median counts.
    pub runs: u64,
    /// Of the first.
    pub seed: u64,
}

/// A number as it was measured and as it is predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// By the recording.
    pub measured: f64,
    /// By the simulator.
    pub predicted: f64,
}

impl Comparison {
    /// Predicted over measured; 1 where both are nothing.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.measured == self.predicted { 1.0 } else { self.predicted / self.measured }
    }
}

/// What was measured and predicted of one variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// Which.
    pub variant: VariantId,
    /// Requests that were counted, a second.
    pub offered: f64,
    /// Answers in time a second.
    pub goodput: Comparison,
    /// The share that was refused.
    pub refused: Comparison,
    /// From arrival to the end of the batch, median, in seconds.
    pub p50: Comparison,
    /// The same, 99th percentile.
    pub p99: Comparison,
    /// Rows of a batch, on average.
    pub batch: Comparison,
    /// Run times over the profile that was measured at load, the median.
    pub over_profile: f64,
}

/// What a recording holds: what happened outside of the router, and what became of it.
#[derive(Default)]
struct Recorded {
    settings: RouterSettings,
    happened: Vec<(Instant, Event)>,
    runs: Runs,
    launched: BTreeMap<BatchId, (Instant, ExecutorId, VariantId, u32)>,
    /// By executor, when its last batch ended.
    ended: BTreeMap<ExecutorId, Instant>,
}

/// Predicts what became of the requests of a recording, by variant.
///
/// # Errors
/// The recording cannot be read, is not decided the same again, or holds no requests.
pub fn validate(text: &str, validation: &Validation) -> Result<Vec<Validated>, ReplayError> {
    let mut recorded = Recorded::default();
    walk(text.lines(), |_, at, line| recorded.note(at, line))?;
    recorded.runs.settle();
    let empty = || ReplayError::Line { line: 1, reason: "no request arrives after it".to_owned() };
    let mut arrivals = recorded.happened.iter().filter_map(|(at, event)| {
        matches!(event, Event::RequestArrived { .. } | Event::TaskArrived { .. }).then_some(*at)
    });
    let first = arrivals.next().ok_or_else(empty)?;
    let (from, last) = (first + validation.warmup, arrivals.next_back().unwrap_or(first));
    let mut measured = Outcomes::from(from);
    walk(text.lines(), |router, at, line| match line {
        Line::Event(_, event) => measured.event(event, at),
        Line::Action(action) => measured.action(action, router),
        Line::Settings(_) | Line::Timeout(_) => {}
    })?;
    let mut predicted = Vec::new();
    for seed in validation.seed..validation.seed + validation.runs.max(1) {
        let (settings, runs) = (recorded.settings.clone(), (&recorded.runs, validation.times));
        let played = Predicted::play(settings, &recorded.happened, runs, from, seed);
        let wrong = |reason: String| ReplayError::Line { line: 1, reason };
        predicted.push(played.map_err(|error| wrong(error.to_string()))?.models);
    }
    let seconds = last.since(from).as_secs_f64().max(1e-9);
    let of = |(variant, measured): (&VariantId, &Outcome)| {
        let predicted: Vec<Outcome> =
            predicted.iter().map(|run| run.get(variant).cloned().unwrap_or_default()).collect();
        let over_profile = recorded.runs.over_profile(*variant);
        compared(*variant, (measured, &predicted), seconds, over_profile)
    };
    Ok(measured.models.iter().map(of).collect())
}

impl Recorded {
    fn note(&mut self, at: Instant, line: &Line) {
        match line {
            Line::Settings(settings) => self.settings = settings.clone(),
            Line::Timeout(_) => {}
            Line::Action(Action::Launch { executor, batch, variant, rows }) => {
                self.launched.insert(*batch, (at, *executor, *variant, *rows));
            }
            Line::Action(Action::Withdraw { batch, .. } | Action::Abort { batch, .. }) => {
                self.launched.remove(batch);
            }
            Line::Action(
                Action::Choose { .. }
                | Action::Reply { .. }
                | Action::Load { .. }
                | Action::Evict { .. }
                | Action::Unload { .. },
            ) => {}
            Line::Event(_, event) => self.happened(at, event),
        }
    }

    fn happened(&mut self, at: Instant, event: &Event) {
        match event {
            Event::BatchFinished { batch, elapsed } => self.ended(*batch, Some(*elapsed), at),
            Event::BatchFailed { batch } => self.ended(*batch, None, at),
            Event::VariantLoaded { spec } => {
                self.runs.profiles.insert(spec.variant, spec.profile.clone());
                self.happened.push((at, event.clone()));
            }
            Event::RequestArrived { .. }
            | Event::TaskArrived { .. }
            | Event::TaskLoaded { .. }
            | Event::TaskRetired { .. }
            | Event::Feedback { .. }
            | Event::RequestCancelled { .. }
            | Event::VariantRetired { .. }
            | Event::ExecutorUp { .. }
            | Event::ExecutorDown { .. }
            | Event::PoliciesChanged { .. }
            | Event::MemoryStated { .. }
            | Event::WeightsLoaded { .. }
            | Event::WeightsFailed { .. }
            | Event::PlacementDecided { .. }
            | Event::MixPlanned { .. }
            | Event::Draining => self.happened.push((at, event.clone())),
        }
    }

    fn ended(&mut self, batch: BatchId, elapsed: Option<Duration>, at: Instant) {
        let Some((launched, executor, variant, rows)) = self.launched.remove(&batch) else {
            return;
        };
        let before = self.ended.insert(executor, at).unwrap_or(Instant::ZERO);
        if let Some(elapsed) = elapsed {
            let began = launched.max(before);
            self.runs.note(variant, rows, began, Run { wall: at.since(began), elapsed });
        }
    }
}

fn compared(
    variant: VariantId,
    (measured, predicted): (&Outcome, &[Outcome]),
    seconds: f64,
    over_profile: f64,
) -> Validated {
    let compare = |number: &dyn Fn(&Outcome) -> f64| {
        let mut all: Vec<f64> = predicted.iter().map(number).collect();
        all.sort_by(f64::total_cmp);
        Comparison { measured: number(measured), predicted: all[all.len() / 2] }
    };
    let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
    Validated {
        variant,
        offered: measured.asked as f64 / seconds,
        goodput: compare(&|outcome| outcome.in_time as f64 / seconds),
        refused: compare(&|outcome| share(outcome.refused, outcome.asked)),
        p50: compare(&|outcome| outcome.latencies.percentile(0.5).as_secs_f64()),
        p99: compare(&|outcome| outcome.latencies.percentile(0.99).as_secs_f64()),
        batch: compare(&|outcome| share(outcome.batches.1, outcome.batches.0)),
        over_profile,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use batcher::{Deadline, PolicySettings, Request, RequestId};
    use models::{LatencyProfile, Slo};
    use router::{Router, Shape, ShapeId, VariantSpec};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Writes down what a router is told and decides.
    struct Recorder {
        router: Router,
        text: String,
    }

    impl Recorder {
        fn line(&mut self, line: &Line) {
            writeln!(self.text, "{}", serde_json::to_string(line).unwrap()).unwrap();
        }

        /// The batch that was launched, if one was.
        fn feed(&mut self, at: Instant, event: Event) -> Option<BatchId> {
            self.line(&Line::Event(at, event.clone()));
            self.router.handle(event, at);
            let mut launched = None;
            while let Some(action) = self.router.poll_action() {
                if let Action::Launch { batch, .. } = &action {
                    launched = Some(*batch);
                }
                self.line(&Line::Action(action));
            }
            launched
        }
    }

    /// A request every 10 ms, alone on its executor; a run takes so long and is heard of 1 ms later.
    fn recording(takes: Duration) -> String {
        let settings = RouterSettings::default();
        let router = Router::new(settings.clone()).unwrap();
        let mut recorder = Recorder { router, text: String::new() };
        recorder.line(&Line::Settings(settings));
        let executor = ExecutorId(0);
        recorder.feed(Instant::ZERO, Event::ExecutorUp { executor, preemptible: false });
        let spec = VariantSpec {
            variant: VariantId(0),
            profile: LatencyProfile::linear(MS, MS, 8),
            profiled_elements: 1,
            slo: Some(Slo { latency: 8 * MS }),
            queue_max: 100,
            policy: batcher::ALL[0].name.to_owned(),
            settings: PolicySettings::default(),
            weight: 1.0,
            executors: vec![executor],
            weights: None,
        };
        recorder.feed(Instant::ZERO, Event::VariantLoaded { spec: Box::new(spec) });
        for id in 0..200 {
            let arrived = Instant::ZERO + MS * 10 * u32::try_from(id + 1).unwrap();
            let deadline = Deadline(arrived + 8 * MS);
            let request = Request { id: RequestId(id), rows: 1, priority: 1, arrived, deadline };
            let shape = Shape { id: ShapeId(1), elements: 1 };
            let event = Event::RequestArrived { request, variant: VariantId(0), shape };
            let batch = recorder.feed(arrived, event).unwrap();
            let event = Event::BatchFinished { batch, elapsed: takes };
            recorder.feed(arrived + takes + MS, event);
        }
        recorder.text
    }

    fn validated(text: &str, times: Times) -> Validated {
        let validation = Validation { times, warmup: 500 * MS, runs: 3, seed: 1 };
        let all = validate(text, &validation).unwrap();
        let [one] = &all[..] else { panic!("{all:?}") };
        one.clone()
    }

    fn near(number: f64, wanted: f64) -> bool {
        (number / wanted - 1.0).abs() < 0.01
    }

    #[test]
    fn what_was_recorded_is_predicted_from_its_own_run_times() {
        let model = validated(&recording(4 * MS), Times::Recorded);
        assert!(near(model.offered, 100.0) && near(model.goodput.measured, 100.0), "{model:?}");
        assert!(near(model.p99.measured, 5e-3) && near(model.p99.ratio(), 1.0), "{model:?}");
        assert!(near(model.goodput.ratio(), 1.0) && near(model.over_profile, 2.0), "{model:?}");
    }

    #[test]
    fn a_profile_that_is_wrong_shows_in_its_prediction() {
        let model = validated(&recording(4 * MS), Times::Profile);
        assert!(near(model.p50.predicted, 2e-3) && near(model.p50.ratio(), 0.4), "{model:?}");
    }

    #[test]
    fn a_recording_without_requests_is_refused() {
        let text = serde_json::to_string(&Line::Settings(RouterSettings::default())).unwrap();
        let validation = Validation { times: Times::Profile, warmup: MS, runs: 1, seed: 1 };
        let error = validate(&text, &validation).unwrap_err();
        assert!(error.to_string().contains("no request"), "{error}");
    }
}
