//! What it costs a task to find out by feedback which of its variants is right: losses beside those of the best variant in
//! hindsight, while one variant becomes bad half-way. In virtual time, through the router's own events.

use std::process::ExitCode;
use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use benches::{Bar, Table, verdict};
use clap::Parser;
use models::{ExecutorId, Goals, LatencyProfile, Share, TaskId, VariantId};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use router::{
    Action, Choice, Draw, Event, Router, RouterSettings, Shape, ShapeId, TaskSpec, VariantSpec,
};

/// Asks a task and says of each answer whether it was right.
#[derive(Debug, Parser)]
struct Cli {
    /// The task's policy.
    #[arg(long, default_value = "exp3")]
    policy: String,
    /// Answers with feedback.
    #[arg(long, default_value_t = 10_000)]
    feedbacks: u32,
    /// So many runs of each case, seeded from 1.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Answers that are given before the feedback to one of them comes.
    #[arg(long, default_value_t = 0)]
    delay: usize,
}

/// How often each variant is wrong at first, and the first of them from half-way on.
const CASES: [(&[f64], f64); 7] = [
    (&[0.05, 0.15, 0.25, 0.35, 0.5], 0.05),
    (&[0.05, 0.15, 0.25, 0.35, 0.5], 0.8),
    (&[0.05, 0.15, 0.25, 0.35, 0.5], 0.3),
    // The example's five digits models.
    (&[0.0078, 0.0111, 0.0334, 0.0379, 0.0791], 0.5),
    (&[0.3, 0.32, 0.34, 0.36, 0.38], 0.6),
    (&[0.1, 0.2], 0.6),
    (&[0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], 0.6),
];

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    let mut table = Table::new(&["wrong at first", "the first then", "mean regret", "worst seed"]);
    let mut bars = Vec::new();
    for (wrong, then) in CASES {
        let regrets: Vec<f64> =
            (1..=cli.seeds).map(|seed| regret(&cli, wrong, then, seed)).collect();
        let mean = regrets.iter().sum::<f64>() / regrets.len().max(1) as f64;
        let worst = regrets.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        table.push(vec![format!("{wrong:?}"), then.to_string(), percent(mean), percent(worst)]);
        bars.push(verdict(&format!("{wrong:?} then {then}: mean regret"), mean, Bar::AtMost(0.02)));
    }
    println!("\n{table}");
    bars.iter().for_each(|(line, _)| println!("{line}"));
    if bars.iter().all(|(_, reached)| *reached) { ExitCode::SUCCESS } else { ExitCode::from(4) }
}

/// Losses of the answers less those of the best variant in hindsight, a feedback.
fn regret(cli: &Cli, wrong: &[f64], then: f64, seed: u64) -> f64 {
    let mut world = World::new(&cli.policy, wrong.len(), seed);
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (mut own, mut fixed) = (0.0, vec![0.0; wrong.len()]);
    let mut told = std::collections::VecDeque::new();
    for round in 0..cli.feedbacks {
        let (variant, draw) = world.ask();
        for (arm, sum) in fixed.iter_mut().enumerate() {
            let degraded = arm == 0 && round >= cli.feedbacks / 2;
            let wrong = if degraded { then } else { wrong[arm] };
            let loss = f64::from(u8::from(random.random::<f64>() < wrong));
            *sum += loss;
            if arm == variant.index() {
                own += loss;
                told.push_back((variant, draw, loss));
            }
        }
        if told.len() > cli.delay {
            told.pop_front().into_iter().for_each(|verdict| world.tell(verdict));
        }
    }
    let best = fixed.into_iter().fold(f64::INFINITY, f64::min);
    (own - best) / f64::from(cli.feedbacks)
}

/// One executor with variants of 1 ms each, always idle.
struct World {
    router: Router,
    task: TaskId,
    now: Instant,
    next: u64,
}

const MS: Duration = Duration::from_millis(1);

impl World {
    fn new(policy: &str, variants: usize, seed: u64) -> Self {
        let router = Router::new(RouterSettings::default()).expect("the defaults are known");
        // A task's number seeds its draws.
        let task = TaskId(u32::try_from(seed).unwrap_or(u32::MAX));
        let mut world = Self { router, task, now: Instant::ZERO, next: 0 };
        world.happens(Event::ExecutorUp { executor: ExecutorId(0), preemptible: false });
        let ids = (0..).map(VariantId).take(variants);
        for variant in ids.clone() {
            let spec = Box::new(VariantSpec {
                variant,
                profile: LatencyProfile::linear(Duration::ZERO, MS, 1),
                profiled_elements: 1,
                slo: None,
                queue_max: 10,
                policy: batcher::ALL[0].name.to_owned(),
                settings: PolicySettings { batch_max: 1, ..PolicySettings::default() },
                weight: 1.0,
                executors: vec![ExecutorId(0)],
                weights: None,
            });
            world.happens(Event::VariantLoaded { spec });
        }
        // Claims say nothing here: all is to be learnt.
        let choice = |variant| Choice {
            variant,
            accuracy: 0.5.try_into().expect("a share"),
            cost: 1.0.try_into().expect("a cost"),
        };
        let choices = ids.map(choice).collect();
        let spec = Box::new(TaskSpec { task, policy: policy.to_owned(), choices });
        world.happens(Event::TaskLoaded { spec });
        world
    }

    fn happens(&mut self, event: Event) -> Vec<Action> {
        self.router.handle(event, self.now);
        std::iter::from_fn(|| self.router.poll_action()).collect()
    }

    fn ask(&mut self) -> (VariantId, Option<Draw>) {
        let id = RequestId(self.next);
        self.next += 1;
        let deadline = Deadline(self.now + 100 * MS);
        let request = Request { id, rows: 1, priority: 1, arrived: self.now, deadline };
        let (task, goals) = (self.task, Goals::default());
        let shape = Shape { id: ShapeId(0), elements: 1 };
        let mut chosen = None;
        let actions = self.happens(Event::TaskArrived { request, task, goals, shape });
        self.now = self.now + MS;
        for action in actions {
            if let Action::Choose { variant, draw, .. } = action {
                chosen = Some((variant, draw));
            } else if let Action::Launch { batch, .. } = action {
                self.happens(Event::BatchFinished { batch, elapsed: MS });
            }
        }
        chosen.expect("an idle executor answers at once")
    }

    fn tell(&mut self, (variant, draw, loss): (VariantId, Option<Draw>, f64)) {
        let loss = Share::try_from(loss).expect("0 or 1");
        self.happens(Event::Feedback { task: self.task, variant, draw, loss });
    }
}
