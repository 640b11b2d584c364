//! One queue's state machine: which waiting requests run together, and when. No clock, no IO.
//!
//! A [`Batcher`] holds the waiting requests of one variant and one shape, most urgent first, and asks its
//! [`BatchPolicy`] for a [`Plan`]: what to give up, what to offer, when to ask again. It knows nothing of devices or
//! of other queues: the router disposes.

mod batcher;
mod policy;
mod queue;
mod request;
mod time;

pub use batcher::{Batcher, Outside, QueueFull};
pub use policy::{ALL, by_name, prefix_within_deadlines};
pub use policy::{
    BatchPolicy, Candidate, Entry, PolicySettings, Promises, Ran, UnknownPolicy, View,
};
pub use queue::Queue;
pub use request::{Deadline, Request, RequestId};
pub use time::Instant;
