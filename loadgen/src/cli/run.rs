//! `punctual-bench run`: one run and its report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use loadgen::client::{Plan, Played, Stop, Target, Tls};
use loadgen::{
    Arrivals, Clients, Confidence, Error, Pace, Rate, Recording, Report, Sample, Tally, Workload,
    parse_duration,
};
use models::Slo;
use serde::Serialize;

use super::live::{Live, Until};
use super::{EXIT_FAILED_REQUESTS, EXIT_INTERRUPTED, EXIT_NOT_STABLE, table};

/// How long a run of flags is, and how long one goes on at most until it is stable.
const DURATION: Duration = Duration::from_secs(10);
const DURATION_MAX_STABLE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["model", "workload"]))]
#[command(group = clap::ArgGroup::new("pace").args(["rate", "concurrency", "trace", "workload"]).required(true))]
pub(crate) struct Run {
    /// The server: http://HOST:PORT, https, grpc or grpcs.
    #[arg(long)]
    url: Target,
    /// A workload file: who asks for what, with which deadline, priority, share or arrivals (see docs/load-testing.md).
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// Multiplies the rates and concurrencies of the workload.
    #[arg(long, value_name = "FACTOR", requires = "workload")]
    times: Option<f64>,
    #[command(flatten)]
    one: OneModel,
    #[command(flatten)]
    pace: PaceArgs,
    /// How long to send; with --until-stable, at most.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Requests before those that count, reported apart.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    warm_up: Option<Duration>,
    /// Ends the run when the 95 % confidence intervals of goodput and p99 are within that part of them, such as 5%.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    until_stable: Option<f64>,
    /// Connections at most; by default one for each request under way over HTTP, 256 in the open loop, and 1 over gRPC.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// How long after it was due a request without an answer is given up; 10s by default.
    #[arg(long, value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Certificate authorities to trust, as PEM, in place of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Takes any certificate.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Seeds the send times and the inputs; 1 by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// Shows nothing while it runs.
    #[arg(long)]
    quiet: bool,
}

/// What is asked for without a workload file.
#[derive(Debug, Args)]
#[command(next_help_heading = "One model")]
struct OneModel {
    /// The model.
    #[arg(long)]
    model: Option<String>,
    /// Sent with each request; an answer after it counts as late.
    #[arg(long, value_parser = parse_duration, conflicts_with = "workload")]
    deadline: Option<Duration>,
    /// Sent with each request; 1 is the highest.
    #[arg(long, default_value_t = 0, hide_default_value = true, conflicts_with = "workload")]
    priority: u64,
    /// Rows of each request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with = "workload")]
    rows: u64,
    /// The whole shape of an input with axes that vary: NAME:1,16 (may be given several times).
    #[arg(long, value_parser = shape, conflicts_with = "workload")]
    shape: Vec<(String, Vec<i64>)>,
    /// A .json, .npy or .bin file, or a folder of them, sent in turn; made from the model's metadata if absent.
    #[arg(long, value_name = "PATH", conflicts_with = "workload")]
    input: Option<PathBuf>,
}

/// How requests follow each other without a workload file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
struct PaceArgs {
    /// Open loop: requests per second, sent when due whatever became of those before. 500, or steps and ramps
    /// 100@10s,200..500@30s, or sine:MEAN,AMPLITUDE,PERIOD.
    #[arg(long)]
    rate: Option<Rate>,
    /// Gaps of the open loop: constant, poisson, gamma:CV, or bursts:TIMES,BURST,CALM such as bursts:10,200ms,2s.
    #[arg(long, default_value = "poisson", conflicts_with_all = ["workload", "concurrency", "trace"])]
    arrivals: Arrivals,
    /// Closed loop: that many clients, each asks again when it has an answer.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Option<u32>,
    /// How long a client of the closed loop waits before it asks again.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "concurrency", conflicts_with_all = ["rate", "trace"])]
    think_time: Option<Duration>,
    /// Replays a trace: a file of seconds, or of counts by second or minute and function, or a folder of them.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Recorded seconds a second of the run.
    #[arg(long, value_name = "FACTOR", requires = "trace", conflicts_with_all = ["rate", "concurrency"], value_parser = positive)]
    trace_speed: Option<f64>,
    /// Brings the trace to that many requests per second on average.
    #[arg(long, value_name = "RATE", requires = "trace", conflicts_with_all = ["rate", "concurrency"], value_parser = positive)]
    trace_rate: Option<f64>,
    /// Where in the trace the run begins.
    #[arg(long, value_name = "DURATION", requires = "trace", conflicts_with_all = ["rate", "concurrency"], value_parser = parse_duration)]
    trace_from: Option<Duration>,
}

/// The report as JSON.
#[derive(Serialize)]
pub(super) struct Account {
    #[serde(flatten)]
    pub(super) report: Report,
    /// 95 % confidence intervals.
    pub(super) confidence: Confidence,
    /// Of the requests before those that count.
    pub(super) warm_up: Tally,
    /// The part of its core that the client used.
    pub(super) client_busy: f64,
    /// Whether the run was interrupted.
    pub(super) interrupted: bool,
    /// Whether the intervals became as narrow as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stable: Option<bool>,
}

impl Run {
    /// Plays the run, shows it meanwhile and prints the report.
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let workload = self.workload()?;
        let plan = self.plan(&workload)?;
        let stop = Stop::default();
        let until = Until { duration: plan.duration, stable: self.until_stable };
        let (live, mut watch) = Live::start(until, stop.clone(), !self.quiet);
        let played = plan.run_interruptible(&stop, move |record| watch.ended(record));
        live.end();
        let account = self.account(&workload, &played?);
        if self.json {
            print(&serde_json::to_string_pretty(&account).expect("numbers and names are JSON"));
        } else {
            print(&table::of(&account));
        }
        Ok(account.exit_code())
    }

    fn workload(&self) -> Result<Workload, Error> {
        let mut workload = match &self.workload {
            Some(file) => Workload::read(file)?,
            None => self.of_flags()?,
        };
        if let Some(factor) = self.times {
            if !(factor.is_finite() && factor > 0.0) {
                return Err(Error::Rate(format!("{factor} times the workload")));
            }
            workload = workload.times(factor);
        }
        let most = self.until_stable.map(|_| DURATION_MAX_STABLE);
        if let Some(duration) = self.duration.or(most) {
            workload.duration = duration;
        }
        workload.warm_up = self.warm_up.unwrap_or(workload.warm_up);
        workload.timeout = self.timeout.or(workload.timeout);
        workload.seed = self.seed.unwrap_or(workload.seed);
        Ok(workload)
    }

    fn of_flags(&self) -> Result<Workload, Error> {
        let mut clients = Clients::of(self.one.model.as_deref().unwrap_or_default());
        clients.slo = self.one.deadline.map(|latency| Slo { latency });
        clients.priority = self.one.priority;
        clients.rows = self.one.rows;
        clients.shapes = self.one.shape.iter().cloned().collect::<BTreeMap<_, _>>();
        clients.input.clone_from(&self.one.input);
        let (pace, length) = self.pace.pace()?;
        Ok(Workload {
            seed: 1,
            duration: length.unwrap_or(DURATION),
            warm_up: Duration::ZERO,
            timeout: None,
            pace: Some(pace),
            clients: vec![clients],
        })
    }

    fn plan(&self, workload: &Workload) -> Result<Plan, Error> {
        let mut plan = Plan::of(workload, self.url.clone())?;
        plan.connections =
            self.connections.map_or(plan.connections, |connections| connections as usize);
        plan.tls = Tls { authorities: self.ca.clone(), insecure: self.insecure };
        Ok(plan)
    }

    fn account(&self, workload: &Workload, played: &Played) -> Account {
        let confidence = Confidence::of(played.records.iter().map(Sample::from), played.duration);
        let mut warm_up = Tally::default();
        played.warm_up.iter().for_each(|record| warm_up.count(&record.outcome));
        let report = Report::of(&played.records, &workload.names(), played.duration);
        Account {
            interrupted: played.interrupted,
            confidence,
            warm_up,
            client_busy: played.client_busy,
            stable: self.until_stable.map(|relative| confidence.within(relative)),
            report,
        }
    }
}

impl PaceArgs {
    /// The pace and, for a trace, how long it is.
    fn pace(&self) -> Result<(Pace, Option<Duration>), Error> {
        if let Some(file) = &self.trace {
            let mut recording = Recording::read(file)?;
            recording.speed = self.trace_speed.unwrap_or(1.0);
            recording.from = self.trace_from.unwrap_or(Duration::ZERO);
            if let Some(rate) = self.trace_rate {
                recording = recording.at_rate(rate);
            }
            let length = recording.length();
            return Ok((Pace::Recorded(recording), Some(length)));
        }
        let pace = match (&self.rate, self.concurrency) {
            (Some(rate), _) => Pace::Open { rate: rate.clone(), arrivals: self.arrivals },
            (None, concurrency) => Pace::Closed {
                concurrency: concurrency.unwrap_or(1) as usize,
                think_time: self.think_time.unwrap_or(Duration::ZERO),
            },
        };
        Ok((pace, None))
    }
}

impl Account {
    fn exit_code(&self) -> ExitCode {
        let tally = &self.report.tally;
        let cancelled = tally.cancelled;
        let failed = tally.errors_total() + tally.timeouts + tally.connections_lost;
        if self.interrupted {
            ExitCode::from(EXIT_INTERRUPTED)
        } else if failed + cancelled > 0 || tally.answered() == 0 {
            ExitCode::from(EXIT_FAILED_REQUESTS)
        } else if self.stable == Some(false) {
            ExitCode::from(EXIT_NOT_STABLE)
        } else {
            ExitCode::SUCCESS
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn print(text: &str) {
    println!("{text}");
}

fn shape(text: &str) -> Result<(String, Vec<i64>), String> {
    let wrong = || format!("'{text}' is not a name and a shape such as input:1,16");
    let (name, axes) = text.rsplit_once(':').ok_or_else(wrong)?;
    let axes: Vec<i64> =
        axes.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if axes.iter().any(|axis| *axis < 0) { Err(wrong()) } else { Ok((name.to_owned(), axes)) }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let wrong = || format!("'{text}' is not a part such as 5%");
    number.filter(|part| (0.1..=100.0).contains(part)).map(|part| part / 100.0).ok_or_else(wrong)
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("'{text}' is not a number above 0"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn run(flags: &str) -> Result<Run, String> {
        let words = format!("punctual-bench run --url http://localhost:1 {flags}");
        let cli = Cli::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?;
        let Command::Run(run) = cli.command;
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
