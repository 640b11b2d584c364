//! Two models side by side: a fast one with an objective beside a slow one, and beside the loading of a large one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::{Bar, Error, Launch, Table, Traffic, distrust, pin, verdict};
use bytes::Bytes;
use clap::Parser;
use loadgen::client::{Load, Target, fetch, now};
use loadgen::{Arrivals, Mix, Record, Report, Share, highest_good, parse_duration};
use models::Slo;

/// What counts as keeping an objective, for the capacities and for the bar.
const IN_TIME: f64 = 0.99;
/// How near to each other the highest rate found good and the lowest found bad are.
const CAPACITY_STEP: f64 = 0.1;

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
    /// The slow model's objective.
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    slow_slo: Duration,
    /// The load of both together: half of it from each, as a part of the highest rate of Poisson arrivals of which that model
    /// alone answers 99 % within its objective.
    #[arg(long, default_value_t = 0.6)]
    load: f64,
    /// How long both are asked.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    each: Duration,
    /// Requests under way while the throughput without arrivals is measured.
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
    let fast = capacity(cli, &served.grpc(), &cli.fast, cli.slo)?;
    let (table, disturbed) = beside_loading(cli, &served.grpc(), &served.http(), fast.in_time)?;
    println!(
        "\n{} at {:.0} % load, before and while {} is loaded:\n{table}",
        cli.fast,
        50.0 * cli.load,
        cli.slow
    );
    let slow = capacity(cli, &served.grpc(), &cli.slow, cli.slow_slo)?;
    let report = side_by_side(cli, &served.grpc(), [&fast, &slow])?;
    let mut table = Table::new(&[
        "model",
        "closed loop/s",
        "99 % in time/s",
        "offered/s",
        "goodput/s",
        "attainment",
        "p99 ms",
        "refused",
    ]);
    for (model, Capacity { closed, in_time }) in report.models.iter().zip([&fast, &slow]) {
        let cells = [*closed, *in_time, model.offered_rate, model.goodput]
            .map(|value| format!("{value:.1}"));
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
        verdict("attainment of the fast model", report.models[0].attainment, Bar::AtLeast(IN_TIME)),
        verdict("requests lost while loading", disturbed, Bar::AtMost(0.0)),
    ];
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(doubt.is_none() && bars.iter().all(|(_, reached)| *reached))
}

/// What a model can do alone, in requests a second.
struct Capacity {
    /// With as many under way at all times: whole batches, and as little for the sockets as can be.
    closed: f64,
    /// The highest rate of Poisson arrivals of which 99 % are answered within the objective.
    in_time: f64,
}

fn capacity(cli: &Cli, target: &Target, model: &str, slo: Duration) -> Result<Capacity, Error> {
    let mix = Mix::single(model, Some(Slo { latency: slo }));
    let traffic = Traffic::to(target.clone(), mix, cli.seed);
    traffic.play(Load::Closed(cli.in_flight), cli.each / 10)?;
    let closed = traffic.play(Load::Closed(cli.in_flight), cli.each / 3)?.throughput;
    let found = highest_good(closed / 2.0, CAPACITY_STEP, |rate| {
        let due = Load::open(Arrivals::Poisson, rate, cli.each / 4, cli.seed)?;
        Ok::<_, Error>(traffic.play(due, cli.each / 4)?.attainment >= IN_TIME)
    })?;
    let in_time = found.good.ok_or_else(|| {
        Error::Server(format!("'{model}' answers 99 % within {slo:?} at no rate that was tried"))
    })?;
    Ok(Capacity { closed, in_time })
}

fn side_by_side(cli: &Cli, target: &Target, alone: [&Capacity; 2]) -> Result<Report, Error> {
    let [fast, slow] = alone.map(|capacity| capacity.in_time * cli.load / 2.0);
    let share = |model: &str, weight, latency| Share {
        model: model.to_owned(),
        weight,
        slo: Some(Slo { latency }),
        priority: 0,
    };
    let shares = vec![share(&cli.fast, fast, cli.slo), share(&cli.slow, slow, cli.slow_slo)];
    let mix = Mix::new(shares)?;
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
