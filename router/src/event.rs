//! What can happen: every way into the router.

use std::time::Duration;

use batcher::{PolicySettings, Request, RequestId};
use models::{
    Accuracy, BatchId, Cost, ExecutorId, Goals, LatencyProfile, Share, Slo, TaskId, VariantId,
};
use serde::{Deserialize, Serialize};

use crate::mix::Mix;
use crate::place::Placement;
use crate::select::Draw;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A request wants an answer of that variant.
    RequestArrived {
        /// The request.
        request: Request,
        /// Which variant it asks for.
        variant: VariantId,
        /// The shape of its rows.
        shape: Shape,
    },
    /// A request wants an answer of any variant of that task, by its goals.
    TaskArrived {
        /// The request.
        request: Request,
        /// Which task it asks for.
        task: TaskId,
        /// What it wants beside its deadline, with the task's defaults filled in.
        goals: Goals,
        /// The shape of its rows, which is the same number for all of the task's variants.
        shape: Shape,
    },
    /// A client no longer wants its answer. Ignored unless the request waits.
    RequestCancelled {
        /// Which request.
        id: RequestId,
        /// The variant it asked for.
        variant: VariantId,
        /// The shape of its rows.
        shape: ShapeId,
    },
    /// An executor has run a batch.
    BatchFinished {
        /// Which batch.
        batch: BatchId,
        /// How long the executor was taken by it.
        elapsed: Duration,
    },
    /// An executor could not run a batch; its time says nothing.
    BatchFailed {
        /// Which batch.
        batch: BatchId,
    },
    /// A variant is in place on some executors and takes requests from this moment.
    VariantLoaded {
        /// All that the router must know of it.
        spec: Box<VariantSpec>,
    },
    /// A variant takes no new requests; what it accepted is still served.
    VariantRetired {
        /// Which variant.
        variant: VariantId,
    },
    /// A task takes requests from this moment, with these variants and no others.
    TaskLoaded {
        /// All that the router must know of it.
        spec: Box<TaskSpec>,
    },
    /// A task takes no new requests.
    TaskRetired {
        /// Which task.
        task: TaskId,
    },
    /// A client has said what the answer to its request was worth.
    Feedback {
        /// Of which task.
        task: TaskId,
        /// Who answered.
        variant: VariantId,
        /// As [`crate::Action::Choose`] said it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draw: Option<Draw>,
        /// 0 for a right answer, 1 for one that is worth nothing.
        loss: Share,
    },
    /// An executor can run batches.
    ExecutorUp {
        /// Which executor.
        executor: ExecutorId,
        /// It can break off a run: see [`crate::Action::Abort`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        preemptible: bool,
    },
    /// An executor is gone, with the batches that it held.
    ExecutorDown {
        /// Which executor.
        executor: ExecutorId,
    },
    /// Other policies decide from this moment. Who waits goes on waiting, and what runs or is ahead stays where it is.
    PoliciesChanged {
        /// Which.
        policies: Box<PolicyNames>,
    },
    /// An executor that is up holds so many bytes of weights and takes them from the router: see [`Weights`].
    MemoryStated {
        /// Which executor.
        executor: ExecutorId,
        /// Bytes of weights that it holds.
        bytes: u64,
        /// A request that no executor can answer in time makes it load the weights, if that helps.
        on_demand: bool,
    },
    /// Weights that the router asked for are in place.
    WeightsLoaded {
        /// Where.
        executor: ExecutorId,
        /// Of which variant.
        variant: VariantId,
    },
    /// Weights that the router asked for could not be brought in: nothing of them is there.
    WeightsFailed {
        /// Where.
        executor: ExecutorId,
        /// Of which variant.
        variant: VariantId,
    },
    /// Weights are to be brought where this says, on the executors that stated their memory.
    PlacementDecided {
        /// Where.
        placement: Placement,
    },
    /// Tasks whose selection policy follows a plan are to follow this one.
    MixPlanned {
        /// The shares.
        mix: Mix,
    },
    /// No request is admitted any more; what was accepted is still served.
    Draining,
}

/// Which policies decide, by their names. A name that is not known leaves the policy as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyNames {
    /// Who may enter.
    pub admission: String,
    /// Who gets an executor.
    pub dispatch: String,
    /// How requests are batched, for these variants.
    pub batching: Vec<(VariantId, String)>,
}

/// Which rows may run together: a number that the shell gives to each combination of inner dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShapeId(pub u32);

/// The shape of a request's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Equal shapes have equal ids.
    pub id: ShapeId,
    /// Input elements of one row: the first guess of its cost next to the profiled shape's.
    pub elements: u64,
}

/// All that the router must know of a variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantSpec {
    /// Which variant.
    pub variant: VariantId,
    /// Time by batch size, measured with rows of `profiled_elements`.
    pub profile: LatencyProfile,
    /// Input elements of one profiled row.
    pub profiled_elements: u64,
    /// What its clients want by default; `None` for best effort.
    pub slo: Option<Slo>,
    /// The most requests that wait.
    pub queue_max: usize,
    /// The name of its batching policy.
    pub policy: String,
    /// That policy's settings.
    pub settings: PolicySettings,
    /// Its share of executor time next to the others'.
    #[serde(default = "equal_weight")]
    pub weight: f64,
    /// Where it is in place.
    pub executors: Vec<ExecutorId>,
    /// What it takes to bring it to an executor that has stated its memory; `None` where the shell does that alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// The weights of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// Their size.
    pub bytes: u64,
    /// How long an executor needs to load them, beside what it runs.
    pub load: Duration,
}

/// All that the router must know of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Which task.
    pub task: TaskId,
    /// The name of its selection policy.
    pub policy: String,
    /// Who can answer, in the operator's order.
    pub choices: Vec<Choice>,
}

/// A variant that can answer a task's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Which variant.
    pub variant: VariantId,
    /// How often it is right.
    pub accuracy: Accuracy,
    /// What an answer costs next to the others'.
    pub cost: Cost,
}

/// The weight of a variant for which none is set.
fn equal_weight() -> f64 {
    1.0
}
