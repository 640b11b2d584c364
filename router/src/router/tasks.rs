//! A request that names a task: the variants that may answer, what is to be expected of each, and the one chosen.

use std::time::Duration;

use batcher::{Deadline, Instant, Request, RequestId};
use models::{Goals, Objective, TaskId, VariantId};

use super::demand::Wishes;
use super::{Router, Variant};
use crate::cluster::Cluster;
use crate::lane::{Lane, LaneId, batch_max, work_of_row};
use crate::roster::Roster;
use crate::select::{self, Ask, Because, Draw, Prospect, SELECTIONS, Select, Verdict};
use crate::{Action, Choice, Rejection, Shape, ShapeId, TaskSpec};

/// A task that takes requests.
pub(super) struct Task {
    /// With each one's place in the operator's list: the most accurate first, of equals the cheapest.
    pub(super) choices: Vec<(usize, Choice)>,
    /// The name of the policy.
    named: String,
    pub(super) policy: Box<dyn Select>,
    /// Why the policy chooses whom it wants.
    wants: Because,
    /// There is a plan that the policy follows.
    pub(super) planned: bool,
    /// For requests that state an objective, in the order of [`Objective::ALL`].
    pub(super) objectives: [Box<dyn Select>; 3],
    /// For whoever decides where variants are.
    pub(super) wishes: Wishes,
}

impl Task {
    /// What `before` has learnt it keeps, where the policy is the same.
    fn new(spec: TaskSpec, before: Option<Self>) -> Self {
        let mut choices: Vec<_> = spec.choices.into_iter().enumerate().collect();
        choices.sort_by_key(|(place, choice)| {
            (std::cmp::Reverse(choice.accuracy), choice.cost, *place)
        });
        let wishes = Wishes::new(&spec.policy, choices.iter().map(|(_, choice)| choice));
        if let Some(before) = before.filter(|before| before.named == spec.policy) {
            return Self { choices, wishes, ..before };
        }
        let entry = SELECTIONS.iter().find(|entry| entry.name == spec.policy);
        let entry = entry.unwrap_or(&SELECTIONS[0]);
        let mut policy = (entry.build)();
        policy.seed(spec.task.index() as u64);
        let objectives =
            Objective::ALL.map(|(_, objective)| (select::by_objective(objective).build)());
        let (named, wants) = (spec.policy, entry.because);
        Self { choices, named, policy, wants, planned: false, objectives, wishes }
    }

    /// Why that one of them was just chosen; where chance decides, `drawn` says whether it did.
    fn because(&self, chosen: &Prospect, asker: &Asker<'_>, drawn: bool) -> Because {
        let goals = asker.goals;
        let stated = goals.objective.map(select::by_objective);
        let wants = stated.map_or(self.wants, |entry| entry.because);
        // Before the first plan, and where nobody is in time to be drawn.
        let unplanned = wants == Because::Planned && !self.planned;
        let undrawn = wants == Because::Drawn && !drawn;
        let wants = if unplanned { Because::MostAccurate } else { wants };
        let wants = if undrawn { Because::Soonest } else { wants };
        let allowed = self.choices.iter().map(|(_, choice)| choice);
        let allowed = allowed.filter(|choice| goals.allow(choice.accuracy, choice.cost));
        wants.of_choice(chosen, asker.budget(), allowed)
    }

    fn policy(&mut self, objective: Option<Objective>) -> &mut dyn Select {
        match objective {
            None => &mut *self.policy,
            Some(Objective::Accuracy) => &mut *self.objectives[0],
            Some(Objective::Latency) => &mut *self.objectives[1],
            Some(Objective::Cost) => &mut *self.objectives[2],
        }
    }

    /// Tells all policies of a batch that ran.
    pub(super) fn ran(&mut self, run: select::Run) {
        self.policy.ran(run);
        self.objectives.iter_mut().for_each(|policy| policy.ran(run));
    }
}

impl Router {
    pub(super) fn task_loaded(&mut self, spec: TaskSpec) {
        let index = spec.task.index();
        if self.tasks.len() <= index {
            self.tasks.resize_with(index + 1, || None);
        }
        let before = self.tasks[index].take();
        self.tasks[index] = Some(Task::new(spec, before));
    }

    /// A client has said what an answer was worth.
    pub(super) fn told(&mut self, task: TaskId, verdict: &Verdict) {
        if let Some(task) = self.tasks.get_mut(task.index()).and_then(Option::as_mut) {
            task.policy.told(verdict);
        }
    }

    pub(super) fn task_retired(&mut self, task: TaskId) {
        if let Some(slot) = self.tasks.get_mut(task.index()) {
            *slot = None;
        }
    }

    /// Who would answer a request of one row and that deadline, when from now, and why that one, before any door. It
    /// changes nothing.
    ///
    /// # Errors
    /// Why nobody.
    pub fn preview(
        &mut self,
        task: TaskId,
        goals: Goals,
        deadline: Deadline,
        now: Instant,
    ) -> Result<(VariantId, Duration, Because), Rejection> {
        let request =
            Request { id: RequestId(u64::MAX), rows: 1, priority: 1, arrived: now, deadline };
        let mut tasks = std::mem::take(&mut self.tasks);
        let state = tasks.get_mut(task.index()).and_then(Option::as_mut);
        let shape = Shape { id: ShapeId(0), elements: 0 };
        let chosen = state.ok_or(Rejection::NotServed).and_then(|task| {
            let asker = Asker { request: &request, goals, shape, now };
            let chosen = self.choose(&asker, task, |policy, ask| policy.peek(ask))?;
            let because = task.because(&chosen, &asker, chosen.end() <= asker.budget());
            Ok((chosen.variant, chosen.end(), because))
        });
        self.tasks = tasks;
        chosen
    }

    pub(super) fn task_arrived(
        &mut self,
        request: &Request,
        task: TaskId,
        (goals, shape): (Goals, Shape),
        now: Instant,
    ) {
        self.tally.arrived += 1;
        match self.enter_task(task, &Asker { request, goals, shape, now }) {
            Ok(Entered { lane, prospect, draw, because }) => {
                let (id, variant, predicted) = (request.id, prospect.variant, prospect.end());
                let because = Some(because);
                self.actions.push_back(Action::Choose { id, variant, predicted, draw, because });
                self.joined(lane, now);
            }
            Err(rejection) => self.refuse(request.id, rejection),
        }
    }

    fn enter_task(&mut self, task: TaskId, asker: &Asker<'_>) -> Result<Entered, Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        let mut tasks = std::mem::take(&mut self.tasks);
        let state = tasks.get_mut(task.index()).and_then(Option::as_mut);
        let entered =
            state.ok_or(Rejection::NotServed).and_then(|task| self.enter_best(asker, task));
        self.tasks = tasks;
        entered
    }

    /// Enters the lane of the variant chosen; if its door is shut, that of the one predicted to answer first.
    fn enter_best(&mut self, asker: &Asker<'_>, task: &mut Task) -> Result<Entered, Rejection> {
        let Asker { request, goals, shape, now } = *asker;
        self.note_wish(request, task, (goals, shape));
        task.policy(goals.objective).arrived(request.rows, asker.budget(), now);
        let chosen = self.choose(asker, task, |policy, ask| policy.choose(ask))?;
        let refused = match self.enter(request, chosen.variant, shape, now) {
            Ok(lane) => {
                let draw = task.policy(goals.objective).drawn();
                let because = task.because(&chosen, asker, draw.is_some());
                return Ok(Entered { lane, prospect: chosen, draw, because });
            }
            Err(refused) => refused,
        };
        let at_once = Asker { goals: goals.at_once(), ..*asker };
        let soonest = self.choose(&at_once, task, |policy, ask| policy.choose(ask))?;
        if soonest.variant == chosen.variant {
            return Err(refused.of_soonest(soonest.variant));
        }
        let lane = self.enter_instead(request, soonest.variant, shape, now);
        let lane = lane.map_err(|refused| refused.of_soonest(soonest.variant))?;
        Ok(Entered { lane, prospect: soonest, draw: None, because: Because::Instead })
    }

    /// Asks the task's policy by `pick`, which is [`Select::choose`] or [`Select::peek`].
    fn choose(
        &self,
        asker: &Asker<'_>,
        task: &mut Task,
        pick: fn(&mut dyn Select, &mut Ask<'_>) -> Option<Prospect>,
    ) -> Result<Prospect, Rejection> {
        let (goals, budget) = (asker.goals, asker.budget());
        // The policy and the list are parts of one task, and both are needed at once.
        let choices = std::mem::take(&mut task.choices);
        let mut chosen = None;
        // Who is nowhere is waited for only where nobody is anywhere.
        for absent in [false, true] {
            if absent && (chosen.is_some() || self.store.is_empty()) {
                break;
            }
            let mut view = View { router: self, asker, absent, outlook: None };
            let mut allowed = choices
                .iter()
                .filter(|(_, choice)| goals.allow(choice.accuracy, choice.cost))
                .filter_map(|&(place, choice)| view.prospect(place, choice));
            let ask = &mut Ask { budget, prospects: &mut allowed };
            chosen = pick(task.policy(goals.objective), ask);
        }
        let chosen = chosen.ok_or_else(|| self.nearest(&choices, goals));
        task.choices = choices;
        chosen
    }

    /// A request names that task: counts who would answer it if all variants were in place and idle.
    fn note_wish(&self, request: &Request, task: &mut Task, (goals, shape): (Goals, Shape)) {
        if self.store.is_empty() {
            return;
        }
        let budget = match request.deadline.0 {
            Instant::NEVER => Duration::MAX,
            _ => request.deadline.slack(request.arrived),
        };
        let Task { choices, objectives, wishes, .. } = task;
        let mut idle = choices
            .iter()
            .filter(|(_, choice)| goals.allow(choice.accuracy, choice.cost))
            .filter_map(|&(place, choice)| self.idle_prospect(request, place, choice, shape));
        let ask = &mut Ask { budget, prospects: &mut idle };
        let wished = match goals.objective {
            None => wishes.policy.choose(ask),
            Some(objective) => objectives[objective as usize].choose(ask),
        };
        if let Some(wished) = wished {
            wishes.note(wished.variant, request.rows, budget);
        }
    }

    /// What a variant would do for that request if it were in place and idle.
    fn idle_prospect(
        &self,
        request: &Request,
        place: usize,
        choice: Choice,
        shape: Shape,
    ) -> Option<Prospect> {
        let variant = self.variant(choice.variant).filter(|variant| !variant.retired)?;
        let lane = variant.lanes.iter().find(|(known, _)| *known == shape.id);
        let lane = lane.map(|&(_, lane)| self.lanes[lane].estimate.profile());
        let time = lane.unwrap_or(&variant.spec.profile).time(request.rows);
        Some(Prospect {
            variant: choice.variant,
            place,
            accuracy: choice.accuracy,
            cost: choice.cost,
            wait: Duration::ZERO,
            time,
            measured: time,
            work: time,
        })
    }

    /// Why nobody may answer.
    fn nearest(&self, choices: &[(usize, Choice)], goals: Goals) -> Rejection {
        let served = |(_, choice): &&(usize, Choice)| self.serving(choice.variant).is_some();
        let served = || choices.iter().filter(served).map(|(_, choice)| *choice);
        let accuracy =
            |choice: &Choice| goals.min_accuracy.is_none_or(|min| choice.accuracy >= min);
        let cost = |choice: &Choice| goals.max_cost.is_none_or(|max| choice.cost <= max);
        if served().any(|choice| goals.allow(choice.accuracy, choice.cost)) {
            let failed = served().any(|choice| self.store.failed(choice.variant));
            return if failed { Rejection::LoadFailed } else { Rejection::NoExecutor };
        }
        // Those that are cheap enough come first, the most accurate of them; if none is, the cheapest
        // of those that are accurate enough, or of all.
        let cheap = served().find(cost);
        let by_cost = |choice: &Choice| choice.cost;
        let cheapest = || served().filter(accuracy).min_by_key(by_cost);
        match cheap.or_else(cheapest).or_else(|| served().min_by_key(by_cost)) {
            Some(nearest) => Rejection::GoalsImpossible { nearest: nearest.variant },
            None => Rejection::NotServed,
        }
    }

    pub(super) fn serving(&self, variant: VariantId) -> Option<&Variant> {
        self.variant(variant).filter(|variant| !variant.retired)
    }
}

/// A request that names a task, at the moment when somebody is chosen for it.
#[derive(Clone, Copy)]
struct Asker<'a> {
    request: &'a Request,
    goals: Goals,
    shape: Shape,
    now: Instant,
}

impl Asker<'_> {
    /// From now until its answer is wanted.
    fn budget(&self) -> Duration {
        match self.request.deadline.0 {
            Instant::NEVER => Duration::MAX,
            deadline => deadline.since(self.now),
        }
    }
}

/// A task's request in the lane of the variant chosen.
struct Entered {
    lane: LaneId,
    prospect: Prospect,
    draw: Option<Draw>,
    because: Because,
}

/// The variants of a task as one request sees them.
struct View<'a> {
    router: &'a Router,
    asker: &'a Asker<'a>,
    /// Variants that are nowhere count too, from when they could be.
    absent: bool,
    outlook: Option<Outlook>,
}

/// What all variants on the same executors have in common.
#[derive(Clone, Copy)]
struct Outlook {
    /// A variant in place on those executors.
    variant: VariantId,
    /// How many there are.
    executors: u32,
    /// Until the first of them is free, as planned.
    start: Duration,
    /// What waits for them and is more urgent than the request.
    backlog: Duration,
    /// When a request would start that waits for nothing else.
    behind_others: Duration,
}

impl Prospect {
    fn of(place: usize, choice: Choice, wait: Duration, times: [Duration; 3]) -> Self {
        let Choice { variant, accuracy, cost } = choice;
        let [time, measured, work] = times;
        Self { variant, place, accuracy, cost, wait, time, measured, work }
    }
}

impl View<'_> {
    fn prospect(&mut self, place: usize, choice: Choice) -> Option<Prospect> {
        let (router, request) = (self.router, self.asker.request);
        let variant = router.serving(choice.variant)?;
        let outlook = self.outlook(choice.variant)?;
        let lane = variant.lanes.iter().find(|(shape, _)| *shape == self.asker.shape.id);
        let Some(&(_, lane)) = lane else {
            return Some(self.unseen(place, choice, variant, outlook));
        };
        let lane = &router.lanes[lane];
        let work = lane.row * request.rows;
        let ahead = rows_ahead(lane, request);
        if ahead == 0 {
            let time = lane.estimate.profile().time(request.rows);
            let measured = lane.estimate.measured(request.rows);
            return Some(Prospect::of(
                place,
                choice,
                outlook.behind_others,
                [time, measured, work],
            ));
        }
        let rows = ahead + request.rows;
        let (full, rows) = split(rows, lane.batch_max.max(request.rows));
        let others = outlook.backlog.saturating_sub(lane.time_of(ahead));
        let own = lane.estimate.profile().time(lane.batch_max) * full;
        let wait = outlook.start + (others + own) / outlook.executors;
        let times = [lane.estimate.profile().time(rows), lane.estimate.measured(rows), work];
        Some(Prospect::of(place, choice, wait, times))
    }

    /// Of a shape that this variant has not had: as its lane will believe at first.
    #[expect(clippy::cast_precision_loss, reason = "element counts are far below 2^53")]
    fn unseen(
        &self,
        place: usize,
        choice: Choice,
        variant: &Variant,
        outlook: Outlook,
    ) -> Prospect {
        let (rows, profile) = (self.asker.request.rows, &variant.spec.profile);
        let work = work_of_row(profile, batch_max(&variant.spec)) * rows;
        let times = [profile.time(rows), profile.median(rows), work];
        let times = match (self.asker.shape.elements, variant.spec.profiled_elements) {
            (0, _) | (_, 0) => times,
            (elements, profiled) if elements == profiled => times,
            (elements, profiled) => {
                let scale = elements as f64 / profiled as f64;
                times.map(|time| time.mul_f64(scale))
            }
        };
        Prospect::of(place, choice, outlook.behind_others, times)
    }

    /// `None` if no executor has the variant.
    fn outlook(&mut self, variant: VariantId) -> Option<Outlook> {
        let Asker { request, now, .. } = *self.asker;
        let Router { cluster, lanes, active, .. } = self.router;
        if let Some(known) = self.outlook.filter(|known| cluster.same_place(known.variant, variant))
        {
            return Some(known);
        }
        let executors = cluster.count(variant);
        if executors == 0 {
            let start = self.router.coming(variant, now).filter(|_| self.absent)?;
            let start = start.since(now);
            let backlog = Duration::ZERO;
            return Some(Outlook { variant, executors: 1, start, backlog, behind_others: start });
        }
        let start = cluster.earliest_start(variant, now).since(now);
        let backlog = backlog(cluster, (lanes, active), variant, request);
        let behind_others = start + backlog / executors;
        let outlook = Outlook { variant, executors, start, backlog, behind_others };
        self.outlook = Some(outlook);
        Some(outlook)
    }
}

/// Executor time of all that waits for any executor of that variant and is more urgent than the request.
fn backlog(
    cluster: &Cluster,
    (lanes, active): (&[Lane], &Roster),
    variant: VariantId,
    request: &Request,
) -> Duration {
    let waiting = active.iter().map(|lane| &lanes[lane]);
    let theirs = waiting.filter(|lane| cluster.share_place(lane.variant, variant));
    theirs.map(|lane| lane.time_of(rows_ahead(lane, request))).sum()
}

fn rows_ahead(lane: &Lane, request: &Request) -> u32 {
    let queue = lane.batcher.queue();
    if queue.is_empty() {
        return 0;
    }
    queue.rows_ahead_of(request.priority, request.deadline)
}

/// Full batches, and the rows of the one that is left, at least one row.
fn split(rows: u32, batch_max: u32) -> (u32, u32) {
    let full = rows.saturating_sub(1) / batch_max;
    (full, rows - full * batch_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_batch_is_never_empty() {
        let splits = [(1, (0, 1)), (4, (0, 4)), (5, (1, 1)), (8, (1, 4)), (9, (2, 1))];
        for (rows, expected) in splits {
            assert_eq!(split(rows, 4), expected, "{rows}");
        }
    }
}
