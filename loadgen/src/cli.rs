//! The command line of `punctual-bench`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use loadgen::client::{Load, Plan, Target};
use loadgen::{Arrivals, Error, Mix, parse_duration};
use models::Slo;

/// Plays workloads against servers of the Open Inference Protocol.
#[derive(Debug, Parser)]
#[command(name = "punctual-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends requests to one model and reports their latencies and ends.
    ///
    /// Exit code 0: all requests were answered or refused; 1: the run could not start; 2: a wrong command line; 3: some
    /// requests ended in an error, a timeout or a lost connection, or none was answered.
    Run(Run),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("load").required(true).args(["rate", "concurrency"]))]
pub(crate) struct Run {
    /// The server: http://HOST:PORT or grpc://HOST:PORT.
    #[arg(long)]
    url: Target,
    /// The model; its inputs are made from the metadata that the server gives.
    #[arg(long)]
    model: String,
    /// Open loop: requests per second, sent when due whatever became of those before.
    #[arg(long)]
    rate: Option<f64>,
    /// Gaps of the open loop: constant, poisson, or gamma:CV with a coefficient of variation.
    #[arg(long, default_value = "poisson")]
    arrivals: Arrivals,
    /// Closed loop: that many requests at all times.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Option<u32>,
    /// How long to send.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// Sent with each request; an answer after it counts as late.
    #[arg(long, value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Rows of each request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rows: u64,
    /// The whole shape of an input with axes that vary: NAME:1,16 (may be given several times).
    #[arg(long, value_parser = shape)]
    shape: Vec<(String, Vec<i64>)>,
    /// Connections at most; by default as many as --concurrency or 256 over HTTP, and 1 over gRPC.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// How long after it was due a request without an answer is given up.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// Seeds the send times and the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run {
    /// The run that was asked for.
    pub(crate) fn plan(&self) -> Result<Plan, Error> {
        let slo = self.deadline.map(|latency| Slo { latency });
        let load = match (self.rate, self.concurrency) {
            (Some(rate), _) => Load::open(self.arrivals, rate, self.duration, self.seed)?,
            (None, in_flight) => Load::Closed(in_flight.unwrap_or(1) as usize),
        };
        let mut plan =
            Plan::new(self.url.clone(), Mix::single(&self.model, slo), load, self.duration);
        plan.seed = self.seed;
        plan.rows = self.rows;
        plan.shapes = self.shape.iter().cloned().collect();
        plan.connections =
            self.connections.map_or(plan.connections, |connections| connections as usize);
        plan.patience = self.timeout;
        Ok(plan)
    }
}

fn shape(text: &str) -> Result<(String, Vec<i64>), String> {
    let wrong = || format!("'{text}' is not a name and a shape such as input:1,16");
    let (name, axes) = text.rsplit_once(':').ok_or_else(wrong)?;
    let axes: Vec<i64> =
        axes.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if axes.iter().any(|axis| *axis < 0) { Err(wrong()) } else { Ok((name.to_owned(), axes)) }
}
