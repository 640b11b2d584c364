//! One queue's state machine: which waiting requests run together, and when. No clock, no IO.

mod request;
mod time;

pub use request::{Deadline, Request, RequestId};
pub use time::Instant;
