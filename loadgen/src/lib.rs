//! Workloads (who asks for what, when) and the open-loop client that plays them against a server and counts what came
//! back.

mod arrival;
pub mod client;
mod duration;
mod error;
mod mix;
mod outcome;
mod report;
mod trace;

pub use arrival::{Arrivals, Offsets};
pub use duration::parse_duration;
pub use error::Error;
pub use mix::{Mix, Share};
pub use outcome::{Outcome, Record, Tally};
pub use report::{LAG_P99_MAX, Percentiles, Report};
pub use trace::Trace;
