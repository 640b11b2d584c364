//! What the router decides, event by event: decision logs that a reader can check by hand, and what holds of any
//! script at all. `INSTA_UPDATE=always cargo test -p router` writes the logs anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any_script;
mod logs;
mod play;
mod preemption;
