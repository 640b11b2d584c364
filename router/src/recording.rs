//! The lines of a flight recording: what the router was given and what it decided, in its own order.

use batcher::Instant;
use serde::{Deserialize, Serialize};

use crate::{Action, Event, RouterSettings};

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Line {
    /// The first line: how the router was set.
    Settings(RouterSettings),
    /// The router was given this event at that instant.
    Event(Instant, Event),
    /// The router was called for its timeout at that instant.
    Timeout(Instant),
    /// The router decided this.
    Action(Action),
}
