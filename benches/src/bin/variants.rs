//! A task beside each of its variants alone: accuracy and goodput as the load rises beyond what the best one carries.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::{
    Bar, Curve, Error, Launch, Served, Table, Traffic, distrust, pin, plot, task, verdict,
};
use clap::Parser;
use loadgen::client::Load;
use loadgen::{Arrivals, Mix, Report, parse_duration};
use models::Slo;

/// Offers a task and then each of its variants the same loads, and says what the answers are worth.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    launch: Launch,
    /// The task.
    #[arg(long, default_value = "digits")]
    task: String,
    /// Offered load, in multiples of what the most accurate variant alone carries.
    #[arg(long, value_delimiter = ',', default_value = "0.3,0.6,0.8,1,1.5,2,3")]
    load: Vec<f64>,
    /// The deadline.
    #[arg(long, default_value = "50ms", value_parser = parse_duration)]
    deadline: Duration,
    /// Rows of a request: scans of one page.
    #[arg(long, default_value_t = 32)]
    rows: u64,
    /// How long each load is offered.
    #[arg(long, default_value = "1500ms", value_parser = parse_duration)]
    each: Duration,
    /// Seeds the send times and the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes variants.csv and the plots of goodput, errors and both into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-variants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Requests under way while the capacity is measured: enough that the executor never waits.
const IN_FLIGHT: usize = 16;

/// The part of the requests that is to be answered in time.
const ATTAINMENT: f64 = 0.99;

/// What a task or a variant made of one load.
struct Point {
    name: String,
    load: f64,
    /// Mean over the answers, by what the task's file claims.
    accuracy: f64,
    report: Report,
}

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    let claims = task::claims(&cli.launch, &cli.task)?;
    let models: Vec<&str> = claims.iter().map(|(model, _)| model.as_str()).collect();
    let served = cli.launch.start(&[&models[..], &[&cli.task]].concat())?;
    pin(cli.launch.client())?;
    let best = models[0];
    let free = traffic(&served, best, None, cli);
    let closed = |each| run(&free, Load::Closed(IN_FLIGHT), each, cli, best);
    closed(cli.each / 2)?;
    let capacity = closed(cli.each)?.throughput;
    println!(
        "seed {}, {} rows a request, deadline {:?}, {best} alone carries {capacity:.1} requests/s",
        cli.seed, cli.rows, cli.deadline
    );
    let mut points = Vec::new();
    for name in [cli.task.as_str()].into_iter().chain(models.iter().copied()) {
        let urgent = traffic(&served, name, Some(cli.deadline), cli);
        for &load in &cli.load {
            let due = Load::open(Arrivals::Poisson, load * capacity, cli.each, cli.seed)?;
            let before = task::answers(&served, &cli.task)?;
            let report = run(&urgent, due, cli.each, cli, name)?;
            let after = task::answers(&served, &cli.task)?;
            let fixed = claims.iter().find(|(model, _)| model == name);
            let accuracy =
                fixed.map_or_else(|| task::accuracy(&claims, &before, &after), |(_, own)| *own);
            points.push(Point { name: name.to_owned(), load, accuracy, report });
        }
    }
    println!("\n{}", table(&points));
    if let Some(folder) = &cli.plots {
        write(folder, &points)?;
    }
    let doubt = distrust(points.iter().map(|point| &point.report));
    if let Some(doubt) = &doubt {
        println!("{doubt}");
    }
    let bars = bars(&points, &cli.task);
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(doubt.is_none() && bars.iter().all(|(_, reached)| *reached))
}

fn traffic(served: &Served, name: &str, deadline: Option<Duration>, cli: &Cli) -> Traffic {
    let slo = deadline.map(|latency| Slo { latency });
    Traffic::to(served.grpc(), Mix::single(name, slo), cli.seed)
}

fn run(
    traffic: &Traffic,
    load: Load,
    each: Duration,
    cli: &Cli,
    name: &str,
) -> Result<Report, Error> {
    let mut plan = traffic.plan(load, each);
    plan.rows = cli.rows;
    Ok(Report::of(&plan.run()?.records, &[name], each))
}

fn table(points: &[Point]) -> Table {
    let mut table = Table::new(&[
        "who",
        "load",
        "offered/s",
        "goodput/s",
        "in time",
        "accuracy",
        "refused",
        "late",
        "p99 ms",
        "client lag p99 ms",
    ]);
    for Point { name, load, accuracy, report } in points {
        table.push(vec![
            name.clone(),
            format!("{load}x"),
            format!("{:.1}", report.offered_rate),
            format!("{:.1}", report.goodput),
            format!("{:.2} %", 100.0 * report.attainment),
            format!("{accuracy:.4}"),
            report.tally.refused_total().to_string(),
            report.tally.late.to_string(),
            format!("{:.2}", report.latency.p99_ms),
            format!("{:.2}", report.lag.p99_ms),
        ]);
    }
    table
}

/// What is to be shown: at each load the task is in time, and no fixed variant that is in time too is more accurate.
fn bars(points: &[Point], task: &str) -> Vec<(String, bool)> {
    let mut bars = Vec::new();
    for own in points.iter().filter(|point| point.name == task) {
        let rivals = points.iter().filter(|other| {
            other.name != task && other.load == own.load && other.report.attainment >= ATTAINMENT
        });
        let Some(rival) = rivals.max_by(|one, other| one.accuracy.total_cmp(&other.accuracy))
        else {
            continue;
        };
        let what = format!("in time at {}x", own.load);
        bars.push(verdict(&what, own.report.attainment, Bar::AtLeast(ATTAINMENT)));
        let what = format!("accuracy at {}x, beside {}", own.load, rival.name);
        bars.push(verdict(&what, own.accuracy, Bar::AtLeast(rival.accuracy)));
        let refused = own.report.tally.refused_total() as f64;
        bars.push(verdict(&format!("refused at {}x", own.load), refused, Bar::AtMost(0.0)));
    }
    bars
}

fn write(folder: &Path, points: &[Point]) -> Result<(), Error> {
    let mut csv =
        "who,load,offered_per_s,goodput_per_s,attainment,accuracy,refused,late\n".to_owned();
    let mut names: Vec<&str> = Vec::new();
    for Point { name, load, accuracy, report } in points {
        csv += &format!(
            "{name},{load},{:.2},{:.2},{:.5},{accuracy:.5},{},{}\n",
            report.offered_rate,
            report.goodput,
            report.attainment,
            report.tally.refused_total(),
            report.tally.late
        );
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let curves = |y: fn(&Point) -> f64| -> Vec<Curve> {
        let curve = |name: &&str| Curve {
            name: (*name).to_owned(),
            points: points
                .iter()
                .filter(|point| point.name == **name)
                .map(|point| (point.load, y(point)))
                .collect(),
        };
        names.iter().map(curve).collect()
    };
    let x = "offered load / what the most accurate variant carries";
    // On axes that begin at 0 accuracies are told apart only by what they miss.
    let right = |point: &Point| 100.0 * point.accuracy * point.report.attainment;
    let goodput = plot("Goodput", x, "answers in time/s", &curves(|point| point.report.goodput));
    let wrong = plot(
        "Errors of the answers",
        x,
        "wrong, % of answers",
        &curves(|point| 100.0 * (1.0 - point.accuracy)),
    );
    let worth = plot("Right and in time", x, "% of requests", &curves(right));
    std::fs::create_dir_all(folder).map_err(Error::system(folder.display().to_string()))?;
    let files = [
        ("variants.csv", csv),
        ("variants-goodput.svg", goodput),
        ("variants-errors.svg", wrong),
        ("variants-worth.svg", worth),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::system(path.display().to_string()))?;
    }
    Ok(())
}
