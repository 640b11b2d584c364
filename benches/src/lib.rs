//! End-to-end measurements of the server: its cost per request, its goodput under overload, models side by side; and
//! comparisons of policies in virtual time.
//!
//! Machines are shared and differ: every figure is a ratio of two things measured in turn within one run.

pub mod against_bounds;
mod bar;
pub mod callgrind;
pub mod clairvoyant;
pub mod contest;
mod cores;
mod echo;
mod error;
pub mod grid;
mod hog;
pub mod hot;
pub mod planning;
mod process;
mod raw;
mod reference;
pub mod robust;
mod streak;
pub mod task;
mod traffic;

pub use bar::{Bar, median, verdict};
pub use cores::pin;
pub use echo::{serve_echo, start_echo};
pub use error::Error;
pub use hog::Hog;
pub use loadgen::chart::{Curve, plot};
pub use process::{Launch, Served};
pub use raw::{Metadata, Rate, Raw};
pub use reference::{Reference, serve_grpc, serve_http};
pub use sim::Table;
pub use streak::longest_streak;
pub use traffic::{Traffic, count_failures, distrust, late_while_client_ran};
