//! `punctual-sim`: the scheduler in virtual time.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[expect(clippy::print_stdout, reason = "a command's answer goes to its standard output")]
fn main() -> ExitCode {
    match cli::Cli::parse().command.run() {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("punctual-sim: {text}");
            ExitCode::FAILURE
        }
    }
}
