//! `punctual-bench`: plays a workload against an inference server and prints what came back.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let done = match cli::Cli::parse().command {
        cli::Command::Run(run) => run.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("punctual-bench: {error}");
        ExitCode::from(cli::EXIT_NOT_STARTED)
    })
}
