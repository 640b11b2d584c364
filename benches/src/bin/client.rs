//! What the load generator itself can do, against a server that only sends back what it gets: requests per second and their
//! cost on its one core, and how late it sends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::{Bar, Error, Served, Table, median, pin, serve_echo, start_echo, verdict};
use clap::{Parser, Subcommand};
use loadgen::client::{InputMetadata, Load, Plan, Target, Tls};
use loadgen::{Arrivals, Mix, Report, parse_duration};

/// Plays the load generator on one core against an echo on another, in several rounds of turns.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    echo: Option<Echo>,
    /// The core of the load generator.
    #[arg(long, default_value_t = 0)]
    client_core: usize,
    /// The core of the server.
    #[arg(long, default_value_t = 1)]
    server_core: usize,
    /// Requests under way at all times, of the closed loop.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Requests per second of the open loop, whose lag is measured.
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
    /// Rounds, in each of which everything is measured once.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How long each thing is measured in a round.
    #[arg(long, default_value = "300ms", value_parser = parse_duration)]
    each: Duration,
    /// Seeds arrivals and inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum Echo {
    #[command(name = "echo", hide = true)]
    Plain(PortsFile),
    #[command(name = "echo-tls", hide = true)]
    Encrypted(PortsFile),
}

#[derive(Debug, clap::Args)]
struct PortsFile {
    #[arg(long)]
    ports_file: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.echo {
        Some(Echo::Plain(to)) => serve_echo(&to.ports_file, false).map(|()| true),
        Some(Echo::Encrypted(to)) => serve_echo(&to.ports_file, true).map(|()| true),
        None => measure(&cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was found of one way to ask, round by round.
struct Way {
    scheme: &'static str,
    /// The bar of requests per second, where there is one.
    rate_min: Option<f64>,
    target: Target,
    rates: Vec<f64>,
    cpu_us: Vec<f64>,
    lags_p50_us: Vec<f64>,
    lags_p99_us: Vec<f64>,
}

impl Way {
    fn new(scheme: &'static str, rate_min: Option<f64>, served: &Served) -> Self {
        let url = served.http().to_string().replacen("http:", &format!("{scheme}:"), 1);
        let target = url.parse().expect("a URL of numbers");
        let none = Vec::new;
        let [rates, cpu_us, lags_p50_us, lags_p99_us] = [none(), none(), none(), none()];
        Self { scheme, rate_min, target, rates, cpu_us, lags_p50_us, lags_p99_us }
    }

    fn play(&self, cli: &Cli, load: Load) -> Result<(Report, f64), Error> {
        let mut plan = Plan::new(self.target.clone(), Mix::single("m", None), load, cli.each);
        let input =
            InputMetadata { name: "x".into(), datatype: "FP32".into(), shape: vec![-1, 64] };
        plan.inputs = [("m".to_owned(), vec![input])].into();
        plan.tls = Tls { authorities: None, insecure: true };
        plan.seed = cli.seed;
        let played = plan.run()?;
        let report = Report::of(&played.records, &["m"], cli.each);
        if report.tally.in_time < report.tally.requests {
            return Err(Error::Server(format!("{}: {:?}", self.scheme, report.tally)));
        }
        Ok((report, played.client_busy))
    }

    fn round(&mut self, cli: &Cli) -> Result<(), Error> {
        let (report, busy) = self.play(cli, Load::Closed(cli.in_flight))?;
        self.rates.push(report.throughput);
        self.cpu_us.push(1e6 * busy / report.throughput);
        let open = Load::open(Arrivals::Poisson, cli.rate, cli.each, cli.seed)?;
        let (report, _) = self.play(cli, open)?;
        self.lags_p50_us.push(1e3 * report.lag.p50_ms);
        self.lags_p99_us.push(1e3 * report.lag.p99_ms);
        Ok(())
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    let plain = start_echo(false, Some(cli.server_core))?;
    let encrypted = start_echo(true, Some(cli.server_core))?;
    let mut ways = [
        Way::new("http", Some(20_000.0), &plain),
        Way::new("grpc", Some(12_000.0), &plain),
        Way::new("https", None, &encrypted),
        Way::new("grpcs", None, &encrypted),
    ];
    pin(Some(cli.client_core))?;
    for _ in 0..cli.rounds {
        for way in &mut ways {
            way.round(cli)?;
        }
    }
    let lag = format!("lag us at {:.0}/s, p50", cli.rate);
    let head = ["", "requests/s", "client CPU us/request", &lag, "p99", "p99, least of rounds"];
    let mut table = Table::new(&head);
    let mut bars = Vec::new();
    for way in &ways {
        let numbers = [&way.rates, &way.cpu_us, &way.lags_p50_us, &way.lags_p99_us];
        let numbers = numbers.map(|values| median(values)).into_iter();
        let cells = numbers.chain([least(&way.lags_p99_us)]).map(|value| format!("{value:.1}"));
        table.push(std::iter::once(way.scheme.to_owned()).chain(cells).collect());
        if let Some(rate_min) = way.rate_min {
            let what = format!("{} requests/s from one core", way.scheme);
            bars.push(verdict(&what, median(&way.rates), Bar::AtLeast(rate_min)));
            let what = format!("{} lag p99 in us at {:.0}/s", way.scheme, cli.rate);
            bars.push(verdict(&what, median(&way.lags_p99_us), Bar::AtMost(100.0)));
        }
    }
    println!(
        "medians of {} rounds of {:?}, {} in flight:\n{table}",
        cli.rounds, cli.each, cli.in_flight
    );
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(bars.iter().all(|(_, reached)| *reached))
}
