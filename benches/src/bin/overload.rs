//! Goodput under overload: an open loop at multiples of the capacity, each request with a deadline.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::{
    Bar, Curve, Error, Launch, Served, Table, Traffic, distrust, late_while_client_ran, pin, plot,
    verdict,
};
use clap::Parser;
use loadgen::client::{Load, Target};
use loadgen::{Arrivals, Mix, Record, Report, parse_duration};
use models::Slo;

/// Drives one model beyond what it can do and says what its answers are still worth.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    launch: Launch,
    /// The model.
    #[arg(long, default_value = "gemm_mlp")]
    model: String,
    /// Offered load, in multiples of the capacity.
    #[arg(long, value_delimiter = ',', default_value = "0.5,1,1.5,2,3")]
    load: Vec<f64>,
    /// The deadline, in multiples of the time of a lone request.
    #[arg(long, default_value_t = 6.0)]
    deadline: f64,
    /// How requests arrive: constant, poisson, or gamma:CV.
    #[arg(long, default_value = "poisson")]
    arrivals: Arrivals,
    /// How long each load is offered in a round.
    #[arg(long, default_value = "4s", value_parser = parse_duration)]
    each: Duration,
    /// Times that all loads are offered in turn: a machine that is slower for some seconds is so for several loads.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Requests under way while the capacity is measured.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Batching policies to compare, load by load, with a server for each; the first is held against the bars. The
    /// server's own if none.
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// Sends over HTTP rather than gRPC.
    #[arg(long)]
    http: bool,
    /// Seeds the send times and the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes overload.csv and overload.svg into this folder, with the policy in their names where several are compared.
    #[arg(long)]
    plots: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-overload: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What became of a load's requests, of all rounds.
#[derive(Default)]
struct Heard {
    records: Vec<Record>,
    /// Answers that were late though the client ran all the time.
    late_undisturbed: usize,
}

impl Heard {
    /// One round more.
    fn add(&mut self, records: Vec<Record>) {
        self.late_undisturbed += late_while_client_ran(&records);
        self.records.extend(records);
    }

    fn point(&self, load: f64, cli: &Cli) -> Point {
        let report = Report::of(&self.records, &[&cli.model], cli.each * cli.rounds);
        Point { load, report, late_undisturbed: self.late_undisturbed }
    }
}

/// What was offered, in multiples of the capacity, and what came of it.
struct Point {
    load: f64,
    report: Report,
    /// Answers that were late though the client ran all the time.
    late_undisturbed: usize,
}

impl Point {
    fn late_share(&self) -> f64 {
        self.share(self.report.tally.late)
    }

    fn share(&self, answers: u64) -> f64 {
        answers as f64 / self.report.tally.answered().max(1) as f64
    }
}

/// The points of one policy.
struct Line {
    policy: String,
    points: Vec<Point>,
}

/// What is the same for all policies.
struct Scale {
    capacity: f64,
    deadline: Duration,
}

#[expect(clippy::print_stdout, reason = "the tables are this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    // All are started before this process, whose children they are, is pinned.
    let servers: Vec<(String, Served)> = servers(cli)?;
    pin(cli.launch.client())?;
    let scale = scale(cli, &target(cli, &servers[0].1))?;
    let lines = lines(cli, &servers, &scale)?;
    for line in &lines {
        println!("\n{}{}", line.policy, if line.policy.is_empty() { "" } else { "\n" });
        print!("{}", table(&line.points, scale.capacity));
    }
    if lines.len() > 1 {
        print!("\ngoodput of capacity\n{}", side_by_side(&lines, scale.capacity));
    }
    if let Some(folder) = &cli.plots {
        lines.iter().try_for_each(|line| write(folder, line, scale.capacity))?;
    }
    let doubt = distrust(lines.iter().flat_map(|line| &line.points).map(|point| &point.report));
    if let Some(doubt) = &doubt {
        println!("{doubt}");
    }
    let bars = bars(&lines[0].points);
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(doubt.is_none() && bars.iter().all(|(_, reached)| *reached))
}

fn servers(cli: &Cli) -> Result<Vec<(String, Served)>, Error> {
    if cli.policies.is_empty() {
        return Ok(vec![(String::new(), cli.launch.start(&[&cli.model])?)]);
    }
    let start = |policy: &String| {
        let mut launch = cli.launch.clone();
        launch.serve.extend(["--policy".to_owned(), policy.clone()]);
        Ok((policy.clone(), launch.start(&[&cli.model])?))
    };
    cli.policies.iter().map(start).collect()
}

fn target(cli: &Cli, served: &Served) -> Target {
    if cli.http { served.http() } else { served.grpc() }
}

#[expect(clippy::print_stdout, reason = "says what the loads are multiples of")]
fn scale(cli: &Cli, target: &Target) -> Result<Scale, Error> {
    let free = Traffic::to(target.clone(), Mix::single(&cli.model, None), cli.seed);
    free.play(Load::Closed(1), cli.each / 10)?;
    let alone = free.play(Load::Closed(1), cli.each / 4)?.latency.p50_ms;
    free.play(Load::Closed(cli.in_flight), cli.each / 10)?;
    let capacity = free.play(Load::Closed(cli.in_flight), cli.each / 2)?.throughput;
    let deadline = Duration::from_secs_f64(alone * cli.deadline / 1e3);
    println!(
        "seed {}, a lone request takes {alone:.3} ms, {capacity:.1} requests/s with {} in flight, deadline {:.3} ms",
        cli.seed,
        cli.in_flight,
        deadline.as_secs_f64() * 1e3
    );
    Ok(Scale { capacity, deadline })
}

/// Offers all loads to all servers, round after round.
fn lines(cli: &Cli, servers: &[(String, Served)], scale: &Scale) -> Result<Vec<Line>, Error> {
    let heard_of_all = || cli.load.iter().map(|_| Heard::default()).collect::<Vec<_>>();
    let mut heard: Vec<_> = servers.iter().map(|_| heard_of_all()).collect();
    for round in 0..cli.rounds {
        let seed = cli.seed + u64::from(round);
        for (at, load) in cli.load.iter().enumerate() {
            for ((_, served), heard) in servers.iter().zip(&mut heard) {
                let offered = (load * scale.capacity, scale.deadline);
                heard[at].add(offer(cli, &target(cli, served), offered, seed)?);
            }
        }
    }
    let line = |((policy, _), heard): (&(String, Served), Vec<Heard>)| {
        let points = cli.load.iter().zip(heard).map(|(load, heard)| heard.point(*load, cli));
        Line { policy: policy.clone(), points: points.collect() }
    };
    Ok(servers.iter().zip(heard).map(line).collect())
}

fn offer(
    cli: &Cli,
    target: &Target,
    (rate, deadline): (f64, Duration),
    seed: u64,
) -> Result<Vec<Record>, Error> {
    let mix = Mix::single(&cli.model, Some(Slo { latency: deadline }));
    let due = Load::open(cli.arrivals, rate, cli.each, seed)?;
    Traffic::to(target.clone(), mix, seed).records(due, cli.each)
}

fn side_by_side(lines: &[Line], capacity: f64) -> Table {
    let names = lines.iter().map(|line| line.policy.as_str());
    let mut table = Table::new(&["load"].into_iter().chain(names).collect::<Vec<_>>());
    for (index, first) in lines[0].points.iter().enumerate() {
        let share = |line: &Line| format!("{:.3}", line.points[index].report.goodput / capacity);
        let shares = lines.iter().map(share);
        table.push([format!("{:.1}x", first.load)].into_iter().chain(shares).collect());
    }
    table
}

fn best(points: &[Point]) -> f64 {
    points.iter().map(|point| point.report.goodput).fold(0.0, f64::max)
}

fn table(points: &[Point], capacity: f64) -> Table {
    let mut table = Table::new(&[
        "load",
        "offered/s",
        "goodput/s",
        "of best",
        "of capacity",
        "late, of answers",
        "beside no client stall",
        "refused",
        "errors",
        "p99 ms",
        "refusal p99 ms",
        "client lag p99 ms",
    ]);
    for point in points {
        let Report { tally, goodput, .. } = &point.report;
        let failed = tally.errors_total() + tally.timeouts + tally.connections_lost;
        table.push(vec![
            format!("{:.1}x", point.load),
            format!("{:.1}", point.report.offered_rate),
            format!("{goodput:.1}"),
            format!("{:.3}", goodput / best(points)),
            format!("{:.3}", goodput / capacity),
            format!("{:.2} %", 100.0 * point.late_share()),
            format!("{:.2} %", 100.0 * point.share(point.late_undisturbed as u64)),
            tally.refused_total().to_string(),
            failed.to_string(),
            format!("{:.2}", point.report.latency.p99_ms),
            format!("{:.2}", point.report.refusal_latency.p99_ms),
            format!("{:.2}", point.report.lag.p99_ms),
        ]);
    }
    table
}

fn bars(points: &[Point]) -> Vec<(String, bool)> {
    let best = best(points);
    let mut bars: Vec<_> = points
        .iter()
        .filter(|point| point.load >= 2.0)
        .map(|point| {
            let what = format!("goodput at {}x, of the best", point.load);
            verdict(&what, point.report.goodput / best, Bar::AtLeast(0.95))
        })
        .collect();
    let most = |of: fn(&Point) -> f64| points.iter().map(of).fold(0.0, f64::max);
    bars.push(verdict("late, of answers, at worst", most(Point::late_share), Bar::AtMost(0.005)));
    // Without a refusal there is nothing to hold against the bar.
    if points.iter().any(|point| point.report.tally.refused_total() > 0) {
        let refusal = most(|point| point.report.refusal_latency.p99_ms);
        bars.push(verdict("refusal latency p99 at worst, ms", refusal, Bar::AtMost(5.0)));
    }
    bars
}

fn write(folder: &std::path::Path, line: &Line, capacity: f64) -> Result<(), Error> {
    let Line { policy, points } = line;
    let mut csv =
        "load,offered_per_s,goodput_per_s,late_share,refused,latency_p99_ms,refusal_p99_ms\n"
            .to_owned();
    for Point { load, report, .. } in points {
        let late = report.tally.late as f64 / report.tally.answered().max(1) as f64;
        csv += &format!(
            "{load},{:.2},{:.2},{late:.5},{},{:.3},{:.3}\n",
            report.offered_rate,
            report.goodput,
            report.tally.refused_total(),
            report.latency.p99_ms,
            report.refusal_latency.p99_ms
        );
    }
    let curve = |name: &str, y: fn(&Point, f64) -> f64| Curve {
        name: name.to_owned(),
        points: points.iter().map(|point| (point.load, y(point, capacity))).collect(),
    };
    let curves = [
        curve("in time", |point, capacity| point.report.goodput / capacity),
        curve("answered", |point, capacity| point.report.throughput / capacity),
    ];
    let svg =
        plot("Goodput under overload", "offered load / capacity", "answers / capacity", &curves);
    std::fs::create_dir_all(folder).map_err(Error::system(folder.display().to_string()))?;
    let stem = if policy.is_empty() { "overload".to_owned() } else { format!("overload-{policy}") };
    for (ending, text) in [("csv", csv), ("svg", svg)] {
        let path = folder.join(format!("{stem}.{ending}"));
        std::fs::write(&path, text).map_err(Error::system(path.display().to_string()))?;
    }
    Ok(())
}
