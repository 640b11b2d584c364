//! The service as its clients see it, over sockets too, on executors whose models the tests script: every accepted
//! request gets exactly one answer, its own, and is counted once, whoever leaves, fails, comes or goes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapted;
mod cache;
mod coded;
mod composed;
mod counts;
mod ending;
mod failures;
mod feedback;
mod fronts;
mod mirror;
mod order;
mod overrun;
mod places;
mod planned;
mod refused;
mod scripted;
mod tasks;
mod world;
