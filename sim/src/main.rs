//! `punctual-sim`: the scheduler in virtual time.
#![expect(clippy::print_stdout, reason = "a command's answer goes to its standard output")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::{Scenario, World, random_scenario};

#[derive(Parser)]
#[command(name = "punctual-sim", version, about = "Punctual's scheduler in virtual time")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a scenario file and reports what happened, by model and by reason
    Run {
        /// The scenario (see sim/scenarios)
        scenario: PathBuf,
        /// In place of the scenario's own seed
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Gives a recording of `punctual serve --record FILE` to a fresh router: it must decide the same
    Replay {
        /// The recording
        recording: PathBuf,
    },
    /// Tries random worlds until an invariant breaks
    Fuzz {
        /// How many
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("punctual-sim: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String, String> {
    match command {
        Command::Run { scenario, seed } => {
            let file = scenario.display().to_string();
            let text =
                std::fs::read_to_string(&scenario).map_err(|error| format!("{file}: {error}"))?;
            let mut scenario =
                Scenario::from_text(&file, &text).map_err(|error| error.to_string())?;
            scenario.seed = seed.unwrap_or(scenario.seed);
            let world = World::new(&scenario).map_err(|error| error.to_string())?;
            let (report, _) =
                world.run().map_err(|violation| format!("seed {}: {violation}", scenario.seed))?;
            Ok(format!("seed {}\n{report}", scenario.seed))
        }
        Command::Replay { recording } => {
            let file = recording.display().to_string();
            let text =
                std::fs::read_to_string(&recording).map_err(|error| format!("{file}: {error}"))?;
            let replayed = sim::replay(text.lines()).map_err(|error| format!("{file}: {error}"))?;
            Ok(format!("{} events gave the same {} actions", replayed.events, replayed.actions))
        }
        Command::Fuzz { seeds, from } => {
            for seed in from..from.saturating_add(seeds) {
                let world =
                    World::new(&random_scenario(seed)).map_err(|error| error.to_string())?;
                world.run().map_err(|violation| format!("seed {seed}: {violation}"))?;
            }
            Ok(format!("{seeds} seeds from {from}: no invariant broke"))
        }
    }
}
