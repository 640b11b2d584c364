//! May a request enter? One policy, one file, one row in [`ADMISSIONS`].

mod always;
mod feasible;
mod priced;

use std::time::Duration;

use batcher::{Instant, Queue, Request};
use models::LatencyProfile;

use crate::Rejection;

/// Decides whether a request may enter its queue.
pub(crate) trait Admission: Send {
    /// # Errors
    /// Why not.
    fn admit(&mut self, ask: &Ask<'_>) -> Result<(), Rejection>;
}

/// All that an admission policy sees.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Who wants to enter.
    pub(crate) request: &'a Request,
    /// The queue it would enter, without it.
    pub(crate) queue: &'a Queue,
    /// Corrected times of that queue's variant and shape.
    pub(crate) profile: &'a LatencyProfile,
    /// The most rows of a batch of several requests.
    pub(crate) batch_max: u32,
    /// The executors.
    pub(crate) outlook: &'a dyn Outlook,
    /// The moment of the request's arrival.
    pub(crate) now: Instant,
}

/// What can be asked of the executors that have a variant. What is not asked costs nothing.
pub(crate) trait Outlook {
    /// When the first of them could start a batch, as planned; never if there is none.
    fn earliest_start(&self) -> Instant;
    /// By how much sooner than planned that is expected, at the median.
    fn sooner(&self) -> Duration;
    /// So much is lost that the door chooses whom to let in.
    fn choosy(&self) -> bool;
    /// Executor time that all that waits for any of the executors takes in full batches, as planned.
    fn backlog(&self) -> Duration;
    /// When each of the executors could start a batch, as planned.
    fn starts(&self, into: &mut Vec<Instant>);
}

/// One row of the table of admission policies.
#[derive(Clone, Copy)]
pub struct AdmissionEntry {
    /// The name in settings.
    pub name: &'static str,
    /// Who is let in, in a sentence.
    pub summary: &'static str,
    /// Whose idea it is.
    pub source: &'static str,
    pub(crate) build: fn() -> Box<dyn Admission>,
}

impl std::fmt::Debug for AdmissionEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdmissionEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every admission policy; the first is the default.
pub const ADMISSIONS: [AdmissionEntry; 3] = [feasible::ENTRY, always::ENTRY, priced::ENTRY];

/// The row of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static AdmissionEntry> {
    ADMISSIONS.iter().find(|entry| entry.name == name)
}
