//! The command line of `punctual-bench`: a file for each subcommand.

mod account;
mod asked;
mod compare;
mod find;
mod live;
mod measure;
mod mlperf;
mod out;
mod report;
mod run;
mod soak;
mod sweep;
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
    /// Runs under one load after another: latency and goodput against offered load.
    Sweep(Box<sweep::Sweep>),
    /// Finds the highest load that keeps an objective, by bisection.
    ///
    /// Doubles or halves the load until it is too much or not, then bisects; most of --repeats runs decide.
    Find(Box<find::Find>),
    /// Asks two servers in turn under the same load and says how many times one is the other, with an interval.
    Compare(Box<compare::Compare>),
    /// Keeps a load up for hours and says whether latency, goodput or memory drift.
    Soak(Box<soak::Soak>),
    /// Plays a scenario of MLPerf's LoadGen by its definitions.
    Mlperf(Box<mlperf::Mlperf>),
    /// Lays results over each other, measured and simulated, as a page or as plots for documents.
    Report(report::Report),
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn print(text: &str) {
    println!("{text}");
}
