//! What a client wants of an answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A service-level objective: the answer is worth something only within this time of its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slo {
    /// The longest useful time from arrival to answer.
    pub latency: Duration,
}
