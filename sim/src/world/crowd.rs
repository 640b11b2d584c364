//! The clients of a workload file in a simulated world: they ask at the very times at which `punctual-bench` would, and
//! what becomes of their requests is recorded in its form.

use std::collections::BTreeMap;
use std::time::Duration;

use batcher::Instant;
use loadgen::result::{Batches, ModelView, Point, ServerView};
use loadgen::{Due, Loop, Outcome, Record, Workload};
use models::Slo;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::arrivals::Wanted;
use super::{Asked, Happening, World};
use crate::scenario::Source;
use crate::{Report, ScenarioError, Violation};

/// From an end to the next request of a client of a closed loop that does not think: about a round trip on one machine.
/// Without it a client that is refused would ask for ever at one instant.
const ROUND_TRIP: Duration = Duration::from_micros(100);

/// Who asked.
#[derive(Clone, Copy)]
pub(super) struct Client {
    share: usize,
    /// The closed loop it belongs to.
    of: Option<usize>,
}

/// What the requests of a share look like.
struct Clients {
    model: usize,
    rows: u32,
    priority: u32,
    slo: Option<Slo>,
}

/// What a model did.
#[derive(Default)]
struct Done {
    /// By rows: how many batches, and how long they ran.
    batches: BTreeMap<u64, (u64, Duration)>,
    answered: u64,
    queued: Duration,
    ran: Duration,
}

/// All clients of a workload.
pub(super) struct Crowd {
    due: std::vec::IntoIter<Due>,
    loops: Vec<Loop>,
    clients: Vec<Clients>,
    rng: Pcg64Mcg,
    records: Vec<Record>,
    done: Vec<Done>,
}

impl World {
    /// Lets the clients of a workload ask, in place of the models' own arrivals.
    ///
    /// # Errors
    /// A workload that asks for a model that is not there, or for too much.
    pub fn asked_by(mut self, workload: &Workload) -> Result<Self, ScenarioError> {
        let wrong = |error: loadgen::Error| ScenarioError::Whole(error.to_string());
        if self.report.models.len() > self.models.len() {
            let reason = "the clients of a workload ask for no task that has a composition";
            return Err(ScenarioError::Whole(reason.to_owned()));
        }
        let mut clients = Vec::new();
        for one in &workload.clients {
            let model = self.report.models.iter().position(|model| model.name == one.model);
            let model = model.ok_or_else(|| {
                ScenarioError::Whole(format!(
                    "the workload asks for '{}', which has no profile",
                    one.model
                ))
            })?;
            let rows = u32::try_from(one.rows).unwrap_or(u32::MAX);
            let priority = u32::try_from(one.priority.max(1)).unwrap_or(u32::MAX);
            clients.push(Clients { model, rows, priority, slo: one.slo });
        }
        let schedule = workload.schedule().map_err(wrong)?;
        for model in &mut self.models {
            model.arrivals = Source::Listed(Vec::new().into_iter());
        }
        self.crowd = Some(Box::new(Crowd {
            due: schedule.due.into_iter(),
            loops: schedule.loops,
            clients,
            rng: Pcg64Mcg::seed_from_u64(workload.seed),
            records: Vec::new(),
            done: self.models.iter().map(|_| Done::default()).collect(),
        }));
        Ok(self)
    }

    /// Lets everything happen, and returns the clients' account of it.
    ///
    /// # Errors
    /// The first thing that happened and never must.
    pub fn run_asked(mut self, workload: &Workload) -> Result<(Point, Report), Violation> {
        self.go()?;
        let crowd = self.crowd.take().map(|crowd| *crowd);
        let (records, done) = crowd.map_or_else(Default::default, |it| (it.records, it.done));
        let names = self.report.models.iter().map(|model| model.name.clone());
        let mut point = Point::of(&records, &workload.names(), workload.duration);
        point.load = workload.in_words();
        point.seed = workload.seed;
        let models = names.zip(done).filter(|(_, done)| !done.batches.is_empty());
        let models = models.map(|(name, done)| done.view(name)).collect();
        point.server = Some(ServerView { models, ..ServerView::default() });
        Ok((point, self.report))
    }

    pub(super) fn begin_crowd(&mut self) {
        self.plan_due();
        let loops = self.crowd.iter().flat_map(|crowd| crowd.loops.iter().enumerate());
        let all: Vec<usize> =
            loops.flat_map(|(of, one)| std::iter::repeat_n(of, one.concurrency)).collect();
        for of in all {
            self.push(self.now, Happening::Again { of });
        }
    }

    fn plan_due(&mut self) {
        if let Some(Due { at_ns, share }) = self.crowd.as_mut().and_then(|crowd| crowd.due.next()) {
            self.push(Instant::from_nanos(at_ns), Happening::Due { share });
        }
    }

    pub(super) fn due(&mut self, share: usize) -> Result<(), Violation> {
        self.plan_due();
        self.ask_as(Client { share, of: None })
    }

    /// A client of a closed loop asks its next request.
    pub(super) fn again(&mut self, of: usize) -> Result<(), Violation> {
        if self.now >= self.until {
            return Ok(());
        }
        let crowd = self.crowd.as_mut().expect("only a crowd has loops");
        let share = draw(&crowd.loops[of].shares, &mut crowd.rng);
        self.ask_as(Client { share, of: Some(of) })
    }

    fn ask_as(&mut self, client: Client) -> Result<(), Violation> {
        let crowd = self.crowd.as_ref().expect("only a crowd has clients");
        let Clients { model, rows, priority, slo } = crowd.clients[client.share];
        let slo = slo.map(|slo| slo.latency);
        let client = Some(client);
        self.ask(model, &Wanted { rows, priority, shape: 1, slo, patience: None, client })
    }

    /// A batch has ended.
    pub(super) fn ended(&mut self, model: usize, rows: u32, takes: Duration) {
        let counted = self.now >= self.counted_from;
        if let Some(crowd) = self.crowd.as_mut().filter(|_| counted) {
            let (count, time) = crowd.done[model].batches.entry(rows.into()).or_default();
            (*count, *time) = (*count + 1, *time + takes);
        }
    }

    /// A request of a batch that ran for `takes` was answered.
    pub(super) fn ran(&mut self, asked: &Asked, fails: bool, (at, takes): (Instant, Duration)) {
        let counted = !fails && asked.arrived >= self.counted_from;
        if let Some(crowd) = self.crowd.as_mut().filter(|_| counted) {
            let done = &mut crowd.done[asked.model];
            done.answered += 1;
            done.ran += takes;
            done.queued += at.since(asked.arrived).saturating_sub(takes);
        }
        let in_time = at <= asked.deadline.0;
        self.heard(asked, at, || match (fails, in_time) {
            (true, _) => Outcome::Error("the batch failed".into()),
            (false, true) => Outcome::InTime,
            (false, false) => Outcome::Late,
        });
    }

    /// A client learns what became of its request.
    pub(super) fn heard(&mut self, asked: &Asked, at: Instant, outcome: impl FnOnce() -> Outcome) {
        let counted = asked.arrived >= self.counted_from;
        let intended = asked.arrived.since(self.counted_from);
        let Some((crowd, client)) = self.crowd.as_mut().zip(asked.client) else { return };
        if counted {
            crowd.records.push(Record {
                share: client.share,
                intended_ns: nanoseconds(intended),
                lag_ns: 0,
                latency_ns: nanoseconds(at.since(asked.arrived)),
                outcome: outcome(),
            });
        }
        if let Some(of) = client.of {
            let thinks = crowd.loops[of].think_time.max(ROUND_TRIP);
            self.push(at + thinks, Happening::Again { of });
        }
    }
}

impl Done {
    fn view(self, name: String) -> ModelView {
        let ms = |sum: Duration, count: u64| sum.as_secs_f64() * 1e3 / count.max(1) as f64;
        let batches = self.batches.iter().map(|(rows, (count, time))| Batches {
            rows: *rows,
            count: *count,
            infer_ms: ms(*time, *count),
        });
        ModelView {
            name,
            answered: self.answered,
            batches: batches.collect(),
            queue_ms: ms(self.queued, self.answered),
            infer_ms: ms(self.ran, self.answered),
            ..ModelView::default()
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The index of a share, by weight.
fn draw(shares: &[(usize, f64)], rng: &mut Pcg64Mcg) -> usize {
    let total: f64 = shares.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random::<f64>() * total;
    for (share, weight) in shares {
        if left < *weight {
            return *share;
        }
        left -= weight;
    }
    shares.last().expect("a loop asks as someone").0
}
