//! Runs in a simulated world: batches that are launched, withdrawn, start and end.

use std::time::Duration;

use batcher::Instant;
use models::{BatchId, ExecutorId, VariantId};
use router::Event;

use super::{Asked, Happening, Held, Told, World};
use crate::{Report, Violation};

impl World {
    pub(super) fn end(
        &mut self,
        executor: ExecutorId,
        life: u32,
        batch: BatchId,
        fails: bool,
    ) -> Result<(), Violation> {
        let state = &mut self.executors[executor.index()];
        if state.aborted.remove(&batch) || state.life != life {
            return Ok(());
        }
        let (ended, takes) = state.held.pop_front().expect("a batch that ends was held");
        assert_eq!(ended, batch, "batches of an executor end in order");
        if let Some(checker) = &mut self.checker {
            checker.left(executor);
        }
        let held = self.held.remove(batch.0);
        let Held { model, rows, mut requests, .. } = held.expect("a batch that ends was held");
        self.ended(model, rows, takes);
        for id in requests.drain(..) {
            let asked = self.asked.remove(id.0).expect("a request that ran was asked");
            let at = self.now + self.models[model].spec.tail;
            if let Some(part) = asked.part {
                self.note_part(part, if fails { Told::Failed } else { Told::Answered });
                self.check(|checker| checker.ended(id))?;
                continue;
            }
            if asked.arrived >= self.counted_from {
                self.report.count_end(model, fails, at, &asked);
            }
            self.ran(&asked, fails, (at, takes));
            self.check(|checker| checker.ended(id))?;
        }
        self.spare.push(requests);
        self.executors[executor.index()].runs = false;
        self.feed(if fails {
            Event::BatchFailed { batch }
        } else {
            Event::BatchFinished { batch, elapsed: takes }
        })?;
        // The router may have withdrawn the batch behind it.
        self.start_next(executor)
    }

    /// The batch in front of an executor's queue begins to run, if none runs.
    fn start_next(&mut self, executor: ExecutorId) -> Result<(), Violation> {
        let index = executor.index();
        let Some((batch, profiled)) = self.executors[index].held.front().copied() else {
            return Ok(());
        };
        if self.executors[index].runs {
            return Ok(());
        }
        if let Some(checker) = &self.checker {
            let held = self.router.batch(batch).expect("a batch that starts is held");
            checker.started(batch, held)?;
        }
        let beside = self.slowdown(index, batch);
        let state = &mut self.executors[index];
        let run = state.run(profiled, self.now, beside, &mut self.rng);
        state.held[0].1 = run.takes;
        state.runs = true;
        state.began = self.now;
        let life = state.life;
        let ends = self.now + run.takes;
        let counted = self.counted(self.now, ends);
        self.report.busy += counted;
        self.report.busy_by_executor[index] += counted;
        if let Some(held) = self.held.get(batch.0) {
            self.report.models[held.model].busy += counted;
        }
        self.push(ends, Happening::End { executor, life, batch, fails: run.fails });
        Ok(())
    }

    /// What of a run from one instant to another is counted: not what the warm-up had of it.
    fn counted(&self, from: Instant, to: Instant) -> Duration {
        let from = from.max(self.counted_from);
        if to > from { to.since(from) } else { Duration::ZERO }
    }

    /// How many times as long a batch runs for what the other executors of its device hold.
    fn slowdown(&self, index: usize, batch: BatchId) -> f64 {
        let executor = &self.executors[index];
        let (first, end) = executor.device;
        let Some(neighbours) = executor.neighbours().filter(|_| end - first > 1) else {
            return 1.0;
        };
        let known = |batch: BatchId| {
            let held = self.held.get(batch.0)?;
            Some((self.models[held.model].spec.known(), held.rows))
        };
        let Some(own) = known(batch) else { return 1.0 };
        let others = (first..end).filter(|&other| other != index);
        let fronts = others.filter_map(|other| known(self.executors[other].held.front()?.0));
        fronts.map(|beside| neighbours.between(own, beside)).product()
    }

    pub(super) fn launch(
        &mut self,
        executor: ExecutorId,
        id: BatchId,
        variant: VariantId,
        rows: u32,
    ) -> Result<(), Violation> {
        let index = variant.index();
        let model = &self.models[index];
        let batch = self.router.batch(id).expect("a launched batch is held");
        if let Some(checker) = &mut self.checker {
            checker.launched(id, batch, model.rules)?;
        }
        if !self.executors[executor.index()].up {
            return Err(self.violation("a batch was launched on an executor that is down"));
        }
        self.check_place(executor, variant)?;
        let shape = self.asked.get(batch.requests[0].id.0).map_or(1, |asked| asked.shape);
        let profiled = model.profile.median(rows) * shape
            + self.executors[executor.index()].copy_in(model.spec.input_mb * f64::from(rows));
        let mut requests = self.spare.pop().unwrap_or_default();
        requests.extend(batch.requests.iter().map(|request| request.id));
        for request in &requests {
            if let Some(asked) = self.asked.get_mut(request.0) {
                asked.waits = false;
            }
        }
        let counted = self.now >= self.counted_from;
        self.held.push(id.0, Held { model: index, rows, requests, counted });
        let report = &mut self.report.models[index];
        report.batches += u64::from(counted);
        report.rows += u64::from(rows) * u64::from(counted);
        let state = &mut self.executors[executor.index()];
        state.held.push_back((id, profiled));
        if state.held.len() == 1 { self.start_next(executor) } else { Ok(()) }
    }

    /// A batch that has not started goes; its requests wait again.
    pub(super) fn withdraw(&mut self, executor: ExecutorId, id: BatchId) -> Result<(), Violation> {
        let state = &mut self.executors[executor.index()];
        let runs = state.runs.then(|| state.held.pop_front()).flatten();
        let gone = state.held.pop_front();
        state.held.extend(runs);
        if gone.is_none_or(|(front, _)| front != id) {
            return Err(self.violation("a batch was withdrawn that was not about to start"));
        }
        self.wait_again(executor, id)
    }

    /// A run is broken off; its requests wait again, and the time that it took is lost.
    pub(super) fn abort(&mut self, executor: ExecutorId, id: BatchId) -> Result<(), Violation> {
        let now = self.now;
        let state = &mut self.executors[executor.index()];
        if !state.preemptible() {
            return Err(self.violation("a run was broken off where none can be"));
        }
        let gone = if state.runs { state.held.pop_front() } else { None };
        let Some((_, takes)) = gone.filter(|(front, _)| *front == id) else {
            return Err(self.violation("a batch was broken off that did not run"));
        };
        state.runs = false;
        state.aborted.insert(id);
        let began = state.began;
        let left = self.counted(now, began + takes);
        self.report.aborted += 1;
        self.report.busy -= left;
        self.report.busy_by_executor[executor.index()] -= left;
        if let Some(held) = self.held.get(id.0) {
            self.report.models[held.model].busy -= left;
        }
        self.wait_again(executor, id)
    }

    /// The requests of a batch that its executor holds no more wait again.
    fn wait_again(&mut self, executor: ExecutorId, id: BatchId) -> Result<(), Violation> {
        let held = self.held.remove(id.0);
        let Held { model, rows, mut requests, counted } =
            held.expect("a batch that is given back was held");
        for request in &requests {
            if let Some(asked) = self.asked.get_mut(request.0) {
                asked.waits = true;
            }
        }
        if let Some(checker) = &mut self.checker {
            checker.withdrawn(executor, &requests)?;
        }
        let report = &mut self.report.models[model];
        report.batches -= u64::from(counted);
        report.rows -= u64::from(rows) * u64::from(counted);
        requests.clear();
        self.spare.push(requests);
        Ok(())
    }
}

impl Report {
    /// Counts a request of a batch that ended.
    fn count_end(&mut self, model: usize, fails: bool, now: Instant, asked: &Asked) {
        let model = &mut self.models[model];
        if fails {
            model.failed += 1;
            self.bad += 1;
            return;
        }
        model.latencies.push(now.since(asked.arrived));
        if now <= asked.deadline.0 {
            model.in_time += 1;
        } else {
            model.late += 1;
            self.bad += 1;
        }
    }
}
