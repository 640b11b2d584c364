//! The one reader of time in this crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use batcher::Instant;

/// Time since the server began, in the core's own instants.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: monotonic() }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + monotonic().duration_since(self.began)
    }

    /// How long from now until `instant`; zero if it has passed.
    #[must_use]
    pub fn until(&self, instant: Instant) -> Duration {
        instant.since(self.now())
    }
}

/// Milliseconds since 1970, as statistics show them.
#[must_use]
pub fn unix_millis() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock file")]
fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this is the clock file")]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
