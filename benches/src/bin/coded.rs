//! Coded answers beside what else the same devices can do against stragglers, in virtual time: ParM's comparison.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

use std::process::ExitCode;
use std::time::Duration;

use benches::{Bar, Error, Table, verdict};
use clap::Parser;
use sim::{Report, Scenario, SimError, World, parallel};

/// Offers a linear model on devices with stragglers Poisson arrivals, and holds coded answers against the bar of ParM.
///
/// Runs in virtual time: the same command gives the same numbers on any machine, however many threads there are.
#[derive(Debug, Parser)]
#[command(name = "coded", version)]
struct Cli {
    /// Of all that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Offered load, as a share of what the devices without redundancy carry
    #[arg(long, value_delimiter = ',', default_value = "0.3,0.5,0.7,0.85")]
    load: Vec<f64>,
    /// Requests that share a parity request; the first is held against the bar
    #[arg(long, value_delimiter = ',', default_value = "2,3,4")]
    group: Vec<u32>,
    /// Requests of each run
    #[arg(long, default_value_t = 100_000)]
    requests: u32,
    /// Predicted times after which a hedge asks again
    #[arg(long, default_value_t = 1.0)]
    patience: f64,
    /// Threads; one a core if absent
    #[arg(long)]
    threads: Option<usize>,
}

/// Devices without redundancy: as many as ParM's GPUs, and a multiple of 2, 3 and 4.
const DEVICES: u32 = 12;
/// What a run takes; requests do not share runs, as in ParM's figures.
const RUN: Duration = Duration::from_millis(10);
/// How devices straggle, as keys of `[[executor]]`.
const STRAGGLERS: [(&str, &str); 4] = [
    ("1 % of runs take 10 times as long", "straggler_share = 0.01\nstraggler_factor = 10"),
    ("2 % of runs take 5 times as long", "straggler_share = 0.02\nstraggler_factor = 5"),
    ("5 % of runs take 3 times as long", "straggler_share = 0.05\nstraggler_factor = 3"),
    (
        "a device stands still for 200 ms each 10 s",
        "stall = { every = \"10s\", lasts = \"200ms\" }",
    ),
];
/// Everything is asked twice only where that takes no more than this share of the devices.
const TWICE_MAX: f64 = 0.9;
/// By how much the gap between p99.9 and p50 is to be cut.
const CUT: f64 = 2.0;

/// What is done against stragglers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Against {
    Nothing,
    /// A second request for who is late.
    Hedge,
    /// A second request at once.
    Twice,
    Code(u32),
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Job {
    stragglers: usize,
    load: f64,
    devices: u32,
    against: Against,
}

/// What came of it.
struct Found {
    job: Job,
    p50: f64,
    p99: f64,
    p999: f64,
    busy: f64,
    /// The share of requests that were asked a second time, or reconstructed.
    again: f64,
}

impl Found {
    fn gap(&self) -> f64 {
        self.p999 - self.p50
    }
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-coded: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    println!("seed {}, {} requests a run, runs of {RUN:?}", cli.seed, cli.requests);
    let jobs = jobs(cli);
    let threads = parallel::threads(cli.threads, jobs.len());
    let name = |job: &Job| format!("{job:?}");
    let found = parallel::map(&jobs, threads, name, |job| run(cli, *job));
    let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("\n{}", table(&found));
    let bars = bars(cli, &found);
    bars.iter().for_each(|(line, _)| println!("{line}"));
    Ok(bars.iter().all(|(_, reached)| *reached))
}

fn jobs(cli: &Cli) -> Vec<Job> {
    let mut jobs = Vec::new();
    for stragglers in 0..STRAGGLERS.len() {
        for &load in &cli.load {
            let mut add = |devices, against| {
                jobs.push(Job { stragglers, load, devices, against });
            };
            add(DEVICES, Against::Nothing);
            for &group in &cli.group {
                let devices = with_parity(group);
                add(devices, Against::Nothing);
                add(devices, Against::Hedge);
                if 2.0 * load * f64::from(DEVICES) < TWICE_MAX * f64::from(devices) {
                    add(devices, Against::Twice);
                }
                add(devices, Against::Code(group));
            }
        }
    }
    jobs
}

/// Devices with those that the parity requests of such groups take.
fn with_parity(group: u32) -> u32 {
    DEVICES + DEVICES.div_ceil(group)
}

fn scenario(cli: &Cli, job: Job) -> Result<Scenario, SimError> {
    let Job { stragglers, load, devices, against } = job;
    let rate = load * f64::from(DEVICES) / RUN.as_secs_f64();
    let warmup = 1000.0 / rate;
    let duration = warmup + f64::from(cli.requests) / rate;
    let composition = match against {
        Against::Nothing => String::new(),
        Against::Hedge => format!("[[composition]]\ntask = \"t\"\nhedge = {:?}", cli.patience),
        Against::Twice => "[[composition]]\ntask = \"t\"\nhedge = 0.0".to_owned(),
        Against::Code(group) => format!(
            "[[composition]]\ntask = \"t\"\ncoded = {{ group = {group}, model = \"linear\" }}"
        ),
    };
    let answers = match against {
        Against::Nothing => "",
        Against::Hedge | Against::Twice | Against::Code(_) => {
            "answers = { task = \"t\", accuracy = 0.9 }"
        }
    };
    let run_us = RUN.as_micros();
    let text = format!(
        "seed = {}\nduration = \"{:.0}us\"\nwarmup = \"{:.0}us\"\n\
         [[executor]]\ncount = {devices}\nnoise = 0.05\n{}\n{composition}\n\
         [[model]]\nname = \"linear\"\nrate = {rate:?}\n{answers}\n\
         profile = {{ fixed = \"0us\", per_item = \"{run_us}us\", batch_max = 1 }}\n",
        cli.seed,
        duration * 1e6,
        warmup * 1e6,
        STRAGGLERS[stragglers].1,
    );
    Ok(Scenario::from_text("coded.toml", &text)?)
}

fn run(cli: &Cli, job: Job) -> Result<Found, Error> {
    let scenario = scenario(cli, job)?;
    let seed = scenario.seed;
    let world = World::new(&scenario).map_err(SimError::from)?;
    let (report, _) = world.run().map_err(|violation| SimError::Violation { seed, violation })?;
    Ok(found(job, &report, &scenario))
}

fn found(job: Job, report: &Report, scenario: &Scenario) -> Found {
    let total = report.total();
    // Nothing has a deadline: who is not answered found the queue full, and counts as late for ever.
    let ms = |share: f64| {
        let of_answered = share * total.offered as f64 / total.in_time as f64;
        match of_answered <= 1.0 {
            true => total.latencies.percentile(of_answered).as_secs_f64() * 1e3,
            false => f64::INFINITY,
        }
    };
    let again = report.models.iter().map(|model| match job.against {
        Against::Nothing => 0,
        Against::Hedge | Against::Twice => model.asked.saturating_sub(model.offered),
        Against::Code(_) => model.reconstructed,
    });
    let time = scenario.duration.as_secs_f64() * f64::from(job.devices);
    Found {
        job,
        p50: ms(0.5),
        p99: ms(0.99),
        p999: ms(0.999),
        busy: report.busy.as_secs_f64() / time,
        again: again.sum::<u64>() as f64 / total.offered.max(1) as f64,
    }
}

fn table(found: &[Found]) -> Table {
    let head = [
        "stragglers",
        "load",
        "devices",
        "against them",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "gap ms",
        "gap cut",
        "again",
        "busy",
    ];
    let mut table = Table::new(&head);
    for row in found {
        let Job { stragglers, load, devices, against } = row.job;
        let against = match against {
            Against::Nothing => "nothing".to_owned(),
            Against::Hedge => "hedge".to_owned(),
            Against::Twice => "all twice".to_owned(),
            Against::Code(group) => format!("coded, {group}"),
        };
        let ms = |value: f64| format!("{value:.1}");
        table.push(vec![
            STRAGGLERS[stragglers].0.to_owned(),
            load.to_string(),
            devices.to_string(),
            against,
            ms(row.p50),
            ms(row.p99),
            ms(row.p999),
            ms(row.gap()),
            format!("{:.2}x", other(found, row.job, devices).gap() / row.gap()),
            format!("{:.2} %", 100.0 * row.again),
            format!("{:.2}", row.busy),
        ]);
    }
    table
}

/// The run with so many devices and nothing done against stragglers.
fn other(found: &[Found], job: Job, devices: u32) -> &Found {
    let same = |other: &&Found| {
        let Job { stragglers, load, devices: count, against } = other.job;
        (stragglers, count, against) == (job.stragglers, devices, Against::Nothing)
            && load.total_cmp(&job.load).is_eq()
    };
    found.iter().find(same).expect("each number of devices runs without as well")
}

fn bars(cli: &Cli, found: &[Found]) -> Vec<(String, bool)> {
    let group = cli.group.first().copied();
    let coded = found.iter().filter(|found| Some(found.job.against) == group.map(Against::Code));
    let both = coded.flat_map(|own| {
        [own.job.devices, DEVICES].map(|devices| {
            let what = format!(
                "{}, load {}: gap of {devices} devices without redundancy, beside coded on {}",
                STRAGGLERS[own.job.stragglers].0, own.job.load, own.job.devices
            );
            verdict(&what, other(found, own.job, devices).gap() / own.gap(), Bar::AtLeast(CUT))
        })
    });
    both.collect()
}
