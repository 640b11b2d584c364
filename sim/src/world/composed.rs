//! Requests that more than one variant answers, played by the server's own state machines (`router::compose`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use batcher::{Deadline, Instant, Request, RequestId};
use models::{Cost, Goals, TaskId, VariantId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::compose::{AskId, Compose, End, Heard, Step, Vote, Why, hedge};
use router::{Event, Rejection, Shape, ShapeId};

use super::arrivals::Wanted;
use super::coded::Coded;
use super::forms::{Composition, Form, RIGHT};
use super::part::{Part, Told};
use super::{Asked, ELEMENTS, Happening, World, variant};
use crate::{Scenario, Violation};

/// All requests of several variants that are under way.
pub(super) struct Compositions {
    of: BTreeMap<TaskId, Composition>,
    wholes: BTreeMap<u64, Whole>,
    next: u64,
    /// What became of requests to variants and has not been told.
    told: VecDeque<(Part, Told)>,
    rng: Pcg64Mcg,
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
    /// `None` where nobody was asked, since all would have cost too much.
    id: Option<RequestId>,
    model: usize,
    rows: Vec<u32>,
    /// What it said of them.
    votes: Vec<Vote>,
    refused: bool,
}

/// Who is asked.
enum Whom {
    Model(usize),
    /// Whom the scheduler chooses by these goals, that of the place at first.
    Chosen(usize, Goals),
    /// Whoever could answer costs too much.
    Nobody,
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
            Form::Cascade(_) | Form::Ensemble(_) | Form::Hedge(_) => None,
        }
    }

    pub(super) fn insert(&mut self, task: TaskId, composition: Composition) {
        self.of.insert(task, composition);
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
            Form::Cascade(_) | Form::Ensemble(_) | Form::Hedge(_) => 0,
        });
        self.wholes.len() + coded.sum::<usize>()
    }
}

impl World {
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
        let Some(decides) = of[&task].begin(rows, deadline.0) else {
            return self.ask_coded(task, wanted, &difficulties);
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
        let composition = &of[&whole.task];
        let asked = &mut whole.asks[ask.index()];
        let heard = match told {
            Told::Entered(predicted) => Heard::Entered(predicted),
            Told::Failed => Heard::Failed,
            Told::Refused(rejection) => {
                asked.refused = true;
                whole.refused.get_or_insert(rejection);
                Heard::Refused
            }
            Told::Answered => {
                let accuracy = self.models[asked.model].accuracy();
                let vote = |row: &u32| composition.vote(accuracy, whole.rows[*row as usize], rng);
                asked.votes = asked.rows.iter().map(vote).collect();
                Heard::Answered(&asked.votes)
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
                    if let Some(id) = whole.asks[ask.index()].id {
                        self.cancel_part(id)?;
                    }
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

    /// Whom a member stands for. A straggler's variant may be stuck as a whole: the second request of a hedge goes to another,
    /// if there is one.
    fn whom(&self, whole: &Whole, member: usize) -> Whom {
        let composition = &self.compositions.of[&whole.task];
        if let Some(&model) = composition.members.get(member) {
            return Whom::Model(model);
        }
        let goals = composition.limits.goals;
        let Some(first) = whole.asks.first() else { return Whom::Chosen(0, goals) };
        let claimed = |model: usize| self.models[model].spec.answers.as_ref();
        let spent = claimed(first.model).filter(|_| !first.refused);
        let spent = spent.map_or(Cost::default(), |answers| answers.cost);
        let Some(goals) = hedge::beside(goals, spent) else { return Whom::Nobody };
        let allowed = |model: usize| {
            claimed(model).is_some_and(|answers| goals.allow(answers.accuracy, answers.cost))
        };
        let others = (0..self.models.len()).filter(|model| *model != first.model);
        let others = others.filter(|model| self.tasks.asked_by(*model) == Some(whole.task));
        let others = others.filter(|model| allowed(*model));
        match others.min_by_key(|model| self.models[*model].profile.median(1)) {
            Some(fastest) => Whom::Model(fastest),
            None if allowed(first.model) => Whom::Chosen(first.model, goals.at_once()),
            None => Whom::Nobody,
        }
    }

    fn ask_part(
        &mut self,
        (number, ask): (u64, AskId),
        member: usize,
        rows: Vec<u32>,
    ) -> Result<(), Violation> {
        let whole = &self.compositions.wholes[&number];
        let Whole { task, deadline, shape, priority, .. } = *whole;
        let asked = match self.whom(whole, member) {
            Whom::Model(model) => Some((model, None)),
            Whom::Chosen(model, goals) => Some((model, Some(goals))),
            Whom::Nobody => None,
        };
        let id = asked.map(|_| RequestId(self.request_next));
        let count = u32::try_from(rows.len()).expect("some of counted rows");
        let model = asked.map_or(0, |(model, _)| model);
        let now = self.now;
        let whole = self.compositions.wholes.get_mut(&number).expect("it was just seen");
        whole.asks.push(Ask { id, model, rows, votes: Vec::new(), refused: false });
        let Some(((_, goals), id)) = asked.zip(id) else {
            whole.decides.heard(ask, Heard::Refused, now);
            return Ok(());
        };
        let request = Request { id, rows: count, priority, arrived: now, deadline };
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
            let asked = whole.asks.iter().filter(|ask| ask.id.is_some()).count();
            let report = &mut self.report.models[row];
            report.asked += asked as u64;
            report.short += u64::from(end.why.short());
        }
        if end.why == Why::Nobody {
            return self.count_loss(row, whole.arrived, whole.refused);
        }
        let right = (0..).zip(&end.rows).filter(|(row, by)| {
            let by = &whole.asks[by.index()];
            let place = by.rows.binary_search(row).expect("it answered for that row");
            by.votes[place].class == RIGHT
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
