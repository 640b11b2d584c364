//! Requests to variants that are part of a request which several answer.

use std::time::Duration;

use models::TaskId;
use router::Rejection;
use router::compose::AskId;
use router::compose::coded::{GroupId, Seat};

/// What a request to a variant is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// One request: which, and which of those it asked.
    Whole { whole: u64, ask: AskId },
    /// One that is coded with others of its task.
    Seat { task: TaskId, seat: Seat },
    /// The sum of a group.
    Parity { task: TaskId, group: GroupId },
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Entered(Duration),
    Answered,
    Refused(Rejection),
    Failed,
}
