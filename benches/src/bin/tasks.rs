//! Tasks of published variants under recorded arrivals, in virtual time: what selection policies carry, how accurate
//! and at what cost, beside the best variant alone, INFaaS's rule and a clairvoyant.
#![expect(clippy::print_stdout, reason = "the tables are this program's output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::clairvoyant::{Clairvoyant, clairvoyant};
use benches::planning::{choosing, planning};
use benches::{Bar, Curve, Error, Table, plot, verdict};
use clap::Parser;
use sim::{Report, Scenario, SimError, TraceSpec, World, parallel, published};

/// Offers tasks of published variants recorded arrivals and holds the selection policies against their bars.
///
/// Runs in virtual time: the same command gives the same numbers on any machine, however many threads there are.
#[derive(Debug, Parser)]
#[command(name = "tasks", version)]
struct Cli {
    /// Of all that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Offered load, in multiples of what the most accurate variant alone carries
    #[arg(long, value_delimiter = ',', default_value = "0.8,1,1.3,1.6,2,2.5")]
    load: Vec<f64>,
    /// Only the worlds with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Threads; one a core if absent
    #[arg(long)]
    threads: Option<usize>,
    /// Writes tasks.csv and a plot for each world into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// The worlds: a scenario, and whether its arrivals are the trace's bursty variant.
const WORLDS: [(&str, &str, bool); 4] = [
    ("EfficientNet", "sim/scenarios/published/effnet_twitter.toml", false),
    ("EfficientNet, bursts", "sim/scenarios/published/effnet_twitter.toml", true),
    ("BERT", "sim/scenarios/published/bert_twitter.toml", false),
    ("BERT, bursts", "sim/scenarios/published/bert_twitter.toml", true),
];
/// The policies held against the bars, and INFaaS's rule.
const POLICIES: [&str; 2] = ["most_accurate_in_time", "planned"];
const INFAAS: &str = "cheapest";
const ALONE: &str = "best alone";
/// Requests that may be late or refused, as a share.
const BAD_MAX: f64 = 0.005;
/// The accuracy that counts as the best variant's, as a share of it.
const ACCURATE: f64 = 0.95;
/// Loads that are tried differ by this share.
const STEP: f64 = 1.04;
/// So many loads are stepped over until one is too high: nearly twice the load.
const STRIDE: i32 = 16;
/// The clairvoyant knows the arrivals of each epoch of this length: that of Proteus's plans is ten times as long.
const EPOCH: Duration = Duration::from_secs(1);
/// The load at which accuracies are held against their bars: what the best variant carries, times this.
const AT: f64 = 1.6;

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-tasks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a policy made of one load.
struct Point {
    who: &'static str,
    load: f64,
    bad: f64,
    accuracy: f64,
}

fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    let mut bars = vec![planning()];
    bars.extend(choosing()?);
    println!("seed {}", cli.seed);
    if published::present() {
        bars.extend(worlds(cli)?);
    } else {
        println!(
            "skipped: published profiles and traces are read from {}, which is absent",
            published::FOLDER
        );
    }
    for (line, _) in &bars {
        println!("{line}");
    }
    Ok(bars.iter().all(|(_, reached)| *reached))
}

fn worlds(cli: &Cli) -> Result<Vec<(String, bool)>, Error> {
    let wanted = |place: &usize| WORLDS[*place].0.contains(&cli.only);
    let places: Vec<usize> = (0..WORLDS.len()).filter(wanted).collect();
    let name = |&place: &usize| WORLDS[place].0.to_owned();
    let threads = parallel::threads(cli.threads, places.len());
    let found = parallel::map(&places, threads, name, |&place| Found::of(place, cli));
    let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("\n{}\n{}", table(&found), costs(&found));
    if let Some(folder) = &cli.plots {
        write(folder, &found)?;
    }
    Ok(found.iter().flat_map(Found::bars).collect())
}

/// All that was found of one world.
struct Found {
    world: usize,
    /// The most accurate variant's accuracy.
    best: f64,
    points: Vec<Point>,
    /// By load of the sweep.
    clairvoyant: Vec<(f64, Clairvoyant)>,
    /// By policy: the highest load with [`BAD_MAX`] and [`ACCURATE`], in multiples of what the best one carries alone.
    carried: Vec<f64>,
    /// Executors that the best variant alone needs for [`AT`] times that, and by policy.
    needed: (u32, Vec<u32>),
    /// Executors that the best variant needs on average where it is replicated at once and for nothing each epoch.
    elastic: f64,
}

impl Found {
    fn of(world: usize, cli: &Cli) -> Result<Self, Error> {
        let scenario = read(world, cli.seed)?;
        let best = scenario.models.iter().filter_map(|model| model.answers.as_ref());
        let best = best.map(|answers| f64::from(answers.accuracy)).fold(0.0, f64::max);
        let accurate =
            |report: &Report| report.accuracy().is_none_or(|found| found >= ACCURATE * best);
        let alone = highest(&by_best_alone(&scenario), &|_| true)?;
        let mut found = Self {
            world,
            best,
            points: Vec::new(),
            clairvoyant: Vec::new(),
            carried: Vec::new(),
            needed: (0, Vec::new()),
            elastic: 0.0,
        };
        for load in cli.load.iter().copied().chain([AT]) {
            if found.clairvoyant.iter().any(|(known, _)| *known == load) {
                continue;
            }
            let loaded = at(&scenario, load * alone);
            found
                .clairvoyant
                .push((load, clairvoyant(&loaded, EPOCH, slo(&scenario)).map_err(SimError::from)?));
            found.points.push(point(ALONE, load, &run(&by_best_alone(&loaded))?, best));
            for who in POLICIES.into_iter().chain([INFAAS]) {
                found.points.push(point(who, load, &run(&by(&loaded, who))?, best));
            }
        }
        for who in POLICIES {
            found.carried.push(highest(&by(&scenario, who), &accurate)? / alone);
        }
        let loaded = at(&scenario, AT * alone);
        found.needed.0 = fewest(&by_best_alone(&loaded), &|_| true)?;
        found.needed.1 = POLICIES
            .iter()
            .map(|who| fewest(&by(&loaded, who), &accurate))
            .collect::<Result<_, _>>()?;
        found.elastic = elastic(&loaded)?;
        Ok(found)
    }
}

impl Found {
    fn name(&self) -> &'static str {
        WORLDS[self.world].0
    }

    /// The clairvoyant's accuracy at that load.
    fn known(&self, load: f64) -> f64 {
        let mut all = self.clairvoyant.iter();
        all.find(|(other, _)| *other == load).expect("it was reckoned for each load").1.accuracy
    }

    fn bars(&self) -> Vec<(String, bool)> {
        let world = self.name();
        let point = |who: &str| {
            let mut points = self.points.iter();
            points.find(|point| point.who == who && point.load == AT).expect("it was measured")
        };
        let known = self.known(AT);
        let infaas = self.best - point(INFAAS).accuracy;
        let mut bars = Vec::new();
        for (index, who) in POLICIES.into_iter().enumerate() {
            let own = point(who);
            let mut bar = |what: &str, found: f64, bar: Bar| {
                bars.push(verdict(&format!("{world}, {who}: {what}"), found, bar));
            };
            bar(
                "load carried at 95 % of the best accuracy, beside the best alone",
                self.carried[index],
                Bar::AtLeast(1.6),
            );
            bar("points below a clairvoyant", 100.0 * (known - own.accuracy), Bar::AtMost(1.0));
            bar("late or refused, %", 100.0 * own.bad, Bar::AtMost(100.0 * BAD_MAX));
            bar(
                "accuracy lost, beside INFaaS's rule",
                (self.best - own.accuracy) / infaas,
                Bar::AtMost(1.0 / 3.0),
            );
            let cost = f64::from(self.needed.1[index]) / f64::from(self.needed.0);
            bar("executors, beside the best replicated", cost, Bar::AtMost(0.5));
        }
        bars
    }
}

fn read(world: usize, seed: u64) -> Result<Scenario, Error> {
    let (_, file, bursts) = WORLDS[world];
    let text = std::fs::read_to_string(file).map_err(Error::system(file.to_owned()))?;
    let text =
        if bursts { text.replace("zipf_exponential/", "zipf_exponential_bursty/") } else { text };
    let mut scenario = Scenario::from_text(file, &text).map_err(SimError::from)?;
    scenario.seed = seed;
    Ok(scenario)
}

fn slo(scenario: &Scenario) -> Duration {
    scenario.models.iter().filter_map(|model| model.slo).min().unwrap_or(Duration::MAX)
}

fn at(scenario: &Scenario, load: f64) -> Scenario {
    Scenario { load, ..scenario.clone() }
}

fn by(scenario: &Scenario, policy: &str) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.router.selection = Some(policy.to_owned());
    scenario
}

/// The first model, which is the most accurate, as a model that is asked for itself.
fn by_best_alone(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.models.truncate(1);
    scenario.models[0].answers = None;
    scenario
}

fn run(scenario: &Scenario) -> Result<Report, Error> {
    Ok(ended(scenario, World::new(scenario).map_err(SimError::from)?)?)
}

fn ended(scenario: &Scenario, world: World) -> Result<Report, SimError> {
    let seed = scenario.seed;
    let ran = world.run().map_err(|violation| SimError::Violation { seed, violation });
    Ok(ran?.0)
}

fn point(who: &'static str, load: f64, report: &Report, best: f64) -> Point {
    let accuracy = report.accuracy().unwrap_or(best);
    Point { who, load, bad: 1.0 - report.attainment(), accuracy }
}

/// Whether few enough requests are late or refused, and the answers are accurate. A run ends as soon as it is not.
fn good(scenario: &Scenario, accurate: &dyn Fn(&Report) -> bool) -> Result<bool, Error> {
    let traces = scenario.models.iter().filter_map(|model| model.trace.as_ref());
    let offered = scenario.load * traces.map(TraceSpec::requests).sum::<u64>() as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of requests"
    )]
    let hopeless = (2.0 * BAD_MAX * offered) as u64;
    let world = World::new(scenario).map_err(SimError::from)?.unchecked().stop_beyond(hopeless);
    let report = ended(scenario, world)?;
    Ok(!report.stopped && report.attainment() >= 1.0 - BAD_MAX && accurate(&report))
}

/// The highest load, in multiples of the trace, below the first that is no longer good.
fn highest(scenario: &Scenario, accurate: &dyn Fn(&Report) -> bool) -> Result<f64, Error> {
    let tried = |place: i32| good(&at(scenario, STEP.powi(place)), accurate);
    let (mut low, mut high) = (0, STRIDE);
    while tried(high)? {
        (low, high) = (high, high + STRIDE);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if tried(middle)? { low = middle } else { high = middle }
    }
    Ok(STEP.powi(low))
}

/// The fewest executors that are good.
fn fewest(scenario: &Scenario, accurate: &dyn Fn(&Report) -> bool) -> Result<u32, Error> {
    let mut scenario = scenario.clone();
    for count in 1.. {
        scenario.executors[0].count = count;
        if good(&scenario, accurate)? {
            return Ok(count);
        }
    }
    unreachable!("enough executors are good")
}

/// Executors of the best variant, on average, if each epoch had just as many as its arrivals need, at once and for
/// nothing: what no autoscaler undercuts.
fn elastic(scenario: &Scenario) -> Result<f64, Error> {
    let best = by_best_alone(scenario);
    let one = Scenario { load: 1.0, ..best.clone() };
    let profile = one.models[0].latency_profile().map_err(SimError::from)?;
    let rows = profile.largest_batch_within(slo(scenario) / 2).max(1);
    let carries = f64::from(rows) / profile.median(rows).as_secs_f64() * EPOCH.as_secs_f64();
    let epochs = best.epochs(Some(EPOCH)).map_err(SimError::from)?;
    let needed =
        epochs.iter().map(|counts| (f64::from(counts.iter().sum::<u32>()) / carries).ceil());
    Ok(needed.sum::<f64>() / epochs.len() as f64)
}

fn table(found: &[Found]) -> Table {
    let head = ["world", "load", "who", "accuracy", "a clairvoyant's", "late or refused"];
    let mut table = Table::new(&head);
    for found in found {
        for point in &found.points {
            table.push(vec![
                found.name().to_owned(),
                format!("{}x", point.load),
                point.who.to_owned(),
                format!("{:.4}", point.accuracy),
                format!("{:.4}", found.known(point.load)),
                format!("{:.3} %", 100.0 * point.bad),
            ]);
        }
    }
    table
}

/// Executors for [`AT`] times what the best variant carries on the scenario's own.
fn costs(found: &[Found]) -> Table {
    let head = [
        "executors in all",
        "best alone",
        "best, as many each second as it needs",
        "default",
        "planned",
    ];
    let mut table = Table::new(&head);
    for found in found {
        let mut row = vec![found.name().to_owned(), found.needed.0.to_string()];
        row.push(format!("{:.1} on average", found.elastic));
        row.extend(found.needed.1.iter().map(u32::to_string));
        table.push(row);
    }
    table
}

/// What is wrong beside the best variant's errors, and what is lost, by load: what plots on axes from 0 show.
fn write(folder: &Path, found: &[Found]) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::system(folder.display().to_string()))?;
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::system(path.display().to_string()))
    };
    let mut csv = "world,load,who,accuracy,clairvoyant,bad\n".to_owned();
    for found in found {
        for Point { who, load, accuracy, bad } in &found.points {
            let known = found.known(*load);
            csv +=
                &format!("\"{}\",{load},{who},{accuracy:.5},{known:.5},{bad:.6}\n", found.name());
        }
        let points = |loss: f64, accuracy: f64| 100.0 * (found.best - accuracy * (1.0 - loss));
        let mut curves: Vec<Curve> = Vec::new();
        for who in [ALONE, INFAAS].into_iter().chain(POLICIES) {
            let own = found.points.iter().filter(|point| point.who == who);
            let own = own.map(|point| (point.load, points(point.bad, point.accuracy)));
            curves.push(Curve { name: who.to_owned(), points: own.collect() });
        }
        let known = found.clairvoyant.iter();
        let known =
            known.map(|(load, known)| (*load, points(1.0 - known.answered, known.accuracy)));
        curves.push(Curve { name: "clairvoyant".to_owned(), points: known.collect() });
        let svg = plot(
            &format!("Right and in time: {}", found.name()),
            "offered load / what the best variant alone carries",
            "points lost against the best variant without load",
            &curves,
        );
        save(&format!("tasks-{}.svg", found.world + 1), svg)?;
    }
    save("tasks.csv", csv)
}
