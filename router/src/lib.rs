//! The whole scheduler as one state machine: admit, select, dispatch; and beside it where models are placed. No clock, no IO.
//!
//! Events go in, actions come out ([`Event`], [`Action`]: the complete interface to the world). Whoever drives it
//! calls [`Router::handle`], drains [`Router::poll_action`], and comes back at [`Router::poll_timeout`].

mod action;
mod admit;
mod agenda;
mod cluster;
pub mod compose;
mod dispatch;
mod estimate;
mod event;
mod lane;
mod load;
pub mod mix;
pub mod place;
mod recording;
mod roster;
mod router;
mod select;
mod store;
mod tally;

pub use action::{Action, Rejection};
pub use admit::{ADMISSIONS, AdmissionEntry};
pub use dispatch::{DISPATCHES, DispatchEntry};
pub use estimate::Prediction;
pub use event::{Choice, Event, PolicyNames, Shape, ShapeId, TaskSpec, VariantSpec, Weights};
pub use recording::Line;
pub use router::{Batch, Reason, Router, RouterSettings, UnknownSetting};
pub use router::{Demand, MemberDemand, TaskDemand, VariantDemand};
pub use select::{Because, Draw, SELECTIONS, SelectEntry};
pub use tally::Tally;
