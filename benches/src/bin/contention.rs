//! A task beside a CPU hog that comes and goes on the executor's core: misses, accuracy beside an oracle that knows when
//! the hog is there, and how many batches it takes to notice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use batcher::Instant;
use benches::task::{self, Claims};
use benches::{Bar, Error, Hog, Launch, Served, Table, Traffic, distrust, longest_streak};
use benches::{pin, verdict};
use clap::Parser;
use loadgen::client::{Load, fetch, now};
use loadgen::{Arrivals, Mix, Outcome, Record, Report, parse_duration};
use models::Slo;
use router::{Action, Event, Line};
use serde_json::Value;

/// Offers each variant alone a load with and without a hog, then the task with the hog switched on and off.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    launch: Launch,
    /// The task.
    #[arg(long, default_value = "digits")]
    task: String,
    /// Selection policies of the task, each in turn.
    #[arg(long, value_delimiter = ',', default_value = "most_accurate_in_time,expected_accuracy")]
    policies: Vec<String>,
    /// Offered load, in multiples of what the most accurate variant alone carries without the hog.
    #[arg(long, default_value_t = 0.7)]
    load: f64,
    /// The deadline.
    #[arg(long, default_value = "50ms", value_parser = parse_duration)]
    deadline: Duration,
    /// Rows of a request: scans of one page.
    #[arg(long, default_value_t = 32)]
    rows: u64,
    /// How long the hog is off, and then on.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    phase: Duration,
    /// How often it is off and on.
    #[arg(long, default_value_t = 3)]
    cycles: u32,
    /// The hog's niceness.
    #[arg(long, default_value_t = 0)]
    nice: i32,
    /// Seeds the send times and the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes contention.csv, a line for each request and each choice, into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-contention: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Requests under way while the capacity is measured: enough that the executor never waits.
const IN_FLIGHT: usize = 16;
/// The part of the requests that the oracle's variant answers in time.
const ATTAINMENT: f64 = 0.99;
/// How near the oracle's accuracy counts as reached.
const NEAR: f64 = 0.98;
/// So many batches in a row without a miss end a streak; so many choices in a row are looked at together.
const ROW: usize = 10;

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    let claims = task::claims(&cli.launch, &cli.task)?;
    let hog = Hog::start(cli.launch.server_core, cli.nice)?;
    pin(cli.launch.client())?;
    let (rate, oracle, mut reports) = oracle(cli, &claims, &hog)?;
    println!(
        "seed {}, {} rows a request, deadline {:?}, hog of niceness {}, {rate:.1} requests/s; oracle: {} without the hog, {} with it",
        cli.seed, cli.rows, cli.deadline, cli.nice, oracle[0].0, oracle[1].0
    );
    let best = oracle.iter().map(|(_, accuracy)| accuracy).sum::<f64>() / 2.0;
    let mut table = Table::new(&[
        "policy",
        "requests",
        "misses",
        "late",
        "refused",
        "accuracy",
        "oracle",
        "batches to react, on",
        "off",
    ]);
    let mut bars = Vec::new();
    for policy in &cli.policies {
        let run = contend(cli, &claims, (policy, rate), &hog)?;
        let Reaction { on, off } = reaction(&run, cli, &claims, &oracle);
        let tally = &run.report.tally;
        let misses = 1.0 - run.report.attainment;
        table.push(vec![
            policy.clone(),
            tally.requests.to_string(),
            format!("{:.2} %", 100.0 * misses),
            tally.late.to_string(),
            tally.refused_total().to_string(),
            format!("{:.4}", run.accuracy),
            format!("{best:.4}"),
            format!("{on:?}"),
            format!("{off:?}"),
        ]);
        bars.push(verdict(&format!("{policy}: misses"), misses, Bar::AtMost(0.02)));
        let share = run.accuracy / best;
        bars.push(verdict(&format!("{policy}: accuracy / oracle"), share, Bar::AtLeast(NEAR)));
        let worst = on.iter().chain(&off).copied().max().unwrap_or(0) as f64;
        bars.push(verdict(&format!("{policy}: batches to react"), worst, Bar::AtMost(5.0)));
        if let Some(folder) = &cli.plots {
            write(folder, policy, &run, &claims)?;
        }
        reports.push(run.report);
    }
    println!("\n{table}");
    let doubt = distrust(reports.iter());
    doubt.iter().for_each(|doubt| println!("{doubt}"));
    bars.iter().for_each(|(line, _)| println!("{line}"));
    Ok(doubt.is_none() && bars.iter().all(|(_, reached)| *reached))
}

fn traffic(served: &Served, name: &str, cli: &Cli, deadline: Option<Duration>) -> Traffic {
    let slo = deadline.map(|latency| Slo { latency });
    Traffic::to(served.grpc(), Mix::single(name, slo), cli.seed)
}

fn records(traffic: &Traffic, load: Load, each: Duration, cli: &Cli) -> Result<Vec<Record>, Error> {
    let mut plan = traffic.plan(load, each);
    plan.rows = cli.rows;
    Ok(plan.run()?.records)
}

/// The offered rate; without the hog and with it, the most accurate variant that alone keeps 99 % of the requests in time,
/// or else the one that keeps most; and the reports of all that.
fn oracle(cli: &Cli, claims: &Claims, hog: &Hog) -> Result<(f64, Claims, Vec<Report>), Error> {
    let models: Vec<&str> = claims.iter().map(|(model, _)| model.as_str()).collect();
    let served = cli.launch.start(&models)?;
    let free = traffic(&served, models[0], cli, None);
    let closed = records(&free, Load::Closed(IN_FLIGHT), cli.phase / 2, cli)?;
    let rate = cli.load * Report::of(&closed, &[models[0]], cli.phase / 2).throughput;
    let (mut oracle, mut reports) = (Vec::new(), Vec::new());
    for on in [false, true] {
        hog.switch(on);
        let mut best: Option<(bool, f64, usize)> = None;
        for (place, model) in models.iter().enumerate() {
            let due = Load::open(Arrivals::Poisson, rate, cli.phase, cli.seed)?;
            let urgent = traffic(&served, model, cli, Some(cli.deadline));
            let report = Report::of(&records(&urgent, due, cli.phase, cli)?, &[model], cli.phase);
            let keeps = report.attainment >= ATTAINMENT;
            // Those that keep it are equal here: the first of them is the most accurate.
            let mark = if keeps { 1.0 } else { report.attainment };
            if best.is_none_or(|(_, known, _)| mark > known) {
                best = Some((keeps, mark, place));
            }
            reports.push(report);
            if keeps {
                break;
            }
        }
        let (_, _, place) = best.ok_or_else(|| Error::Server("the task has no variant".into()))?;
        oracle.push(claims[place].clone());
    }
    hog.switch(false);
    Ok((rate, oracle, reports))
}

/// What became of the task while the hog came and went.
struct Run {
    report: Report,
    records: Vec<Record>,
    accuracy: f64,
    /// On the recording's clock, in nanoseconds: when the hog was switched, and batches ended.
    switches: Vec<u64>,
    batches: Vec<u64>,
    /// And when which variant was chosen, by its place among the claims.
    choices: Vec<(u64, usize)>,
}

fn contend(
    cli: &Cli,
    claims: &Claims,
    (policy, rate): (&str, f64),
    hog: &Hog,
) -> Result<Run, Error> {
    let folder = tempfile::tempdir().map_err(Error::system("cannot make a folder"))?;
    let recording = folder.path().join("flight.jsonl");
    let mut launch = cli.launch.clone();
    launch.repository = repository(cli, claims, policy, folder.path())?;
    launch.serve.extend(["--record".to_owned(), recording.display().to_string()]);
    let models: Vec<&str> = claims.iter().map(|(model, _)| model.as_str()).collect();
    let served = launch.start(&[&models[..], &[&cli.task]].concat())?;
    let whole = cli.phase * (2 * cli.cycles);
    let due = Load::open(Arrivals::Poisson, rate, whole, cli.seed)?;
    let urgent = traffic(&served, &cli.task, cli, Some(cli.deadline));
    let marker = marker(&served, cli)?;
    let before = task::answers(&served, &cli.task)?;
    let records = std::thread::scope(|scope| {
        let playing = scope.spawn(|| records(&urgent, due, whole, cli));
        let began = now();
        for turn in 0..2 * cli.cycles {
            let at = began + cli.phase * turn;
            while now() < at {
                std::thread::park_timeout(at.saturating_duration_since(now()));
            }
            hog.switch(turn % 2 == 1);
            // A request of one row: the recording's mark of the moment.
            fetch(
                &served.http(),
                "POST",
                &format!("/v2/models/{}/infer", cli.task),
                marker.clone(),
            )?;
        }
        playing.join().map_err(|_| Error::Server("the client panicked".into()))?
    });
    hog.switch(false);
    let records = records?;
    let accuracy = task::accuracy(claims, &before, &task::answers(&served, &cli.task)?);
    drop(served);
    let report = Report::of(&records, &[&cli.task], whole);
    let mut run =
        Run { report, records, accuracy, switches: vec![], batches: vec![], choices: vec![] };
    let text = std::fs::read_to_string(&recording).map_err(Error::system("no recording"))?;
    read(&text, claims.len(), &mut run)?;
    Ok(run)
}

/// The repository with another policy in the task's file.
fn repository(cli: &Cli, claims: &Claims, policy: &str, folder: &Path) -> Result<PathBuf, Error> {
    let copy = folder.join("models");
    let (_, text) = task::file(&cli.launch, &cli.task)?;
    let text = match text.contains("[task]") {
        true => text.replacen("[task]", &format!("[task]\npolicy = \"{policy}\""), 1),
        false => format!("[task]\npolicy = \"{policy}\"\n{text}"),
    };
    let own = copy.join(&cli.task);
    let failed = || Error::system("cannot copy the repository");
    std::fs::create_dir_all(&own).map_err(failed())?;
    std::fs::write(own.join("punctual.toml"), text).map_err(failed())?;
    for (model, _) in claims {
        let from = cli.launch.repository.join(model).canonicalize().map_err(failed())?;
        std::os::unix::fs::symlink(from, copy.join(model)).map_err(failed())?;
    }
    Ok(copy)
}

/// A request of one row of zeros.
fn marker(served: &Served, cli: &Cli) -> Result<bytes::Bytes, Error> {
    let path = format!("/v2/models/{}", cli.task);
    let shown = json(&fetch(&served.http(), "GET", &path, bytes::Bytes::new())?.1)?;
    let input = &shown["inputs"][0];
    let mut shape: Vec<i64> =
        input["shape"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    shape.iter_mut().for_each(|dim| *dim = (*dim).max(1));
    let zeros = vec![0; usize::try_from(shape.iter().product::<i64>()).unwrap_or(0)];
    let input = serde_json::json!({
        "name": input["name"], "datatype": input["datatype"], "shape": shape, "data": zeros,
    });
    Ok(serde_json::json!({ "inputs": [input] }).to_string().into())
}

fn json(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Server(error.to_string()))
}

/// Reads switches, batches and choices off a recording.
fn read(recording: &str, variants: usize, run: &mut Run) -> Result<(), Error> {
    let (mut at, mut places) = (0, BTreeMap::new());
    for line in recording.lines() {
        let line = serde_json::from_str(line).map_err(|error| Error::Server(error.to_string()))?;
        match line {
            Line::Event(now, event) => {
                at = u64::try_from(now.since(Instant::ZERO).as_nanos()).unwrap_or(u64::MAX);
                if let Event::TaskArrived { request, .. } = &event {
                    run.switches.extend((request.rows == 1).then_some(at));
                } else if let Event::BatchFinished { .. } = &event {
                    run.batches.push(at);
                } else if let Event::TaskLoaded { spec } = event
                    && spec.choices.len() == variants
                {
                    let mut choices = spec.choices;
                    choices.sort_by_key(|choice| std::cmp::Reverse(choice.accuracy));
                    places = choices.iter().map(|choice| choice.variant).zip(0..).collect();
                }
            }
            Line::Action(Action::Choose { variant, .. }) => {
                run.choices.extend(places.get(&variant).map(|place| (at, *place)));
            }
            Line::Settings(_) | Line::Timeout(_) | Line::Action(_) => {}
        }
    }
    Ok(())
}

/// Batches until each switch was reacted to.
struct Reaction {
    /// The longest streak of batches with late or refused requests while the hog is there.
    on: Vec<usize>,
    /// From the moment when it goes, until ten choices in a row are as accurate as the oracle's, less 2 %.
    off: Vec<usize>,
}

fn reaction(run: &Run, cli: &Cli, claims: &Claims, oracle: &[(String, f64)]) -> Reaction {
    let mut reaction = Reaction { on: Vec::new(), off: Vec::new() };
    let phase = u64::try_from(cli.phase.as_nanos()).unwrap_or(u64::MAX);
    let first = run.switches.first().copied().unwrap_or(0);
    let lost = run.records.iter().filter(|record| record.outcome != Outcome::InTime);
    let lost: Vec<_> = lost.collect();
    for (turn, &from) in run.switches.iter().enumerate().skip(1) {
        if turn % 2 == 1 {
            let own = from - first..from - first + phase;
            let misses = lost.iter().filter(|record| own.contains(&record.intended_ns));
            let known = |record: &&Record| first + record.intended_ns + record.latency_ns;
            let misses: Vec<u64> = misses.map(known).collect();
            reaction.on.push(longest_streak(&run.batches, &misses, ROW));
        } else {
            let after: Vec<_> =
                run.choices.iter().filter(|(at, _)| (from..from + phase).contains(at)).collect();
            let accuracy = |choices: &[&(u64, usize)]| {
                choices.iter().map(|(_, place)| claims[*place].1).sum::<f64>()
                    / choices.len() as f64
            };
            let near = after.windows(ROW).find(|row| accuracy(row) >= NEAR * oracle[0].1);
            let until = near.map_or(from + phase, |row| row[0].0);
            let ended = run.batches.iter().filter(|&&batch| (from..until).contains(&batch));
            reaction.off.push(ended.count());
        }
    }
    reaction
}

fn write(folder: &Path, policy: &str, run: &Run, claims: &Claims) -> Result<(), Error> {
    let first = run.switches.first().copied().unwrap_or(0);
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let mut csv = "what,at_ms,value\n".to_owned();
    for &at in &run.switches {
        csv += &format!("switch,{:.3},\n", ms(at - first));
    }
    for &(at, place) in &run.choices {
        csv += &format!("accuracy,{:.3},{}\n", ms(at.saturating_sub(first)), claims[place].1);
    }
    for record in &run.records {
        csv += &format!("latency_ms,{:.3},{:.3}\n", ms(record.intended_ns), ms(record.latency_ns));
    }
    std::fs::create_dir_all(folder).map_err(Error::system(folder.display().to_string()))?;
    let path = folder.join(format!("contention-{policy}.csv"));
    std::fs::write(&path, csv).map_err(Error::system(path.display().to_string()))
}
