//! What is to be played: a target, requests and their times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::tls::Tls;
use super::{InputMetadata, Protocol, Target, file, nanoseconds};
use crate::workload::due;
use crate::{Arrivals, Clients, Error, Mix, Rate, Schedule, Workload};

/// Connections of an open loop over HTTP, which needs one for each request under way.
const CONNECTIONS_OPEN: usize = 256;

/// How requests follow each other.
#[derive(Clone, Debug)]
pub enum Load {
    /// Each when it is due, drawn from the mix: nanoseconds from the start, never falling.
    Open(Vec<u64>),
    /// That many at all times, each sent when one before it has ended.
    Closed(usize),
    /// As a workload says, each request with its share, from the beginning of the warm-up.
    Scheduled(Schedule),
}

impl Load {
    /// The open loop of a process of arrivals, as long as `duration`.
    ///
    /// # Errors
    /// A rate that is not positive, or more than [`Trace::ARRIVALS_MAX`](crate::Trace::ARRIVALS_MAX) arrivals.
    pub fn open(
        arrivals: Arrivals,
        rate: f64,
        duration: Duration,
        seed: u64,
    ) -> Result<Self, Error> {
        Ok(Self::Open(due(arrivals, &Rate::Flat(rate), duration, seed)?.collect()))
    }

    fn schedule(&self, mix: &Mix, seed: u64) -> Schedule {
        match self {
            Self::Open(due) => Schedule::open(due, mix, seed),
            Self::Closed(in_flight) => Schedule::closed(*in_flight, Duration::ZERO, mix),
            Self::Scheduled(schedule) => schedule.clone(),
        }
    }
}

/// What the requests of one share look like.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Rows of a request, for models whose first axis varies; those of the plan if absent.
    pub rows: Option<u64>,
    /// Whole shapes of inputs, before those of the plan.
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// A `.json`, `.npy` or `.bin` file with the inputs, or a folder of them, sent in turn.
    pub input: Option<PathBuf>,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Which models are asked for.
    pub mix: Mix,
    /// When.
    pub load: Load,
    /// How long requests are due that count.
    pub duration: Duration,
    /// How long requests are due before those that count.
    pub warm_up: Duration,
    /// Seeds the inputs and the draws from the mix.
    pub seed: u64,
    /// Rows of a request, for models whose first axis varies.
    pub rows: u64,
    /// Whole shapes of inputs with other axes that vary, by the input's name.
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// What differs by share; shares beyond its end are as the plan says.
    pub sources: Vec<Source>,
    /// Inputs of models whose metadata the server need not be asked for, by model.
    pub inputs: BTreeMap<String, Vec<InputMetadata>>,
    /// Connections at most: over HTTP requests beyond it wait in the client, over gRPC all share them.
    pub connections: usize,
    /// How long after it was due a request without an answer is given up.
    pub patience: Duration,
    /// Whom to trust over `https` and `grpcs`.
    pub tls: Tls,
}

impl Plan {
    /// A run with the settings that `punctual-bench run` has by default.
    #[must_use]
    pub fn new(target: Target, mix: Mix, load: Load, duration: Duration) -> Self {
        let connections = match (target.protocol, &load) {
            (Protocol::Grpc, Load::Open(_) | Load::Closed(_) | Load::Scheduled(_)) => 1,
            (Protocol::Http, Load::Closed(in_flight)) => *in_flight,
            (Protocol::Http, Load::Open(_)) => CONNECTIONS_OPEN,
            (Protocol::Http, Load::Scheduled(schedule)) => {
                let closed: usize = schedule.loops.iter().map(|one| one.concurrency).sum();
                // A workload may be so short that nothing is due; models are tried all the same.
                (closed + if schedule.due.is_empty() { 0 } else { CONNECTIONS_OPEN }).max(1)
            }
        };
        Self {
            target,
            mix,
            load,
            duration,
            warm_up: Duration::ZERO,
            seed: 1,
            rows: 1,
            shapes: BTreeMap::new(),
            sources: Vec::new(),
            inputs: BTreeMap::new(),
            connections,
            patience: Duration::from_secs(10),
            tls: Tls::default(),
        }
    }

    /// A workload against a server.
    ///
    /// # Errors
    /// More requests than can be kept.
    pub fn of(workload: &Workload, target: Target) -> Result<Self, Error> {
        let load = Load::Scheduled(workload.schedule()?);
        let mut plan = Self::new(target, workload.mix()?, load, workload.duration);
        plan.warm_up = workload.warm_up;
        plan.seed = workload.seed;
        plan.patience = workload.timeout.unwrap_or(plan.patience);
        let source = |clients: &Clients| Source {
            rows: Some(clients.rows),
            shapes: clients.shapes.clone(),
            input: clients.input.clone(),
        };
        plan.sources = workload.clients.iter().map(source).collect();
        Ok(plan)
    }

    pub(super) fn schedule(&self) -> Schedule {
        self.load.schedule(&self.mix, self.seed)
    }

    /// From when a request is due to its deadline, by share.
    pub(super) fn deadlines_ns(&self) -> Vec<u64> {
        let deadline =
            |share: &crate::Share| share.slo.map_or(u64::MAX, |slo| nanoseconds(slo.latency));
        self.mix.shares().iter().map(deadline).collect()
    }

    /// Whether the requests of a share can only be made with their model's metadata.
    pub(super) fn needs_metadata(&self, share: usize) -> bool {
        let input = self.sources.get(share).and_then(|source| source.input.as_ref());
        input.is_none_or(|path| file::needs_metadata(path))
    }

    /// The rows and shapes of a share's requests and the file they come from, if any.
    pub(super) fn source(&self, share: usize) -> Source {
        let mut source = self.sources.get(share).cloned().unwrap_or_default();
        source.rows = source.rows.or(Some(self.rows));
        for (name, shape) in &self.shapes {
            source.shapes.entry(name.clone()).or_insert_with(|| shape.clone());
        }
        source
    }
}
