//! `punctual-bench run`: one run and its report.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use loadgen::client::{Played, Target};
use loadgen::result::{Kind, Point, ResultFile};
use loadgen::{Error, Workload};

use super::account::Account;
use super::asked::{Asked, PaceArgs, positive};
use super::measure::{Measure, Seen};
use super::out::Out;
use super::{print, table};

/// How long a run goes on at most until it is stable.
const DURATION_MAX_STABLE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The server: http://HOST:PORT, https, grpc or grpcs.
    #[arg(long)]
    url: Target,
    /// Multiplies the rates and concurrencies of the workload.
    #[arg(long, value_name = "FACTOR", requires = "workload", value_parser = positive)]
    times: Option<f64>,
    /// Ends the run when the 95 % confidence intervals of goodput and p99 are within that part of them, such as 5%.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    until_stable: Option<f64>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    out: Out,
}

impl Run {
    /// Plays the run, shows it meanwhile and prints the report.
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let made = self.out.made()?;
        let workload = self.workload()?;
        let mut measure = Measure::new(&self.asked, &self.seen, &self.url, &workload)?;
        let played = measure.run(&workload, self.until_stable)?;
        let account = self.account(measure.last(), &played);
        if self.json {
            print(&serde_json::to_string_pretty(&account).expect("numbers and names are JSON"));
        } else {
            print(&table::of(&account));
        }
        let title = format!("Run of {}", self.asked.name());
        let mut result = ResultFile::new(Kind::Run, &title, &made);
        result.series.push(measure.series);
        self.out.write(&result, made.began)?;
        Ok(account.exit_code())
    }

    fn workload(&self) -> Result<Workload, Error> {
        let mut workload = self.asked.workload(self.pace.pace()?)?;
        if self.until_stable.is_some() && !self.asked.has_duration() {
            workload.duration = DURATION_MAX_STABLE;
        }
        Ok(self.times.map_or(workload.clone(), |factor| workload.times(factor)))
    }

    fn account(&self, point: &Point, played: &Played) -> Account {
        Account {
            interrupted: played.interrupted,
            confidence: point.confidence,
            warm_up: point.warm_up.clone(),
            client_busy: played.client_busy,
            stable: self.until_stable.map(|relative| point.confidence.within(relative)),
            report: point.report.clone(),
        }
    }
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let wrong = || format!("'{text}' is not a part such as 5%");
    number.filter(|part| (0.1..=100.0).contains(part)).map(|part| part / 100.0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn run(flags: &str) -> Result<Run, String> {
        let words = format!("punctual-bench run --url http://localhost:1 {flags}");
        let cli = Cli::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?;
        let Command::Run(run) = cli.command else { panic!("{words}") };
        Ok(*run)
    }

    #[test]
    fn flags_make_the_workload_that_a_file_would() {
        let flags = "--model m --rate 50..100@10s --arrivals gamma:2 --deadline 20ms --rows 2 \
                     --duration 20s --warm-up 2s";
        let text = "duration = '20s'\nwarm_up = '2s'\nrate = '50..100@10s'\narrivals = 'gamma:2'\n\
                    [[clients]]\nmodel = 'm'\nslo = '20ms'\nrows = 2";
        assert_eq!(run(flags).unwrap().workload(), Workload::from_text("w.toml", text));
        let flags = "--model m --concurrency 4 --think-time 5ms --duration 1s";
        let text = "duration = '1s'\nconcurrency = 4\nthink_time = '5ms'\n[[clients]]\nmodel = 'm'";
        assert_eq!(run(flags).unwrap().workload(), Workload::from_text("w.toml", text));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for wrong in [
            "--model m",
            "--rate 5",
            "--model m --rate 5 --concurrency 2",
            "--model m --rate 5 --think-time 1s",
            "--workload w.toml --rate 5",
            "--workload w.toml --model m",
            "--model m --rate 5 --until-stable 5",
        ] {
            assert!(run(wrong).is_err(), "{wrong}");
        }
    }
}
