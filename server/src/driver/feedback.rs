//! The choice of a variant on its way out, and what clients say of the answer on its way in.

use std::time::Duration;

use models::{Share, TaskId, VariantId};
use router::{Because, Draw, Event};

use super::Driver;

/// The variant chosen for a task's request.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// Which.
    pub variant: VariantId,
    /// From the request's arrival, when the answer is predicted to be there.
    pub predicted: Duration,
    /// How it was drawn, where chance decided; whoever tells of the answer hands it back.
    pub draw: Option<Draw>,
    /// Why that one; `None` where it was not chosen.
    pub because: Option<Because>,
}

impl Pick {
    /// The same for whoever sees the answer so much later.
    pub(super) fn after(self, way: Duration) -> Self {
        Self { predicted: self.predicted + way, ..self }
    }
}

impl Driver {
    /// Lets the scheduler learn what an answer of a task was worth.
    pub fn tell(&self, task: TaskId, pick: Pick, loss: Share) {
        let Pick { variant, draw, .. } = pick;
        self.feed(&mut self.state.lock(), Event::Feedback { task, variant, draw, loss });
    }
}
