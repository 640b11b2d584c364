//! The model repositories: what lies in them, what of it is loaded, and the threads that load.

pub mod overrides;
pub mod scan;

pub use scan::{Changes, FoundModel, Scan, changes};
