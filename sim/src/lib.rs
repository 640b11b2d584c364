//! The scheduler in virtual time: the second driver of the router, and the main test of it.
//!
//! The same [`router::Router`] that the server drives is driven here by a heap of happenings, so that an hour of
//! traffic takes seconds and the same seed gives the same history.

pub mod bound;
mod check;
pub mod clock;
pub mod compare;
mod executor;
mod fuzz;
mod goodput;
mod interference;
mod latency;
pub mod page;
pub mod parallel;
pub mod plan;
pub mod published;
mod replay;
mod report;
mod scenario;
mod table;
mod window;
mod world;

pub use check::Violation;
pub use fuzz::random_scenario;
pub use goodput::{Goodput, Search, SimError};
pub use interference::{Entry, Interference};
pub use latency::Latencies;
pub use replay::{
    Comparison, Difference, ReplayError, Replayed, Times, Validated, Validation, replay, validate,
};
pub use report::{ModelReport, Report};
pub use scenario::{
    Answers, CodedSpec, CompositionSpec, CopyIn, Drift, DriftShape, EnsembleSpec, ExecutorSpec,
    ModelSpec, Neighbours, PairTable, PlacementSpec, Popularity, ProfileSpec, RouterChoice, Scale,
    Scenario, ScenarioError, Split, StageSpec, Stages, Stall, TraceSpec, VoterSpec,
};
pub use table::Table;
pub use world::{History, World, speed};
