//! The command line of `punctual-sim`.

mod bound;
mod compare;
mod fuzz;
mod plan;
mod run;
mod speed;
mod validate;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use sim::Scenario;
use sim::compare::{Asked, Choice, choices};

/// Punctual's scheduler in virtual time: the same core as the server's, thousands of times faster than the clock.
///
/// The same seed gives the same history on any machine. The page docs/simulator.md of the repository describes scenarios.
#[derive(Debug, Parser)]
#[command(name = "punctual-sim", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a scenario file and reports what happened, by model and by reason
    Run(run::Run),
    /// Compares policies in scenarios: a table, and if asked a CSV file and a page with plots
    Compare(compare::Compare),
    /// Prints what no policy can exceed: closed forms, a bound for the very arrivals, a clairvoyant optimum
    Bound(bound::Bound),
    /// Finds the fewest executors with which enough requests are answered in time
    Plan(plan::Plan),
    /// Measures what deciding costs, in CPU time, on many executors and models
    Speed(speed::Speed),
    /// Gives a recording of `punctual serve --record FILE` to a fresh router: it must decide the same
    Replay {
        /// The recording
        recording: PathBuf,
    },
    /// Predicts what became of the requests of a recording, and compares
    Validate(validate::Validate),
    /// Tries random worlds until an invariant breaks
    Fuzz(fuzz::Fuzz),
}

/// Which policies are tried.
#[derive(Debug, Args)]
pub(crate) struct Policies {
    /// Batching policies: names with commas, or all. NAME:8 has batches of 8 at most, NAME:8/2ms waits 2 ms for company
    #[arg(long, default_value = "all")]
    policies: String,
    /// Largest batches to try, for policies without their own behind their names
    #[arg(long, value_name = "ROWS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_max: Vec<u32>,
    /// Dispatch policies: names with commas, or all; the scenario's if absent
    #[arg(long)]
    dispatch: Option<String>,
    /// Admission policies: names with commas, or all; the scenario's if absent
    #[arg(long)]
    admission: Option<String>,
    /// Placement policies: names with commas, or all; the scenario's if absent. NAME/4 runs models on groups of four
    /// devices as pipelines, NAME@60s places anew every minute, NAME+demand loads weights for requests without a place
    #[arg(long)]
    placement: Option<String>,
    /// Threads; one a core if absent. The results are the same
    #[arg(long)]
    threads: Option<usize>,
}

impl Policies {
    fn choices(&self) -> Result<Vec<Choice>, String> {
        choices(Asked {
            batching: Some(&self.policies),
            dispatch: self.dispatch.as_deref(),
            admission: self.admission.as_deref(),
            placement: self.placement.as_deref(),
            batch_max: &self.batch_max,
        })
    }
}

impl Command {
    /// What is to be printed, or why there is nothing.
    pub(crate) fn run(self) -> Result<String, String> {
        match self {
            Self::Run(run) => run.run(),
            Self::Compare(compare) => compare.run(),
            Self::Bound(bound) => bound.run(),
            Self::Plan(plan) => plan.run(),
            Self::Speed(speed) => speed.run(),
            Self::Replay { recording } => {
                let file = recording.display().to_string();
                let text = read_recording(&recording)?;
                let replayed =
                    sim::replay(text.lines()).map_err(|error| format!("{file}: {error}"))?;
                Ok(replayed.to_string())
            }
            Self::Validate(validate) => validate.run(),
            Self::Fuzz(fuzz) => fuzz.run(),
        }
    }
}

/// Scenario files with the names that tables give them.
fn read_all(files: &[PathBuf], seed: Option<u64>) -> Result<Vec<(String, Scenario)>, String> {
    let read = |file: &PathBuf| {
        let mut scenario = Scenario::read(file).map_err(|error| error.to_string())?;
        scenario.seed = seed.unwrap_or(scenario.seed);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, scenario))
    };
    files.iter().map(read).collect()
}

/// The text of a recording. One that was cut off may end within a letter.
fn read_recording(file: &Path) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What was typed, for those who want the same again.
fn command_line() -> String {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    format!("punctual-sim {}", words.join(" "))
}
