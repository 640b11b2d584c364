//! The requests of a recording again, on executors that take what was drawn for them: what the simulator predicts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use batcher::Instant;
use models::{BatchId, ExecutorId, VariantId};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use router::{Action, Event, Router, RouterSettings, UnknownSetting};

use super::outcomes::Outcomes;
use super::runs::{Run, Runs, Times};

/// Drives a router through what happened outside of it.
pub(super) struct Predicted<'a> {
    router: Router,
    runs: &'a Runs,
    times: Times,
    rng: Pcg64Mcg,
    outcomes: Outcomes,
    /// By executor; the batch in front runs.
    held: Vec<VecDeque<(BatchId, Run)>>,
    ends: BTreeSet<(Instant, ExecutorId)>,
    load_times: BTreeMap<VariantId, Duration>,
    /// Loads under way, by when they are done.
    loads: BTreeSet<(Instant, ExecutorId, VariantId)>,
}

impl<'a> Predicted<'a> {
    /// What becomes of the requests that arrive from `from` on.
    pub(super) fn play(
        settings: RouterSettings,
        happened: &[(Instant, Event)],
        (runs, times): (&'a Runs, Times),
        from: Instant,
        seed: u64,
    ) -> Result<Outcomes, UnknownSetting> {
        let mut predicted = Self {
            router: Router::new(settings)?,
            runs,
            times,
            rng: Pcg64Mcg::seed_from_u64(seed),
            outcomes: Outcomes::from(from),
            held: Vec::new(),
            ends: BTreeSet::new(),
            load_times: BTreeMap::new(),
            loads: BTreeSet::new(),
        };
        let mut now = Instant::ZERO;
        for (at, event) in happened {
            predicted.until(*at, &mut now);
            now = *at;
            // Loads of its own take as long as was believed, and succeed.
            if matches!(event, Event::WeightsLoaded { .. } | Event::WeightsFailed { .. }) {
                continue;
            }
            if let Event::VariantLoaded { spec } = event {
                let load = spec.weights.map(|weights| weights.load).unwrap_or_default();
                predicted.load_times.insert(spec.variant, load);
            }
            predicted.feed(event.clone(), now);
        }
        predicted.until(Instant::NEVER, &mut now);
        Ok(predicted.outcomes)
    }

    /// Batches end and timeouts come before `until`.
    fn until(&mut self, until: Instant, now: &mut Instant) {
        loop {
            let end = self.ends.first().copied().filter(|(at, _)| *at < until);
            if let Some(&(at, executor, variant)) = self.loads.first() {
                let timeout = self.router.poll_timeout().map_or(Instant::NEVER, |(at, _)| at);
                if at < until && end.is_none_or(|(end, _)| at <= end) && at <= timeout {
                    self.loads.remove(&(at, executor, variant));
                    *now = at;
                    self.feed(Event::WeightsLoaded { executor, variant }, at);
                    continue;
                }
            }
            let timeout = self.router.poll_timeout().map(|(at, _)| at.max(*now));
            let timeout = timeout.filter(|at| *at < until);
            match (end, timeout) {
                (Some((at, executor)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                    *now = at;
                    self.end(executor, at);
                }
                (_, Some(at)) => {
                    *now = at;
                    self.router.handle_timeout(at);
                    self.carry_out(at);
                }
                (_, None) => return,
            }
        }
    }

    fn feed(&mut self, event: Event, now: Instant) {
        self.outcomes.event(&event, now);
        self.router.handle(event, now);
        self.carry_out(now);
    }

    fn end(&mut self, executor: ExecutorId, now: Instant) {
        self.ends.remove(&(now, executor));
        let (batch, run) = self.held[executor.index()].pop_front().expect("what ends was held");
        // The next batch begins on the executor's own; it may be withdrawn in the same moment.
        self.feed(Event::BatchFinished { batch, elapsed: run.elapsed }, now);
        self.start(executor, now);
    }

    fn start(&mut self, executor: ExecutorId, now: Instant) {
        let running = self.ends.iter().any(|(_, other)| *other == executor);
        if let Some((_, run)) = self.held[executor.index()].front().filter(|_| !running) {
            self.ends.insert((now + run.wall, executor));
        }
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.router.poll_action() {
            self.outcomes.action(&action, &self.router);
            match action {
                Action::Launch { executor, batch, variant, rows } => {
                    let run = self.runs.draw(self.times, (variant, rows), now, &mut self.rng);
                    let run = run.expect("what is launched was loaded with its profile");
                    if self.held.len() <= executor.index() {
                        self.held.resize_with(executor.index() + 1, VecDeque::new);
                    }
                    self.held[executor.index()].push_back((batch, run));
                    self.start(executor, now);
                }
                Action::Withdraw { executor, batch } => {
                    self.held[executor.index()].retain(|(held, _)| *held != batch);
                }
                Action::Abort { executor, batch } => {
                    self.held[executor.index()].retain(|(held, _)| *held != batch);
                    self.ends.retain(|(_, other)| *other != executor);
                }
                Action::Load { executor, variant } => {
                    let before = self.loads.iter().filter(|(_, other, _)| *other == executor);
                    let free = before.map(|(at, ..)| *at).max().unwrap_or(now).max(now);
                    let load = self.load_times.get(&variant).copied().unwrap_or_default();
                    self.loads.insert((free + load, executor, variant));
                }
                Action::Evict { .. }
                | Action::Choose { .. }
                | Action::Reply { .. }
                | Action::Unload { .. } => {}
            }
        }
    }
}
