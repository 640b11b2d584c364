//! What must hold of every history, checked while it happens.

use std::collections::BTreeMap;

use batcher::{Instant, Request, RequestId};
use models::{BatchId, ExecutorId};
use router::{Batch, Tally};

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at:?}: {what}")]
pub struct Violation {
    /// When.
    pub at: Instant,
    /// What.
    pub what: String,
}

/// Batches that an executor may hold: one that runs and one ahead.
const HELD_MAX: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running(BatchId),
}

/// Follows every request from its arrival to its one end.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    open: BTreeMap<RequestId, (Stage, u32)>,
    held: BTreeMap<ExecutorId, usize>,
    now: Instant,
    ended: u64,
    /// Requests that wait again since the last arrival.
    returned: usize,
}

/// What may be assumed of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRules {
    pub(crate) batch_max: u32,
    /// The policy promises that a batch started in its window meets its deadlines.
    pub(crate) in_time: bool,
}

impl Checker {
    fn wrong(&self, what: String) -> Result<(), Violation> {
        Err(Violation { at: self.now, what })
    }

    pub(crate) fn time(&mut self, now: Instant) -> Result<(), Violation> {
        if now < self.now {
            return self.wrong(format!("time went back to {now:?}"));
        }
        self.now = now;
        Ok(())
    }

    /// A request arrived; it is of that shape.
    pub(crate) fn arrived(&mut self, id: RequestId, shape: u32) {
        self.open.insert(id, (Stage::Waiting, shape));
        self.returned = 0;
    }

    pub(crate) fn launched(
        &mut self,
        id: BatchId,
        batch: &Batch,
        rules: BatchRules,
    ) -> Result<(), Violation> {
        let mut shapes: Vec<u32> = Vec::new();
        for Request { id: request, .. } in &batch.requests {
            match self.open.get_mut(request) {
                Some((stage @ Stage::Waiting, shape)) => {
                    *stage = Stage::Running(id);
                    shapes.push(*shape);
                }
                other => {
                    let found = format!("{other:?}");
                    return self.wrong(format!("{id:?} runs {request:?}, which is {found}"));
                }
            }
        }
        if shapes.windows(2).any(|pair| pair[0] != pair[1]) {
            return self.wrong(format!("{id:?} mixes shapes {shapes:?}"));
        }
        if batch.rows > rules.batch_max && batch.requests.len() > 1 {
            return self.wrong(format!(
                "{id:?} has {} rows, at most {} are allowed",
                batch.rows, rules.batch_max
            ));
        }
        if rules.in_time && batch.start > batch.latest {
            return self.wrong(format!(
                "{id:?} starts at {:?}, after its latest start {:?}",
                batch.start, batch.latest
            ));
        }
        let held = self.held.entry(batch.executor).or_default();
        *held += 1;
        if *held > HELD_MAX {
            return self.wrong(format!("{:?} holds more than {HELD_MAX} batches", batch.executor));
        }
        Ok(())
    }

    /// A batch begins to run.
    pub(crate) fn started(&self, id: BatchId, batch: &Batch) -> Result<(), Violation> {
        if self.now <= batch.hopeless {
            return Ok(());
        }
        self.wrong(format!("{id:?} runs only to be late: hopeless since {:?}", batch.hopeless))
    }

    /// A batch left its executor before it began or before it ended; its requests wait again.
    pub(crate) fn withdrawn(
        &mut self,
        executor: ExecutorId,
        requests: &[RequestId],
    ) -> Result<(), Violation> {
        self.left(executor);
        self.returned += requests.len();
        for request in requests {
            match self.open.get_mut(request) {
                Some((stage @ Stage::Running(_), _)) => *stage = Stage::Waiting,
                other => {
                    let found = format!("{other:?}");
                    return self.wrong(format!("{request:?} was withdrawn, which is {found}"));
                }
            }
        }
        Ok(())
    }

    /// A batch left its executor.
    pub(crate) fn left(&mut self, executor: ExecutorId) {
        *self.held.entry(executor).or_default() -= 1;
    }

    /// An executor lost all that it held.
    pub(crate) fn lost(&mut self, executor: ExecutorId) {
        self.held.remove(&executor);
    }

    /// A request has its one end.
    pub(crate) fn ended(&mut self, id: RequestId) -> Result<(), Violation> {
        self.ended += 1;
        match self.open.remove(&id) {
            Some(_) => Ok(()),
            None => self.wrong(format!("{id:?} ends twice, or never arrived")),
        }
    }

    /// A request arrived; so many waited before and wait now. Only those of batches that were given back wait beyond the
    /// bound.
    pub(crate) fn queue(
        &self,
        (before, waiting): (usize, usize),
        queue_max: usize,
    ) -> Result<(), Violation> {
        if waiting <= queue_max.max(before) + self.returned {
            return Ok(());
        }
        self.wrong(format!("{waiting} requests wait, at most {queue_max} are allowed"))
    }

    /// At the end of a history all requests have ended and the router counted them.
    pub(crate) fn finished(&self, tally: &Tally) -> Result<(), Violation> {
        if let Some((id, stage)) = self.open.first_key_value() {
            return self.wrong(format!(
                "{} requests never ended, among them {id:?}: {stage:?}",
                self.open.len()
            ));
        }
        let counted = tally.refused_total() + tally.cancelled + tally.finished + tally.failed;
        if counted != tally.arrived || counted != self.ended {
            return self.wrong(format!(
                "{} requests arrived, {counted} were counted, {} ended",
                tally.arrived, self.ended
            ));
        }
        Ok(())
    }
}
