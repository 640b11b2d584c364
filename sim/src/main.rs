//! `punctual-sim`: the scheduler in virtual time.

mod cli;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().command.run() {
        Ok(text) => {
            // Who reads only the beginning, as `head` does, has what they want.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("punctual-sim: {text}");
            ExitCode::FAILURE
        }
    }
}
