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
use router::compose::coded::{GroupId, Seat};
use router::compose::hedge::Hedge;
use router::compose::{AskId, Compose, End, Heard, Step, Vote, Why};
use router::{Event, Rejection, Shape, ShapeId};

use super::arrivals::Wanted;
use super::coded::Coded;
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
    Coded(Box<Coded>),
}

/// What a request to a variant is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// One request: which, and which of those it asked.
    Whole { whole: u64, ask: AskId },
    /// One that is coded with others of its task.
    Seat { task: TaskId, seat: Seat },
    /// The sum of a group.
    Parity { task: TaskId, group: GroupId },
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

    /// The requests of a coded task.
    pub(super) fn coded(&mut self, task: TaskId) -> Option<&mut Coded> {
        match &mut self.of.get_mut(&task)?.form {
            Form::Coded(coded) => Some(coded),
            Form::Cascade(_) | Form::Hedge(_) => None,
        }
    }

    /// A task's row of the report.
    pub(super) fn row(&self, task: TaskId) -> usize {
        self.of[&task].row
    }

    /// How hard so many rows are.
    pub(super) fn difficulties(&mut self, rows: u32) -> Vec<f64> {
        (0..rows).map(|_| self.rng.random()).collect()
    }

    /// How many requests have no end.
    pub(super) fn open(&self) -> usize {
        let coded = self.of.values().map(|composition| match &composition.form {
            Form::Coded(coded) => coded.open(),
            Form::Cascade(_) | Form::Hedge(_) => 0,
        });
        self.wholes.len() + coded.sum::<usize>()
    }
}

impl World {
    /// Prepares the scenario's compositions, each with a row of the report.
    pub(super) fn compose(&mut self, specs: &[CompositionSpec]) {
        for spec in specs {
            let CompositionSpec { task: name, cascade, hedge, coded, noise } = spec;
            let Some(task) = self.tasks.named(name) else { continue };
            let place = |name: &str| self.models.iter().position(|model| model.spec.name == name);
            let stages = cascade.iter().flatten();
            let stages = stages.filter_map(|stage| {
                Some(Stage { member: place(&stage.model)?, threshold: stage.threshold })
            });
            let coded = coded.as_ref().and_then(|spec| {
                Some(Coded::new([place(&spec.model)?, place(spec.parity())?], spec.group as usize))
            });
            let form = match (coded, hedge) {
                (Some(coded), _) => Form::Coded(Box::new(coded)),
                (None, Some(patience)) => Form::Hedge(*patience),
                (None, None) => Form::Cascade(stages.collect()),
            };
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
        let counted = self.now >= self.counted_from;
        self.report.models[self.compositions.row(task)].offered += u64::from(counted);
        let difficulties = self.compositions.difficulties(rows);
        let Compositions { of, wholes, next, .. } = &mut self.compositions;
        let decides: Box<dyn Compose> = match &of[&task].form {
            Form::Cascade(stages) => Box::new(Cascade::new(stages.clone(), rows, deadline.0)),
            Form::Hedge(patience) => Box::new(Hedge::new(vec![0, 1], rows, *patience)),
            Form::Coded(_) => return self.ask_coded(task, wanted, &difficulties),
        };
        let whole = Whole {
            task,
            arrived: self.now,
            deadline,
            priority,
            shape,
            rows: difficulties,
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
        while let Some((part, told)) = self.compositions.told.pop_front() {
            match part {
                Part::Whole { whole, ask } => {
                    self.told(whole, ask, told);
                    self.play(whole)?;
                }
                Part::Seat { task, seat } => self.told_seat(task, seat, told)?,
                Part::Parity { task, group } => self.told_parity(task, group, told)?,
            }
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
                    self.ask_part((number, ask), member, rows)?;
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

    fn ask_part(
        &mut self,
        (number, ask): (u64, AskId),
        member: usize,
        rows: Vec<u32>,
    ) -> Result<(), Violation> {
        let whole = &self.compositions.wholes[&number];
        let (task, deadline, shape) = (whole.task, whole.deadline, whole.shape);
        let first = whole.asks.first().map(|first| first.model);
        let (model, goals) = match &self.compositions.of[&task].form {
            Form::Cascade(_) | Form::Coded(_) => (member, None),
            // A straggler's variant may be stuck as a whole: the second request goes to another, if there is one.
            Form::Hedge(_) => match first.map(|first| (first, self.fastest_but(first, task))) {
                Some((_, Some(other))) => (other, None),
                Some((first, None)) => (first, Some(Goals::default().at_once())),
                None => (0, Some(Goals::default())),
            },
        };
        let id = RequestId(self.request_next);
        let count = u32::try_from(rows.len()).expect("some of counted rows");
        let request =
            Request { id, rows: count, priority: whole.priority, arrived: self.now, deadline };
        let whole = self.compositions.wholes.get_mut(&number).expect("it was just seen");
        whole.asks.push(Ask { id, model, rows });
        let part = Part::Whole { whole: number, ask };
        self.ask_variant((model, part), request, shape, |request, shape| match goals {
            Some(goals) => Event::TaskArrived { request, task, goals, shape },
            None => Event::RequestArrived { request, variant: variant(model), shape },
        })
    }

    /// Asks a variant; the request's number is the next one.
    pub(super) fn ask_variant(
        &mut self,
        (model, part): (usize, Part),
        request: Request,
        shape: u32,
        event: impl FnOnce(Request, Shape) -> Event,
    ) -> Result<(), Violation> {
        let Request { id, arrived, deadline, .. } = request;
        self.request_next += 1;
        let part = Some(part);
        let asked = Asked { model, shape, arrived, deadline, waits: true, client: None, part };
        self.asked.push(id.0, asked);
        if let Some(checker) = &mut self.checker {
            checker.arrived(id, shape);
        }
        let elements = ELEMENTS * u64::from(shape);
        self.feed(event(request, Shape { id: ShapeId(shape), elements }))
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
        if let Part::Whole { whole, ask } = part
            && let Some(whole) = self.compositions.wholes.get_mut(&whole)
        {
            whole.asks[ask.index()].model = by.index();
        }
        self.note_part(part, Told::Entered(predicted));
    }

    /// Something became of a request to a variant.
    pub(super) fn note_part(&mut self, part: Part, told: Told) {
        self.compositions.told.push_back((part, told));
    }

    pub(super) fn cancel_part(&mut self, id: RequestId) -> Result<(), Violation> {
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
        let (row, when) = (self.compositions.row(whole.task), (whole.arrived, whole.deadline));
        if whole.arrived >= self.counted_from {
            self.report.models[row].asked += whole.asks.len() as u64;
        }
        if end.why == Why::Nobody {
            return self.count_loss(row, whole.arrived, whole.refused);
        }
        let right = whole.rows.iter().zip(&end.rows).filter(|(difficulty, by)| {
            **difficulty < accuracy(&self.models[whole.asks[by.index()].model])
        });
        let right = right.count() as f64 / whole.rows.len() as f64;
        self.count_answer(row, when, right);
    }

    /// Counts a request that nobody answered: it was refused, or failed.
    pub(super) fn count_loss(&mut self, row: usize, arrived: Instant, refused: Option<Rejection>) {
        if arrived < self.counted_from {
            return;
        }
        let report = &mut self.report.models[row];
        match refused {
            Some(rejection) => report.refused[rejection.index()] += 1,
            None => report.failed += 1,
        }
        self.report.bad += 1;
    }

    /// Counts an answer that is right in that share of its rows.
    pub(super) fn count_answer(
        &mut self,
        row: usize,
        (arrived, deadline): (Instant, Deadline),
        right: f64,
    ) {
        if arrived < self.counted_from {
            return;
        }
        let report = &mut self.report.models[row];
        report.latencies.push(self.now.since(arrived));
        if self.now > deadline.0 {
            report.late += 1;
            self.report.bad += 1;
            return;
        }
        report.in_time += 1;
        report.right += right;
        report.accuracy = Some(report.right / report.in_time as f64);
    }
}

pub(super) fn accuracy(model: &Model) -> f64 {
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
