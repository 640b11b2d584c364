//! What the server costs per request, beside bare echo servers, and how near its batches come to raw ONNX Runtime.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::{
    Bar, Error, Launch, Metadata, Rate, Raw, Reference, Served, Table, Traffic, count_failures,
    median, pin, serve_grpc, serve_http, verdict,
};
use clap::{Parser, Subcommand};
use loadgen::client::Target;
use loadgen::{Mix, parse_duration};
use tempfile::TempDir;

/// What an operator who wants throughput would let requests wait: longer than answered clients take to come again.
const DELAY_US: u32 = 3_000;

/// Measures the server pinned to one core and the load generator to the other, in several rounds of turns.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    reference: Option<ReferenceServer>,
    #[command(flatten)]
    launch: Launch,
    /// The model that costs next to nothing.
    #[arg(long, default_value = "digits_mlp_128")]
    tiny: String,
    /// The model that gains by batches.
    #[arg(long, default_value = "gemm_mlp")]
    gemm: String,
    /// Requests under way at all times.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Rounds, in each of which everything is measured once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each thing is measured in a round.
    #[arg(long, default_value = "3s", value_parser = parse_duration)]
    each: Duration,
    /// Batches that raw ONNX Runtime is tried with.
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16,32,64")]
    batches: Vec<u32>,
    /// Seeds the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum ReferenceServer {
    #[command(name = "reference-http", hide = true)]
    Http(PortsFile),
    #[command(name = "reference-grpc", hide = true)]
    Grpc(PortsFile),
    #[command(name = "reference-grpc-messages", hide = true)]
    GrpcMessages(PortsFile),
}

#[derive(Debug, clap::Args)]
struct PortsFile {
    #[arg(long)]
    ports_file: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.reference {
        Some(ReferenceServer::Http(to)) => serve_http(&to.ports_file).map(|()| true),
        Some(ReferenceServer::Grpc(to)) => serve_grpc(&to.ports_file, false).map(|()| true),
        Some(ReferenceServer::GrpcMessages(to)) => serve_grpc(&to.ports_file, true).map(|()| true),
        None => measure(&cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-server: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the tables are this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    println!(
        "seed {}, {} rounds of {:?} each, {} in flight",
        cli.seed, cli.rounds, cli.each, cli.in_flight
    );
    let (table, mut bars) = cost_per_request(cli)?;
    println!("\nServer CPU per request, {}:\n{table}", cli.tiny);
    let delayed = delayed_repository(cli)?;
    for (what, launch) in [
        ("as it is".to_owned(), cli.launch.clone()),
        (
            format!("with an operator's delay of {DELAY_US} us"),
            Launch { repository: delayed.path().to_owned(), ..cli.launch.clone() },
        ),
    ] {
        let (table, efficiency) = batch_efficiency(cli, &launch)?;
        println!("Batches, {} {what}:\n{table}", cli.gemm);
        if efficiency > 1.0 {
            println!(
                "NOT TRUSTED: no server is faster than the runtime it calls; the machine is too busy"
            );
        }
        let what = format!("batch efficiency {what}, of raw ONNX Runtime");
        bars.push(verdict(&what, efficiency, Bar::AtLeast(0.92)));
    }
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(bars.iter().all(|(_, reached)| *reached))
}

/// One server under the same load, round by round.
struct Measured {
    name: &'static str,
    served: Served,
    traffic: Traffic,
    cpu_us: Vec<f64>,
    rates: Vec<f64>,
}

impl Measured {
    fn new(
        name: &'static str,
        served: Served,
        traffic: &Traffic,
        side: fn(&Served) -> Target,
    ) -> Self {
        let traffic = traffic.at(side(&served));
        Self { name, served, traffic, cpu_us: Vec::new(), rates: Vec::new() }
    }

    fn round(&mut self, cli: &Cli) -> Result<(), Error> {
        let (report, each) = self.traffic.cost(&self.served, cli.in_flight, cli.each)?;
        if let Some(failures) = count_failures(&report) {
            return Err(Error::Server(format!("{}: {failures}", self.name)));
        }
        self.cpu_us.push(each.as_secs_f64() * 1e6);
        self.rates.push(report.throughput);
        Ok(())
    }

    fn cpu_least_us(&self) -> f64 {
        self.cpu_us.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// The CPU time per request over both protocols: ours and the references'.
fn cost_per_request(cli: &Cli) -> Result<(Table, Vec<(String, bool)>), Error> {
    let core = cli.launch.server();
    let start = || cli.launch.start(&[&cli.tiny]);
    let ours = start()?;
    let mut traffic = Traffic::to(ours.http(), Mix::single(&cli.tiny, None), cli.seed);
    traffic.inputs = vec![(cli.tiny.clone(), Metadata::of(&ours.http(), &cli.tiny)?.inputs)];
    let mut all = [
        Measured::new("punctual gRPC", ours, &traffic, Served::grpc),
        Measured::new("tonic echo of bytes", Reference::Grpc.start(core)?, &traffic, Served::grpc),
        Measured::new(
            "tonic echo of messages",
            Reference::GrpcMessages.start(core)?,
            &traffic,
            Served::grpc,
        ),
        Measured::new("punctual HTTP", start()?, &traffic, Served::http),
        Measured::new("hyper echo", Reference::Http.start(core)?, &traffic, Served::http),
    ];
    pin(cli.launch.client())?;
    for _ in 0..cli.rounds {
        for measured in &mut all {
            measured.round(cli)?;
        }
    }
    let mut table =
        Table::new(&["server", "CPU us/request, least", "median", "requests/s, median"]);
    for measured in &all {
        let cells = [measured.cpu_least_us(), median(&measured.cpu_us), median(&measured.rates)];
        let cells = cells.map(|value| format!("{value:.1}"));
        table.push(std::iter::once(measured.name.to_owned()).chain(cells).collect());
    }
    let [grpc, tonic, messages, http, hyper] = all.each_ref().map(Measured::cpu_least_us);
    let bars = vec![
        verdict("gRPC CPU us per request", grpc, Bar::AtMost(45.0)),
        verdict("gRPC CPU, of a tonic echo's of bytes", grpc / tonic, Bar::AtMost(1.6)),
        (format!("gRPC CPU, of a tonic echo's of messages: {:.3} (no bar)", grpc / messages), true),
        verdict("HTTP CPU us per request", http, Bar::AtMost(32.0)),
        verdict("HTTP CPU, of a hyper echo's", http / hyper, Bar::AtMost(1.7)),
    ];
    Ok((table, bars))
}

/// A copy of the model that gains by batches, whose configuration waits for the largest of them.
fn delayed_repository(cli: &Cli) -> Result<TempDir, Error> {
    let failed = || Error::system("cannot copy the model");
    let repository = tempfile::tempdir().map_err(failed())?;
    let (from, to) = (cli.launch.repository.join(&cli.gemm), repository.path().join(&cli.gemm));
    std::fs::create_dir_all(to.join("1")).map_err(failed())?;
    for file in ["punctual.toml", "1/model.onnx"] {
        std::fs::copy(from.join(file), to.join(file)).map_err(failed())?;
    }
    let rows = cli.batches.iter().copied().max().unwrap_or(1);
    let config = format!(
        "max_batch_size: {rows}\ndynamic_batching {{ preferred_batch_size: [ {rows} ] \
         max_queue_delay_microseconds: {DELAY_US} }}\n"
    );
    std::fs::write(to.join("config.pbtxt"), config).map_err(failed())?;
    Ok(repository)
}

/// Rows through the server over rows at the best batch without it, the median of the rounds; of the wall clock's ratio
/// and the CPU time's the lower, as a busy machine flatters the one and idle gaps the other.
fn batch_efficiency(cli: &Cli, launch: &Launch) -> Result<(Table, f64), Error> {
    let served = launch.start(&[&cli.gemm])?;
    let metadata = Metadata::of(&served.http(), &cli.gemm)?;
    let largest = cli.batches.iter().copied().max().unwrap_or(1);
    let core = cli.launch.server_core;
    pin(cli.launch.server())?;
    let mut raw = Raw::load(&cli.launch.repository, &cli.gemm, &metadata, largest, core)?;
    let traffic = Traffic::to(served.grpc(), Mix::single(&cli.gemm, None), cli.seed);
    let head = [
        "round",
        "raw rows/s",
        "per CPU s",
        "at batch",
        "served rows/s",
        "per CPU s",
        "ratio",
        "of CPU",
    ];
    let mut table = Table::new(&head);
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for round in 1..=cli.rounds {
        pin(cli.launch.server())?;
        let (mut best, mut best_batch) = (Rate { wall: 0.0, cpu: 0.0 }, 0);
        for rows in &cli.batches {
            let found = raw.rate(*rows, cli.each / 4)?;
            if found.cpu > best.cpu {
                best_batch = *rows;
            }
            best = Rate { wall: best.wall.max(found.wall), cpu: best.cpu.max(found.cpu) };
        }
        pin(cli.launch.client())?;
        let (report, each) = traffic.cost(&served, cli.in_flight, cli.each)?;
        if let Some(failures) = count_failures(&report) {
            return Err(Error::Server(failures));
        }
        let found = Rate { wall: report.throughput, cpu: 1.0 / each.as_secs_f64() };
        walls.push(found.wall / best.wall);
        cpus.push(found.cpu / best.cpu);
        let [raw_wall, raw_cpu, wall, cpu] =
            [best.wall, best.cpu, found.wall, found.cpu].map(|rate| format!("{rate:.1}"));
        let cells = [round.to_string(), raw_wall, raw_cpu, best_batch.to_string(), wall, cpu];
        let ratios =
            [found.wall / best.wall, found.cpu / best.cpu].map(|ratio| format!("{ratio:.3}"));
        table.push(cells.into_iter().chain(ratios).collect());
    }
    Ok((table, median(&walls).min(median(&cpus))))
}
