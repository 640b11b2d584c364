//! The command line of `punctual-bench`: a file for each subcommand.

mod live;
mod run;
mod table;

use clap::{Parser, Subcommand};

/// The run could not start.
pub(crate) const EXIT_NOT_STARTED: u8 = 1;
/// No request was answered, or some ended in an error, a timeout or a lost connection.
pub(crate) const EXIT_FAILED_REQUESTS: u8 = 3;
/// The numbers were not stable before the run had to end.
pub(crate) const EXIT_NOT_STABLE: u8 = 4;
/// Ctrl-C, by the custom of shells.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Plays workloads against servers of the Open Inference Protocol.
#[derive(Debug, Parser)]
#[command(name = "punctual-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends requests to one model, or what a workload file says, and reports latencies and outcomes.
    ///
    /// Latency counts from when a request was due, not from when it was sent. Ctrl-C ends the run and reports it so far.
    ///
    /// Exit code 0: all requests were answered or refused; 1: the run could not start; 2: a wrong command line; 3: some
    /// requests ended in an error, a timeout, a cancellation or a lost connection, or none was answered; 4: the numbers
    /// were not as stable as --until-stable asks; 130: interrupted.
    Run(Box<run::Run>),
}
