//! Workloads (who asks for what, when), the open-loop client that plays them against a server and counts what came
//! back, and the charts that show it.

mod arrival;
pub mod chart;
pub mod client;
mod duration;
mod error;
mod interval;
mod mix;
mod outcome;
pub mod page;
mod pairs;
mod rate;
mod report;
pub mod result;
mod search;
mod trace;
mod workload;

pub use arrival::{Arrivals, Offsets};
pub use duration::parse_duration;
pub use error::Error;
pub use interval::{Confidence, Interval, Sample};
pub use mix::{Mix, Share};
pub use outcome::{Outcome, Record, Tally};
pub use pairs::{Estimate, ratio, slope};
pub use rate::{Piece, Rate};
pub use report::{CLIENT_BUSY_MAX, LAG_P99_MAX, Percentiles, Report};
pub use search::{Border, highest_good};
pub use trace::{Function, Recorded, Replay, Trace, Within};
pub use workload::{Clients, Deal, Due, Loop, Pace, Recording, Schedule, Workload};
