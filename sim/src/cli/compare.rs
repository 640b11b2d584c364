//! `punctual-sim compare`.

use std::path::{Path, PathBuf};

use clap::Args;
use sim::compare::{compare, goodputs, tuned};
use sim::page::{COLUMNS, Comparison, html, row};
use sim::{Search, Table};

use super::{Policies, command_line, read_all};

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Scenario files (see sim/scenarios)
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    policies: Policies,
    /// Multiples of the scenario's rates
    #[arg(long, value_delimiter = ',', default_value = "1", allow_negative_numbers = true)]
    loads: Vec<f64>,
    /// Gives each policy but the default, and those with settings of their own, the delay and the largest and preferred
    /// batch of the highest goodput in each scenario, and says which
    #[arg(long)]
    tune: bool,
    /// Also searches the highest rate with at most 1 % late or refused
    #[arg(long)]
    goodput: bool,
    /// In place of the scenarios' own seeds
    #[arg(long)]
    seed: Option<u64>,
    /// Writes all numbers there, under a first line with the command
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Writes a page with plots there, one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Compare {
    pub(crate) fn run(self) -> Result<String, String> {
        if let Some(load) = self.loads.iter().find(|load| !(load.is_finite() && **load > 0.0)) {
            return Err(format!("a load must be a positive number, not {load}"));
        }
        let asked = self.policies.choices()?;
        let scenarios = read_all(&self.scenarios, self.seed)?;
        let threads = self.policies.threads;
        let choices = if self.tune {
            tuned(&scenarios, &asked, Search::default(), threads)
                .map_err(|error| error.to_string())?
        } else {
            vec![asked; scenarios.len()]
        };
        let cells = compare(&scenarios, &choices, &self.loads, threads)
            .map_err(|error| error.to_string())?;
        let goodputs = if self.goodput {
            let search = Search::default();
            goodputs(&scenarios, &choices, search, threads).map_err(|error| error.to_string())?
        } else {
            Vec::new()
        };
        let command = command_line();
        let comparison = Comparison {
            scenarios: &scenarios,
            choices: &choices,
            cells: &cells,
            goodputs: &goodputs,
            command: &command,
        };
        if let Some(file) = &self.csv {
            write(file, &csv(&comparison))?;
        }
        if let Some(file) = &self.html {
            write(file, &html(&comparison))?;
        }
        Ok(text(&comparison))
    }
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn text(comparison: &Comparison<'_>) -> String {
    let mut table = Table::new(&COLUMNS);
    comparison.cells.iter().for_each(|cell| table.push(row(comparison, cell)));
    let mut text = table.to_string();
    if !comparison.goodputs.is_empty() {
        let head = ["scenario", "policy", "goodput/s at <= 1 % bad", "load"];
        let mut table = Table::new(&head);
        let choices = comparison.choices.iter().enumerate();
        let choices =
            choices.flat_map(|(scenario, all)| all.iter().map(move |one| (scenario, one)));
        for ((scenario, choice), found) in choices.zip(comparison.goodputs) {
            table.push(vec![
                comparison.scenarios[scenario].0.clone(),
                choice.to_string(),
                format!("{:.1}", found.rate),
                format!("{:.3}", found.load),
            ]);
        }
        text += &format!("\n{table}");
    }
    text
}

fn csv(comparison: &Comparison<'_>) -> String {
    let mut text = format!("# {}\n", comparison.command);
    text += &(COLUMNS.join(",") + ",goodput at 1 % bad/s\n");
    for cell in comparison.cells {
        let found = comparison.goodput(cell.scenario, cell.choice);
        let found = found.map_or(String::new(), |found| format!("{:.1}", found.rate));
        text += &format!("{},{found}\n", row(comparison, cell).join(","));
    }
    text
}
