//! What to do: every way out of the router.

use std::time::Duration;

use batcher::RequestId;
use models::{BatchId, ExecutorId, VariantId};
use serde::{Deserialize, Serialize};

use crate::select::{Because, Draw};

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Run a batch; `Router::batch` has its requests.
    Launch {
        /// Where.
        executor: ExecutorId,
        /// Which batch.
        batch: BatchId,
        /// Which model.
        variant: VariantId,
        /// Rows of its requests.
        rows: u32,
    },
    /// Take back a batch before it starts: the run ahead of it took so long that it would be late, or takes so long while
    /// another executor is idle. Its requests wait again; what becomes of them follows.
    Withdraw {
        /// Where it was to run.
        executor: ExecutorId,
        /// Which batch; `Router::batch` no longer has it.
        batch: BatchId,
    },
    /// Break off a run, on an executor that said it can: from this moment the executor is free. Its requests wait again;
    /// what becomes of them follows. The end of that run is not to be told.
    Abort {
        /// Where it runs.
        executor: ExecutorId,
        /// Which batch; `Router::batch` no longer has it.
        batch: BatchId,
    },
    /// A request of a task will be answered by that variant.
    Choose {
        /// Which request.
        id: RequestId,
        /// Who answers.
        variant: VariantId,
        /// From arrival, when the answer is predicted to be there.
        predicted: Duration,
        /// How the policy drew it, where chance decided; to be handed back with [`crate::Event::Feedback`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draw: Option<Draw>,
        /// Why that one; `None` only in recordings that are older than this field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Because>,
    },
    /// Tell a client that there will be no answer. Final.
    Reply {
        /// Which request.
        id: RequestId,
        /// Why.
        rejection: Rejection,
    },
    /// Bring a variant's weights into an executor's memory, after those asked for before; then say
    /// [`crate::Event::WeightsLoaded`], or [`crate::Event::WeightsFailed`].
    Load {
        /// Where.
        executor: ExecutorId,
        /// Of which variant.
        variant: VariantId,
    },
    /// Free the memory of a variant's weights on one executor: no batch of it is there.
    Evict {
        /// Where.
        executor: ExecutorId,
        /// Of which variant.
        variant: VariantId,
    },
    /// A retired variant has served all it accepted: its memory can be freed.
    Unload {
        /// Which variant.
        variant: VariantId,
    },
}

/// Why a request was refused: an outcome, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// At its arrival: its answer is predicted to come too late.
    DeadlineUnreachable {
        /// From arrival, when the answer would have come.
        predicted: Duration,
        /// Of a task's request, whose answer that would have been: nobody's would have come sooner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        soonest: Option<VariantId>,
    },
    /// At its arrival: no variant of the task is as accurate and as cheap as it asks.
    GoalsImpossible {
        /// The variant that comes nearest.
        nearest: VariantId,
    },
    /// While it waited: it can no longer be met.
    DeadlineHopeless,
    /// As many requests wait for this model as may.
    QueueFull,
    /// At its arrival: the executor time that it needs is worth more to others.
    PricedOut,
    /// More different shapes of this model wait than are kept apart.
    TooManyShapes,
    /// The variant takes no requests (any more).
    NotServed,
    /// No executor has this variant.
    NoExecutor,
    /// The weights of this variant could not be loaded where they were to be, and no executor has it.
    LoadFailed,
    /// The executor that ran it is gone.
    ExecutorLost,
    /// The server is shutting down.
    Draining,
}

impl Rejection {
    /// One of each, in the order of [`Self::index`].
    pub const ALL: [Self; 11] = [
        Self::DeadlineUnreachable { predicted: Duration::ZERO, soonest: None },
        Self::DeadlineHopeless,
        Self::QueueFull,
        Self::TooManyShapes,
        Self::NotServed,
        Self::NoExecutor,
        Self::ExecutorLost,
        Self::Draining,
        Self::PricedOut,
        Self::GoalsImpossible { nearest: VariantId(0) },
        Self::LoadFailed,
    ];

    /// A dense number, for tables of counters.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Self::DeadlineUnreachable { .. } => 0,
            Self::DeadlineHopeless => 1,
            Self::QueueFull => 2,
            Self::TooManyShapes => 3,
            Self::NotServed => 4,
            Self::NoExecutor => 5,
            Self::ExecutorLost => 6,
            Self::Draining => 7,
            Self::PricedOut => 8,
            Self::GoalsImpossible { .. } => 9,
            Self::LoadFailed => 10,
        }
    }

    /// The same, of a task's request that this variant would have answered first.
    pub(crate) fn of_soonest(mut self, variant: VariantId) -> Self {
        if let Self::DeadlineUnreachable { soonest, .. } = &mut self {
            *soonest = Some(variant);
        }
        self
    }

    /// Whether the deadline is the reason.
    #[must_use]
    pub fn for_deadline(&self) -> bool {
        match self {
            Self::DeadlineUnreachable { .. } | Self::DeadlineHopeless => true,
            Self::QueueFull
            | Self::PricedOut
            | Self::GoalsImpossible { .. }
            | Self::TooManyShapes
            | Self::NotServed
            | Self::NoExecutor
            | Self::LoadFailed
            | Self::ExecutorLost
            | Self::Draining => false,
        }
    }

    /// The name that clients and metrics see.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeadlineUnreachable { .. } => "deadline_unreachable",
            Self::DeadlineHopeless => "deadline_hopeless",
            Self::QueueFull => "queue_full",
            Self::PricedOut => "priced_out",
            Self::GoalsImpossible { .. } => "goals_impossible",
            Self::TooManyShapes => "too_many_shapes",
            Self::NotServed => "not_served",
            Self::NoExecutor => "no_executor",
            Self::LoadFailed => "load_failed",
            Self::ExecutorLost => "executor_lost",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_stands_at_its_index() {
        for (index, rejection) in Rejection::ALL.iter().enumerate() {
            assert_eq!(rejection.index(), index);
        }
    }
}
