//! The scheduler in virtual time: the second driver of the router, and the main test of it.
//!
//! The same [`router::Router`] that the server drives is driven here by a heap of happenings, so that an hour of
//! traffic takes seconds and the same seed gives the same history.

pub mod bound;
mod check;
mod executor;
mod fuzz;
mod latency;
pub mod published;
mod replay;
mod report;
mod scenario;
mod table;
mod window;
mod world;

pub use check::Violation;
pub use fuzz::random_scenario;
pub use latency::Latencies;
pub use replay::{Difference, ReplayError, Replayed, replay};
pub use report::{ModelReport, Report};
pub use scenario::{
    Drift, DriftShape, ExecutorSpec, ModelSpec, Neighbours, Popularity, ProfileSpec, RouterChoice,
    Scale, Scenario, ScenarioError, Split, Stall, TraceSpec,
};
pub use table::Table;
pub use world::{History, World};
