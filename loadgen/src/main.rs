//! `punctual-bench`: plays a workload against an inference server and prints what came back.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let done = match cli::Cli::parse().command {
        cli::Command::Run(run) => run.run(),
        cli::Command::Sweep(sweep) => sweep.run(),
        cli::Command::Find(find) => find.run(),
        cli::Command::Compare(compare) => compare.run(),
        cli::Command::Soak(soak) => soak.run(),
        cli::Command::Mlperf(mlperf) => mlperf.run(),
        cli::Command::Report(report) => report.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("punctual-bench: {error}");
        ExitCode::from(cli::EXIT_NOT_STARTED)
    })
}
