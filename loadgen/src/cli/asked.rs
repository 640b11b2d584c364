//! What all commands that send requests have in common: what is asked for, how, and for how long.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use loadgen::client::{Plan, Target, Tls};
use loadgen::{Arrivals, Clients, Error, Pace, Rate, Recording, Workload, parse_duration};
use models::Slo;

/// How long a run of flags is.
const DURATION: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["model", "workload"]))]
pub(crate) struct Asked {
    /// A workload file: who asks for what, with which deadline, priority, share or arrivals (see docs/load-testing.md).
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// How long to send; with --until-stable, at most.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Requests before those that count, reported apart.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    warm_up: Option<Duration>,
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
    /// Shows nothing while it runs.
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    one: OneModel,
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
#[command(group = clap::ArgGroup::new("pace").args(["rate", "concurrency", "trace", "workload"]).required(true))]
#[command(next_help_heading = "Pace")]
pub(crate) struct PaceArgs {
    /// Open loop: requests per second, sent when due whatever became of those before. 500, or steps and ramps
    /// 100@10s,200..500@30s, or sine:MEAN,AMPLITUDE,PERIOD.
    #[arg(long, allow_negative_numbers = true)]
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

impl Asked {
    /// The workload of the file or of the flags; `pace` is for the flags alone.
    pub(super) fn workload(&self, pace: Pace) -> Result<Workload, Error> {
        let mut workload = match &self.workload {
            Some(file) => Workload::read(file)?,
            None => self.of_flags(pace),
        };
        workload.duration = self.duration.unwrap_or(workload.duration);
        workload.warm_up = self.warm_up.unwrap_or(workload.warm_up);
        workload.timeout = self.timeout.or(workload.timeout);
        workload.seed = self.seed.unwrap_or(workload.seed);
        Ok(workload)
    }

    fn of_flags(&self, pace: Pace) -> Workload {
        let mut clients = Clients::of(self.one.model.as_deref().unwrap_or_default());
        clients.slo = self.one.deadline.map(|latency| Slo { latency });
        clients.priority = self.one.priority;
        clients.rows = self.one.rows;
        clients.shapes = self.one.shape.iter().cloned().collect::<BTreeMap<_, _>>();
        clients.input.clone_from(&self.one.input);
        let duration = match &pace {
            Pace::Recorded(recording) => recording.length(),
            Pace::Open { .. } | Pace::Closed { .. } => DURATION,
        };
        Workload {
            seed: 1,
            duration,
            warm_up: Duration::ZERO,
            timeout: None,
            pace: Some(pace),
            clients: vec![clients],
        }
    }

    /// Whether a workload file says how it is asked.
    pub(super) fn has_file(&self) -> bool {
        self.workload.is_some()
    }

    /// Whether flags say how long to send.
    pub(super) fn has_duration(&self) -> bool {
        self.duration.is_some()
    }

    /// What titles call that which is asked for.
    pub(super) fn name(&self) -> String {
        let file = self.workload.as_ref().and_then(|file| file.file_stem());
        let file = file.map(|stem| stem.to_string_lossy().into_owned());
        self.one.model.clone().or(file).unwrap_or_default()
    }

    /// The workload against a server.
    pub(super) fn plan(&self, workload: &Workload, target: &Target) -> Result<Plan, Error> {
        let mut plan = Plan::of(workload, target.clone())?;
        plan.connections =
            self.connections.map_or(plan.connections, |connections| connections as usize);
        plan.tls = self.tls();
        Ok(plan)
    }

    pub(super) fn tls(&self) -> Tls {
        Tls { authorities: self.ca.clone(), insecure: self.insecure }
    }
}

impl PaceArgs {
    pub(super) fn pace(&self) -> Result<Pace, Error> {
        if let Some(file) = &self.trace {
            let mut recording = Recording::read(file)?;
            recording.speed = self.trace_speed.unwrap_or(1.0);
            recording.from = self.trace_from.unwrap_or(Duration::ZERO);
            if let Some(rate) = self.trace_rate {
                recording = recording.at_rate(rate);
            }
            return Ok(Pace::Recorded(recording));
        }
        Ok(match (&self.rate, self.concurrency) {
            (Some(rate), _) => Pace::Open { rate: rate.clone(), arrivals: self.arrivals },
            (None, concurrency) => Pace::Closed {
                concurrency: concurrency.unwrap_or(1) as usize,
                think_time: self.think_time.unwrap_or(Duration::ZERO),
            },
        })
    }
}

fn shape(text: &str) -> Result<(String, Vec<i64>), String> {
    let wrong = || format!("'{text}' is not a name and a shape such as input:1,16");
    let (name, axes) = text.rsplit_once(':').ok_or_else(wrong)?;
    let axes: Vec<i64> =
        axes.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if axes.iter().any(|axis| *axis < 0) { Err(wrong()) } else { Ok((name.to_owned(), axes)) }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("'{text}' is not a number above 0"))
}
