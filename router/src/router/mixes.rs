//! Tasks that follow a plan: what they are asked for, and the shares that they follow.

use std::time::Duration;

use batcher::{Instant, nanos};
use models::{TaskId, VariantId};

use super::{Router, Variant};
use crate::Choice;
use crate::estimate::Estimate;
use crate::lane::{Lane, batch_max};
use crate::mix::{Contender, Demand, Mix, Survey};

/// Batches are planned to run for this part of the time from arrival to deadline: the rest goes by until they start. A
/// quarter gives 0.2 points less accuracy under bursts, a half up to 0.1 % more losses (`make bench-tasks`).
const RUNS: f64 = 0.4;
/// What is asked is planned with that much more: arrivals of the next epoch are not those of the last.
const HEADROOM: f64 = 1.05;
/// A variant that was not asked for so long takes no executor time.
const ASKED: Duration = Duration::from_secs(1);

impl Router {
    /// What there is to plan; `None` while no task follows a plan. It changes nothing: whoever plans says so by
    /// [`crate::Event::MixPlanned`].
    #[must_use]
    pub fn survey(&self, now: Instant) -> Option<Survey> {
        let tasks = (0_u32..).map(TaskId).zip(&self.tasks);
        let tasks = tasks.filter_map(|(id, task)| {
            let task = task.as_ref()?;
            let asked = task.policy.asked(now)?;
            let choices = task.choices.iter().map(|(_, choice)| choice);
            let variants = choices.filter_map(|choice| self.contender(choice, asked.budget));
            Some(Demand { task: id, rate: asked.rate * HEADROOM, variants: variants.collect() })
        });
        let tasks: Vec<_> = tasks.collect();
        if tasks.is_empty() {
            return None;
        }
        let contends = |id: VariantId| {
            let mut contenders = tasks.iter().flat_map(|demand| &demand.variants);
            contenders.any(|contender| contender.variant == id)
        };
        let others = self.variants.iter().flatten();
        let others = others.filter(|variant| !contends(variant.spec.variant));
        let taken = others.filter_map(|variant| {
            let executors = self.cluster.with(variant.spec.variant);
            let time = self.time_asked(variant, now);
            (time > 0.0).then(|| (executors.collect(), time))
        });
        Some(Survey { taken: taken.collect(), tasks })
    }

    /// A variant as it is planned with; `None` if it cannot answer within that time.
    fn contender(&self, choice: &Choice, budget: Duration) -> Option<Contender> {
        let variant = self.serving(choice.variant)?;
        let lanes = variant.lanes.iter().map(|&(_, lane)| &self.lanes[lane].estimate);
        let most_run = lanes.max_by_key(|estimate| estimate.prediction().runs);
        let profile = most_run.map_or(&variant.spec.profile, Estimate::profile);
        if profile.time(1) > budget {
            return None;
        }
        let rows = profile.largest_batch_within(budget.mul_f64(RUNS));
        let rows = rows.clamp(1, batch_max(&variant.spec));
        Some(Contender {
            variant: choice.variant,
            accuracy: choice.accuracy.into(),
            row_seconds: profile.median(rows).as_secs_f64() / f64::from(rows),
            executors: self.cluster.with(choice.variant).collect(),
        })
    }

    /// Executors that full batches of what is asked of that variant keep busy.
    fn time_asked(&self, variant: &Variant, now: Instant) -> f64 {
        let lanes = variant.lanes.iter().map(|&(_, lane)| &self.lanes[lane]);
        let asked = lanes.filter(|lane| now.since(lane.batcher.queue().last_offer()) < ASKED);
        let time = |lane: &Lane| {
            let rows = lane.batch_max;
            let run = lane.estimate.profile().median(rows);
            lane.batcher.queue().arrivals().per_nano() * nanos(run) / f64::from(rows)
        };
        asked.map(time).sum()
    }

    pub(super) fn mix_planned(&mut self, mix: &Mix) {
        for (task, shares) in &mix.tasks {
            let task = self.tasks.get_mut(task.index()).and_then(Option::as_mut);
            if let Some(task) = task {
                task.policy.follow(shares);
                task.planned = !shares.is_empty();
            }
        }
    }
}
