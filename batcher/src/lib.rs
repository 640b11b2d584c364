//! One queue's state machine: which waiting requests run together, and when. No clock, no IO.
//!
//! A [`Batcher`] holds the waiting requests of one variant and one shape, most urgent first, and asks its
//! [`BatchPolicy`] what to give up and what to offer, when. It knows nothing of devices or
//! of other queues: the router disposes.

mod arrivals;
mod batcher;
mod policy;
mod queue;
mod request;
mod returns;
mod time;

pub use arrivals::{Arrivals, Rate};
pub use batcher::{Batcher, Outside, QueueFull};
pub use policy::{ALL, by_name, prefix_within_deadlines};
pub use policy::{
    BatchPolicy, Candidate, Entry, Load, PolicySettings, Promises, Ran, UnknownPolicy, View,
};
pub use queue::Queue;
pub use request::{Deadline, Request, RequestId};
pub use time::{Instant, nanos};
