//! Two models side by side: a fast one with an objective beside a slow one, and beside the loading of a large one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::{Bar, Error, Launch, Table, Traffic, distrust, pin, verdict};
use bytes::Bytes;
use clap::Parser;
use loadgen::client::{Load, Target, fetch, now};
use loadgen::{Arrivals, Mix, Record, Report, Share, parse_duration};
use models::Slo;

/// Measures how well a fast model keeps its objective while another one runs or loads.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    launch: Launch,
    /// The model with the objective.
    #[arg(long, default_value = "digits_mlp_128")]
    fast: String,
    /// The model beside it.
    #[arg(long, default_value = "gemm_mlp")]
    slow: String,
    /// The fast model's objective.
    #[arg(long, default_value = "10ms", value_parser = parse_duration)]
    slo: Duration,
    /// The load of both together: half of it from each, as a part of what that model can do alone.
    #[arg(long, default_value_t = 0.6)]
    load: f64,
    /// How long both are asked.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    each: Duration,
    /// Requests under way while the capacities are measured.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Seeds the send times and the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-mixed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the tables are this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    println!("seed {}", cli.seed);
    let served = cli.launch.start(&[&cli.fast])?;
    pin(cli.launch.client())?;
    let fast_capacity = capacity(cli, &served.grpc(), &cli.fast)?;
    let (table, disturbed) = beside_loading(cli, &served.grpc(), &served.http(), fast_capacity)?;
    println!(
        "\n{} at {:.0} % load, before and while {} is loaded:\n{table}",
        cli.fast,
        50.0 * cli.load,
        cli.slow
    );
    let slow_capacity = capacity(cli, &served.grpc(), &cli.slow)?;
    let report = side_by_side(cli, &served.grpc(), [fast_capacity, slow_capacity])?;
    let mut table = Table::new(&[
        "model",
        "capacity/s",
        "offered/s",
        "goodput/s",
        "attainment",
        "p99 ms",
        "refused",
    ]);
    for (model, capacity) in report.models.iter().zip([fast_capacity, slow_capacity]) {
        let cells =
            [capacity, model.offered_rate, model.goodput].map(|value| format!("{value:.1}"));
        let more = [format!("{:.4}", model.attainment), format!("{:.2}", model.latency.p99_ms)];
        let refused = model.tally.refused_total().to_string();
        table.push(
            [model.model.clone()].into_iter().chain(cells).chain(more).chain([refused]).collect(),
        );
    }
    println!("Together at {:.0} % load:\n{table}", 100.0 * cli.load);
    let doubt = distrust(std::iter::once(&report));
    if let Some(doubt) = &doubt {
        println!("{doubt}");
    }
    let bars = [
        verdict("attainment of the fast model", report.models[0].attainment, Bar::AtLeast(0.99)),
        verdict("requests lost while loading", disturbed, Bar::AtMost(0.0)),
    ];
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(doubt.is_none() && bars.iter().all(|(_, reached)| *reached))
}

fn capacity(cli: &Cli, target: &Target, model: &str) -> Result<f64, Error> {
    let traffic = Traffic::to(target.clone(), Mix::single(model, None), cli.seed);
    traffic.play(Load::Closed(cli.in_flight), cli.each / 10)?;
    Ok(traffic.play(Load::Closed(cli.in_flight), cli.each / 3)?.throughput)
}

fn side_by_side(cli: &Cli, target: &Target, capacities: [f64; 2]) -> Result<Report, Error> {
    let [fast, slow] = capacities.map(|capacity| capacity * cli.load / 2.0);
    let share =
        |model: &str, weight, slo| Share { model: model.to_owned(), weight, slo, priority: 0 };
    let slo = Some(Slo { latency: cli.slo });
    let mix = Mix::new(vec![share(&cli.fast, fast, slo), share(&cli.slow, slow, None)])?;
    let due = Load::open(Arrivals::Poisson, fast + slow, cli.each, cli.seed)?;
    Traffic::to(target.clone(), mix, cli.seed).play(due, cli.each)
}

/// Loads the slow model in the middle of a run of the fast one. The table has the fast one's latencies before and
/// meanwhile; the number counts its requests that ended without an answer.
fn beside_loading(
    cli: &Cli,
    grpc: &Target,
    http: &Target,
    capacity: f64,
) -> Result<(Table, f64), Error> {
    let load = Load::open(Arrivals::Poisson, capacity * cli.load / 2.0, cli.each, cli.seed)?;
    let plan =
        Traffic::to(grpc.clone(), Mix::single(&cli.fast, None), cli.seed).plan(load, cli.each);
    let begin = now() + cli.each / 3;
    let (played, loading) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load_at(begin, http, &cli.slow));
        (plan.run(), loading.join().expect("loading does not panic"))
    });
    let (played, (from, until)) = (played?, loading?);
    let due = |record: &Record| played.start + Duration::from_nanos(record.intended_ns);
    let mut table = Table::new(&[
        "",
        "seconds",
        "requests",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "client lag p99 ms",
    ]);
    let mut part = |name: &str, from: Instant, until: Instant| {
        let within = |record: &&Record| (from..until).contains(&due(record));
        let records: Vec<Record> = played.records.iter().filter(within).cloned().collect();
        let report =
            Report::of(&records, &[&cli.fast], (until - from).max(Duration::from_millis(1)));
        let latency = &report.latency;
        let cells =
            [latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms, report.lag.p99_ms];
        let cells = cells.map(|value| format!("{value:.3}"));
        let head = [
            name.to_owned(),
            format!("{:.2}", report.duration_s),
            report.tally.requests.to_string(),
        ];
        table.push(head.into_iter().chain(cells).collect());
    };
    part("before", played.start, from);
    part("while loading", from, until);
    part("after", until, (played.start + cli.each).max(until));
    let lost = Report::of(&played.records, &[&cli.fast], cli.each).tally;
    Ok((table, (lost.requests - lost.answered()) as f64))
}

/// Loads a model at that instant; returns when the load was asked for and when it was done.
fn load_at(begin: Instant, http: &Target, model: &str) -> Result<(Instant, Instant), Error> {
    let left = || begin.saturating_duration_since(now());
    while !left().is_zero() {
        std::thread::park_timeout(left());
    }
    let from = now();
    let path = format!("/v2/repository/models/{model}/load");
    let (status, body) = fetch(http, "POST", &path, Bytes::from_static(b"{}"))?;
    if status != 200 {
        return Err(Error::Server(format!(
            "loading '{model}': {status} {}",
            String::from_utf8_lossy(&body)
        )));
    }
    Ok((from, now()))
}
