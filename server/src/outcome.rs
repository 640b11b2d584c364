//! How requests end: what the driver tells whoever waits.

use std::sync::Arc;
use std::time::Duration;

use gpu::{Output, RunError, Timing};
use router::Rejection;

use crate::infer::RequestTiming;

/// How a request ended.
#[derive(Debug)]
pub enum Outcome {
    /// Its batch has run.
    Answered(Answer),
    /// The scheduler gave it up.
    Refused(Rejection),
    /// Its batch failed.
    Failed(RunError),
}

/// A request's share of its batch's outputs.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The outputs of the whole batch, in the model's order.
    pub outputs: Arc<Vec<Output>>,
    /// Where this request's rows begin.
    pub row: u32,
    /// How many rows are its own.
    pub rows: u32,
    /// Rows of the batch.
    pub batch: u32,
    /// From arrival until its batch began.
    pub queue: Duration,
    /// The phases of the batch.
    pub timing: Timing,
}

impl Answer {
    /// Where the request's time went.
    #[must_use]
    pub fn request_timing(&self) -> RequestTiming {
        let Timing { input, infer, output } = self.timing;
        RequestTiming { queue: self.queue, input, infer, output, batch: self.batch }
    }
}
