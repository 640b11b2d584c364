//! Requests that more than one variant answers, played by the server's own state machines (`router::compose`).
//!
//! What a variant says is a model. Each row has a difficulty u, drawn evenly from 0 to 1 and the same for all variants;
//! one that is right a share a of the time is right where u < a, and is sure of it as 1/2 + (a - u) / (2 (1 - a)), give or
//! take a noise drawn anew for each answer. So the hardest rows are wrong, and it is least sure near the border.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use batcher::{Deadline, Instant, Request, RequestId};
use models::{Confidence, Goals, TaskId, VariantId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::compose::cascade::{Cascade, Stage};
use router::compose::hedge::Hedge;
use router::compose::{AskId, Compose, End, Heard, Step, Vote, Why};
use router::{Event, Rejection, Shape, ShapeId};

use super::arrivals::Wanted;
use super::{Asked, ELEMENTS, Happening, Model, World, variant};
use crate::scenario::CompositionSpec;
use crate::{ModelReport, Scenario, Violation};

/// All requests of several variants that are under way.
pub(super) struct Compositions {
    of: BTreeMap<TaskId, Composition>,
    wholes: BTreeMap<u64, Whole>,
    next: u64,
    /// What became of requests to variants and has not been told.
    told: VecDeque<(Part, Told)>,
    rng: Pcg64Mcg,
}

/// How a task's requests are answered.
struct Composition {
    form: Form,
    noise: f64,
    /// Its row of the report.
    row: usize,
}

enum Form {
    Cascade(Vec<Stage>),
    Hedge(f64),
}

/// A request to a variant for another: of which, and which of those it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    whole: u64,
    ask: AskId,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Entered(Duration),
    Answered,
    Refused(Rejection),
    Failed,
}

/// A request while its variants are asked.
struct Whole {
    task: TaskId,
    arrived: Instant,
    deadline: Deadline,
    priority: u32,
    shape: u32,
    /// How hard each row is.
    rows: Vec<f64>,
    decides: Box<dyn Compose>,
    asks: Vec<Ask>,
    refused: Option<Rejection>,
    /// When it is called next.
    wakes: Instant,
}

struct Ask {
    id: RequestId,
    model: usize,
    rows: Vec<u32>,
}

impl Compositions {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            of: BTreeMap::new(),
            wholes: BTreeMap::new(),
            next: 0,
            told: VecDeque::new(),
            // Whatever answers a task, its requests come at the same times.
            rng: Pcg64Mcg::seed_from_u64(scenario.seed.wrapping_add(1)),
        }
    }
}

impl World {
    /// Prepares the scenario's compositions, each with a row of the report.
    pub(super) fn compose(&mut self, specs: &[CompositionSpec]) {
        for spec in specs {
            let CompositionSpec { task: name, cascade, hedge, noise } = spec;
            let Some(task) = self.tasks.named(name) else { continue };
            let place = |name: &str| self.models.iter().position(|model| model.spec.name == name);
            let stages = cascade.iter().flatten();
            let stages = stages.filter_map(|stage| {
                Some(Stage { member: place(&stage.model)?, threshold: stage.threshold })
            });
            let form = hedge.map_or_else(|| Form::Cascade(stages.collect()), Form::Hedge);
            let row = self.report.models.len();
            let report = ModelReport { name: name.clone(), entry: row, ..ModelReport::default() };
            self.report.models.push(report);
            self.compositions.of.insert(task, Composition { form, noise: *noise, row });
        }
    }

    /// Whether such requests are answered by more than one variant.
    pub(super) fn composed(&self, model: usize) -> Option<TaskId> {
        self.tasks.asked_by(model).filter(|task| self.compositions.of.contains_key(task))
    }

    /// A request comes that more than one variant answers.
    pub(super) fn ask_together(&mut self, task: TaskId, wanted: &Wanted) -> Result<(), Violation> {
        let Wanted { rows, priority, shape, slo, .. } = *wanted;
        let deadline = slo.map_or(Deadline::NONE, |slo| Deadline(self.now + slo));
        let Compositions { of, wholes, next, rng, .. } = &mut self.compositions;
        let composition = &of[&task];
        let decides: Box<dyn Compose> = match &composition.form {
            Form::Cascade(stages) => Box::new(Cascade::new(stages.clone(), rows, deadline.0)),
            Form::Hedge(patience) => Box::new(Hedge::new(vec![0, 1], rows, *patience)),
        };
        let counted = self.now >= self.counted_from;
        self.report.models[composition.row].offered += u64::from(counted);
        let whole = Whole {
            task,
            arrived: self.now,
            deadline,
            priority,
            shape,
            rows: (0..rows).map(|_| rng.random()).collect(),
            decides,
            asks: Vec::new(),
            refused: None,
            wakes: Instant::NEVER,
        };
        let number = *next;
        *next += 1;
        wholes.insert(number, whole);
        self.play(number)
    }

    /// Tells the compositions what became of what they asked, until nothing is new.
    pub(super) fn tell(&mut self) -> Result<(), Violation> {
        while let Some((Part { whole, ask }, told)) = self.compositions.told.pop_front() {
            self.told(whole, ask, told);
            self.play(whole)?;
        }
        Ok(())
    }

    fn told(&mut self, number: u64, ask: AskId, told: Told) {
        let Compositions { of, wholes, rng, .. } = &mut self.compositions;
        let Some(whole) = wholes.get_mut(&number) else { return };
        let noise = of[&whole.task].noise;
        let asked = &whole.asks[ask.index()];
        let heard = match told {
            Told::Entered(predicted) => Heard::Entered(predicted),
            Told::Failed => Heard::Failed,
            Told::Refused(rejection) => {
                whole.refused.get_or_insert(rejection);
                Heard::Refused
            }
            Told::Answered => {
                let accuracy = accuracy(&self.models[asked.model]);
                let vote = |row: &u32| {
                    let strays = noise * (2.0 * rng.random::<f64>() - 1.0);
                    vote(accuracy, whole.rows[*row as usize], strays)
                };
                let votes: Vec<Vote> = asked.rows.iter().map(vote).collect();
                return whole.decides.heard(ask, Heard::Answered(&votes), self.now);
            }
        };
        whole.decides.heard(ask, heard, self.now);
    }

    /// Called when a composition wanted to be.
    pub(super) fn wake(&mut self, number: u64) -> Result<(), Violation> {
        let Some(whole) = self.compositions.wholes.get_mut(&number) else { return Ok(()) };
        whole.wakes = Instant::NEVER;
        if self.now >= whole.decides.poll_timeout() {
            whole.decides.time_passed(self.now);
        }
        self.play(number)
    }

    fn play(&mut self, number: u64) -> Result<(), Violation> {
        loop {
            let Some(whole) = self.compositions.wholes.get_mut(&number) else { return Ok(()) };
            match whole.decides.poll_step() {
                Some(Step::Ask { ask, member, rows }) => {
                    self.ask_part(Part { whole: number, ask }, member, rows)?;
                }
                Some(Step::Cancel(ask)) => {
                    let id = whole.asks[ask.index()].id;
                    self.cancel_part(id)?;
                }
                Some(Step::End(end)) => {
                    let whole = self.compositions.wholes.remove(&number).expect("it is there");
                    self.count_whole(&whole, &end);
                    return Ok(());
                }
                None => {
                    let at = whole.decides.poll_timeout();
                    if at < whole.wakes {
                        whole.wakes = at;
                        self.push(at.max(self.now), Happening::Wake { whole: number });
                    }
                    return Ok(());
                }
            }
        }
    }

    fn ask_part(&mut self, part: Part, member: usize, rows: Vec<u32>) -> Result<(), Violation> {
        let whole = &self.compositions.wholes[&part.whole];
        let (task, deadline, shape) = (whole.task, whole.deadline, whole.shape);
        let first = whole.asks.first().map(|first| first.model);
        let (model, goals) = match &self.compositions.of[&task].form {
            Form::Cascade(_) => (member, None),
            // A straggler's variant may be stuck as a whole: the second request goes to another, if there is one.
            Form::Hedge(_) => match first.map(|first| (first, self.fastest_but(first, task))) {
                Some((_, Some(other))) => (other, None),
                Some((first, None)) => (first, Some(Goals::default().at_once())),
                None => (0, Some(Goals::default())),
            },
        };
        let id = RequestId(self.request_next);
        self.request_next += 1;
        let count = u32::try_from(rows.len()).expect("some of counted rows");
        let request =
            Request { id, rows: count, priority: whole.priority, arrived: self.now, deadline };
        let asked = Asked {
            model,
            shape,
            arrived: self.now,
            deadline,
            waits: true,
            client: None,
            part: Some(part),
        };
        self.asked.push(id.0, asked);
        let whole = self.compositions.wholes.get_mut(&part.whole).expect("it was just seen");
        whole.asks.push(Ask { id, model, rows });
        if let Some(checker) = &mut self.checker {
            checker.arrived(id, shape);
        }
        let elements = ELEMENTS * u64::from(shape);
        let shape = Shape { id: ShapeId(shape), elements };
        self.feed(match goals {
            Some(goals) => Event::TaskArrived { request, task, goals, shape },
            None => Event::RequestArrived { request, variant: variant(model), shape },
        })
    }

    /// The variant of a task that runs fastest, beside one.
    fn fastest_but(&self, one: usize, task: TaskId) -> Option<usize> {
        let members = self.models.iter().enumerate();
        let others =
            members.filter(|(model, _)| *model != one && self.tasks.asked_by(*model) == Some(task));
        others.min_by_key(|(_, model)| model.profile.median(1)).map(|(model, _)| model)
    }

    /// The router chose who answers a request to a variant.
    pub(super) fn chosen_part(&mut self, part: Part, by: VariantId, predicted: Duration) {
        if let Some(whole) = self.compositions.wholes.get_mut(&part.whole) {
            whole.asks[part.ask.index()].model = by.index();
        }
        self.note_part(part, Told::Entered(predicted));
    }

    /// Something became of a request to a variant.
    pub(super) fn note_part(&mut self, part: Part, told: Told) {
        self.compositions.told.push_back((part, told));
    }

    fn cancel_part(&mut self, id: RequestId) -> Result<(), Violation> {
        // What runs is not interrupted; what it answers is told to nobody.
        if !self.asked.get(id.0).is_some_and(|asked| asked.waits) {
            return Ok(());
        }
        let asked = self.asked.remove(id.0).expect("it was just seen");
        self.check(|checker| checker.ended(id))?;
        let (variant, shape) = (variant(asked.model), ShapeId(asked.shape));
        self.feed(Event::RequestCancelled { id, variant, shape })
    }

    fn count_whole(&mut self, whole: &Whole, end: &End) {
        if whole.arrived < self.counted_from {
            return;
        }
        let row = self.compositions.of[&whole.task].row;
        let report = &mut self.report.models[row];
        report.asked += whole.asks.len() as u64;
        if end.why == Why::Nobody {
            match whole.refused {
                Some(rejection) => report.refused[rejection.index()] += 1,
                None => report.failed += 1,
            }
            self.report.bad += 1;
            return;
        }
        report.latencies.push(self.now.since(whole.arrived));
        if self.now > whole.deadline.0 {
            report.late += 1;
            self.report.bad += 1;
            return;
        }
        report.in_time += 1;
        let right = whole.rows.iter().zip(&end.rows).filter(|(difficulty, by)| {
            **difficulty < accuracy(&self.models[whole.asks[by.index()].model])
        });
        report.right += right.count() as f64 / whole.rows.len() as f64;
        report.accuracy = Some(report.right / report.in_time as f64);
    }
}

fn accuracy(model: &Model) -> f64 {
    model.spec.answers.as_ref().map_or(0.0, |answers| answers.accuracy.into())
}

/// What a variant that is right so often says of a row so hard; 0 is the right class.
fn vote(accuracy: f64, difficulty: f64, strays: f64) -> Vote {
    let ahead = (accuracy - difficulty) / (2.0 * (1.0 - accuracy).max(f64::EPSILON));
    let sure = (0.5 + ahead + strays).clamp(0.0, 1.0);
    Vote {
        class: u32::from(difficulty >= accuracy),
        confidence: Confidence::try_from(sure).expect("it was held to the range"),
    }
}
