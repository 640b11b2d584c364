//! Requests that arrive in a simulated world.

use std::time::Duration;

use batcher::{Deadline, Request, RequestId};
use rand::RngExt;
use router::{Shape, ShapeId};

use super::{Asked, Client, ELEMENTS, Happening, World, variant};
use crate::Violation;

/// A request before it has an id.
pub(super) struct Wanted {
    pub(super) rows: u32,
    pub(super) priority: u32,
    pub(super) shape: u32,
    pub(super) slo: Option<Duration>,
    /// When its client leaves, if it waits until then.
    pub(super) patience: Option<Duration>,
    pub(super) client: Option<Client>,
}

impl World {
    pub(super) fn arrive(&mut self, index: usize) -> Result<(), Violation> {
        self.plan_arrival(index);
        let spec = &self.models[index].spec;
        let mut draw = |upto: u32| if upto > 1 { self.rng.random_range(1..=upto) } else { 1 };
        let (rows, priority, shape) =
            (draw(spec.rows_max), draw(spec.priorities), draw(spec.shapes));
        let priority = spec.priority.unwrap_or(priority);
        let leaves = spec.cancel_share > 0.0 && self.rng.random::<f64>() < spec.cancel_share;
        let patience = spec.slo.unwrap_or(Duration::from_millis(100)).mul_f64(self.rng.random());
        let (slo, patience) = (spec.slo, leaves.then_some(patience));
        self.ask(index, &Wanted { rows, priority, shape, slo, patience, client: None })
    }

    pub(super) fn ask(&mut self, index: usize, wanted: &Wanted) -> Result<(), Violation> {
        if let Some(task) = self.composed(index) {
            return self.ask_together(task, wanted);
        }
        let Wanted { rows, priority, shape, slo, patience, client } = *wanted;
        let spec = &self.models[index].spec;
        let deadline = slo.map_or(Deadline::NONE, |slo| Deadline(self.now + slo));
        // The rest of a pipeline comes after all that the router sees.
        let seen =
            slo.map_or(Deadline::NONE, |slo| Deadline(self.now + slo.saturating_sub(spec.tail)));
        let id = RequestId(self.request_next);
        self.request_next += 1;
        self.report.models[index].offered += u64::from(self.now >= self.counted_from);
        let arrived = self.now;
        let asked =
            Asked { model: index, shape, arrived, deadline, waits: true, client, part: None };
        self.asked.push(id.0, asked);
        if let Some(checker) = &mut self.checker {
            checker.arrived(id, shape);
        }
        if let Some(patience) = patience {
            self.push(self.now + patience, Happening::Leaving { id, shape });
        }
        if let Some(places) = &mut self.places {
            places.ask(index);
        }
        let request = Request { id, rows, priority, arrived, deadline: seen };
        let elements = ELEMENTS * u64::from(shape);
        let shape = Shape { id: ShapeId(shape), elements };
        let before = self.router.waiting(variant(index));
        self.feed(self.arrival(index, request, shape))?;
        let waiting = self.router.waiting(variant(index));
        let queue_max = self.models[index].spec.queue_max;
        self.check(|checker| checker.queue((before, waiting), queue_max))
    }
}
