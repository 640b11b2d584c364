//! A request as the core knows it: an id, its rows and when it is wanted. No tensor enters the core.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Instant;

/// Identity of a request. Rises with arrival; never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// The instant after which an answer is useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// No deadline: any answer is useful.
    pub const NONE: Self = Self(Instant::NEVER);

    /// Time left at `now`; zero when it has passed.
    #[must_use]
    pub fn slack(self, now: Instant) -> Duration {
        self.0.since(now)
    }
}

/// One inference asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which request.
    pub id: RequestId,
    /// Rows of its batch axis; 1 where the model has none.
    pub rows: u32,
    /// Priority level, 1 is the most urgent; the shell has replaced 0 by the model's default.
    pub priority: u32,
    /// When it arrived.
    pub arrived: Instant,
    /// When its answer is no longer wanted.
    pub deadline: Deadline,
}
