//! What was asked for, whether or not it was there: what placements are decided from.

use std::time::Duration;

use batcher::Request;
use models::{Accuracy, LatencyProfile, TaskId, VariantId};

use super::Router;
use crate::select::{self, Select};
use crate::{Choice, Weights};

/// What was asked for since the beginning, of all that is served. Counted only where weights move.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// In the order of their numbers.
    pub variants: Vec<VariantDemand>,
    /// In the order of their numbers.
    pub tasks: Vec<TaskDemand>,
}

/// What was asked of a variant by its own name.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantDemand {
    /// Which variant.
    pub variant: VariantId,
    /// What it takes to bring it somewhere.
    pub weights: Weights,
    /// What a run takes, by the latest measurements.
    pub profile: LatencyProfile,
    /// Within which time its answers are wanted.
    pub within: Option<Duration>,
    /// Rows asked for.
    pub rows: u64,
}

/// What was asked of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDemand {
    /// Which task.
    pub task: TaskId,
    /// Who can answer: the most accurate first.
    pub members: Vec<MemberDemand>,
    /// Requests that came with a deadline, and the sum of the times that they left.
    pub deadlines: (u64, Duration),
}

/// What was asked of a task and would have been answered by this variant, had all been in place and idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberDemand {
    /// Which variant.
    pub variant: VariantId,
    /// How often it is right.
    pub accuracy: Accuracy,
    /// Rows of those requests.
    pub rows: u64,
}

/// Counts who would answer a task's requests if all its variants were in place and idle.
pub(super) struct Wishes {
    pub(super) policy: Box<dyn Select>,
    members: Vec<MemberDemand>,
    deadlines: (u64, Duration),
}

impl Wishes {
    /// Of these choices, the most accurate first, under the selection policy of that name: one that reckons with the
    /// present load wishes for the most accurate in time.
    pub(super) fn new<'a>(policy: &str, choices: impl Iterator<Item = &'a Choice>) -> Self {
        let member = |choice: &Choice| MemberDemand {
            variant: choice.variant,
            accuracy: choice.accuracy,
            rows: 0,
        };
        let policy = (select::wish_of(policy).build)();
        Self { policy, members: choices.map(member).collect(), deadlines: (0, Duration::ZERO) }
    }

    /// A request of so many rows and with so much time would have been answered by that variant.
    pub(super) fn note(&mut self, wished: VariantId, rows: u32, budget: Duration) {
        if let Some(member) = self.members.iter_mut().find(|member| member.variant == wished) {
            member.rows += u64::from(rows);
        }
        if budget < Duration::MAX {
            self.deadlines.0 += 1;
            self.deadlines.1 += budget;
        }
    }

    fn demand(&self, task: TaskId) -> TaskDemand {
        TaskDemand { task, members: self.members.clone(), deadlines: self.deadlines }
    }
}

impl Router {
    /// What was asked for so far: counters that only rise.
    #[must_use]
    pub fn demand(&self) -> Demand {
        let variants = self.variants.iter().flatten().filter(|variant| !variant.retired);
        let of = |variant: &super::Variant| {
            let lanes = variant.lanes.iter().map(|&(_, lane)| &self.lanes[lane].estimate);
            let most = lanes.max_by_key(|estimate| estimate.prediction().runs);
            let profile = most.map_or(&variant.spec.profile, |estimate| estimate.profile());
            Some(VariantDemand {
                variant: variant.spec.variant,
                weights: variant.spec.weights?,
                profile: profile.clone(),
                within: variant.spec.slo.map(|slo| slo.latency),
                rows: variant.asked,
            })
        };
        let tasks = (0_u32..).zip(&self.tasks);
        let tasks = tasks.filter_map(|(id, task)| Some(task.as_ref()?.wishes.demand(TaskId(id))));
        Demand { variants: variants.filter_map(of).collect(), tasks: tasks.collect() }
    }

    /// A request names that variant.
    pub(super) fn note_asked(&mut self, request: &Request, id: VariantId) {
        if self.store.is_empty() {
            return;
        }
        if let Some(variant) = self.variants.get_mut(id.index()).and_then(Option::as_mut) {
            variant.asked += u64::from(request.rows);
        }
    }
}
