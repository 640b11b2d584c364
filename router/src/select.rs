//! Which variant of a task answers? One policy, one file, one row in [`SELECTIONS`].

mod because;
#[cfg(test)]
mod cases;
mod cheapest;
mod exp3;
mod exp4;
mod expected_accuracy;
mod fastest;
mod fixed;
mod hedge;
mod most_accurate_in_time;
mod planned;
mod slack_buckets;

use std::time::Duration;

use batcher::Instant;
use models::{Accuracy, Cost, Objective, Share, VariantId};
use serde::{Deserialize, Serialize};

pub use self::because::Because;

/// Chooses among the variants that are accurate and cheap enough for a request.
pub(crate) trait Select: Send {
    /// The one that is to answer; `None` only where there is none.
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect>;

    /// The one that the next request would get; a policy that remembers its choices does not remember this one.
    fn peek(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        self.choose(ask)
    }

    /// A batch ran, of whichever variant.
    fn ran(&mut self, _run: Run) {}

    /// Takes a number that tells its chances from those of other tasks, before its first choice.
    fn seed(&mut self, _seed: u64) {}

    /// How the last choice came about, where chance decided it.
    fn drawn(&self) -> Option<Draw> {
        None
    }

    /// A client has said what an answer of that variant was worth.
    fn told(&mut self, _verdict: &Verdict) {}

    /// A request of so many rows wants to be answered within that time, by whoever is then chosen.
    fn arrived(&mut self, _rows: u32, _budget: Duration, _now: Instant) {}

    /// What is to be planned for; `None` of a policy that follows no plan.
    fn asked(&self, _now: Instant) -> Option<Asked> {
        None
    }

    /// From now on these shares are planned.
    fn follow(&mut self, _shares: &[(VariantId, f64)]) {}
}

/// All that a selection policy sees.
pub(crate) struct Ask<'a> {
    /// From now until the answer is wanted.
    pub(crate) budget: Duration,
    /// The variants that may answer: the most accurate first, of equals the cheapest. What is not asked for is not
    /// reckoned.
    pub(crate) prospects: &'a mut dyn Iterator<Item = Prospect>,
}

/// What is to be expected of one variant, for the request that asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prospect {
    /// Which variant.
    pub(crate) variant: VariantId,
    /// Its place in the operator's list.
    pub(crate) place: usize,
    /// How often it is right.
    pub(crate) accuracy: Accuracy,
    /// What its answer costs.
    pub(crate) cost: Cost,
    /// Until its batch starts, behind all that executors hold and that waits for them and is more urgent.
    pub(crate) wait: Duration,
    /// The run of its batch, as planned, with those of its lane that wait already.
    pub(crate) time: Duration,
    /// The median of that run as it was measured when the model was loaded.
    pub(crate) measured: Duration,
    /// The executor time that its rows take as part of full batches.
    pub(crate) work: Duration,
}

impl Prospect {
    /// From now, when the answer is predicted to be there.
    pub(crate) fn end(&self) -> Duration {
        self.wait + self.time
    }
}

/// What a task is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Rows a second.
    pub(crate) rate: f64,
    /// From arrival to deadline.
    pub(crate) budget: Duration,
}

/// How long a batch took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The median measured when its model was loaded.
    pub(crate) measured: Duration,
    /// What it took.
    pub(crate) elapsed: Duration,
}

/// A choice that chance decided: what whoever learns from the answer's worth must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// How likely that variant was to be chosen.
    pub chance: Share,
    /// One bit for each of the policy's experts: whether it advised that variant.
    #[serde(default)]
    pub advised: u32,
}

/// What an answer was worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// Who answered.
    pub(crate) variant: VariantId,
    /// How it was chosen; `None` where chance had no part in it.
    pub(crate) draw: Option<Draw>,
    /// 0 for a right answer, 1 for one that is worth nothing.
    pub(crate) loss: Share,
}

/// One row of the table of selection policies.
#[derive(Clone, Copy)]
pub struct SelectEntry {
    /// The name in settings.
    pub name: &'static str,
    /// Who answers, in a sentence.
    pub summary: &'static str,
    /// Whose idea it is.
    pub source: &'static str,
    /// Why whom it wants is chosen.
    pub(crate) because: Because,
    pub(crate) build: fn() -> Box<dyn Select>,
}

impl std::fmt::Debug for SelectEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelectEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every selection policy; the first is the default.
pub const SELECTIONS: [SelectEntry; 9] = [
    most_accurate_in_time::ENTRY,
    fixed::ENTRY,
    fastest::ENTRY,
    cheapest::ENTRY,
    slack_buckets::ENTRY,
    expected_accuracy::ENTRY,
    exp3::ENTRY,
    exp4::ENTRY,
    planned::ENTRY,
];

/// The policy that serves an objective which a request states itself.
pub(crate) fn by_objective(objective: Objective) -> &'static SelectEntry {
    match objective {
        Objective::Accuracy => &most_accurate_in_time::ENTRY,
        Objective::Latency => &fastest::ENTRY,
        Objective::Cost => &cheapest::ENTRY,
    }
}

/// The policy that says who would answer if every variant were in place and idle: one that reckons with the present
/// load then takes the most accurate in time.
pub(crate) fn wish_of(name: &str) -> &'static SelectEntry {
    let blind = [&fixed::ENTRY, &fastest::ENTRY, &cheapest::ENTRY];
    blind.into_iter().find(|entry| entry.name == name).unwrap_or(&most_accurate_in_time::ENTRY)
}

/// The one that is predicted to answer first; of equals the first, which is the most accurate.
pub(crate) fn soonest(prospects: &mut dyn Iterator<Item = Prospect>) -> Option<Prospect> {
    prospects.min_by_key(Prospect::end)
}

/// Puts the one of two that answers first into the place of the best; of equals the one that is there stays.
fn keep_sooner(best: &mut Option<Prospect>, other: &Prospect) {
    if best.as_ref().is_none_or(|best| other.end() < best.end()) {
        *best = Some(*other);
    }
}
