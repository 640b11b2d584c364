//! Which share of a task's requests each of its variants is to answer: planned once for an epoch, as a pure function.
//!
//! Proteus (ASPLOS'24) assigns variants and shares of the queries to devices so that the answers are as accurate as the
//! devices can carry, with an integer program that gives each device one variant. Here executors run several variants in
//! turn, so that a linear program does: no whole assignment is better, and equal executors count as one kind. It is the
//! slow path: a driver solves it away from the router (`Router::survey`) and says so (`Event::MixPlanned`).

use std::collections::BTreeMap;
use std::time::Duration;

use microlp::{ComparisonOp, LinearExpr, OptimizationDirection, Problem, Solution, Variable};
use models::{ExecutorId, TaskId, VariantId};
use serde::{Deserialize, Serialize};

/// How often a driver plans, while there is something to plan.
pub const EPOCH: Duration = Duration::from_millis(500);

/// What tasks that follow a plan are asked for, and what could answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// The tasks.
    pub tasks: Vec<Demand>,
    /// Executor time that goes to all else, in executors, and where.
    pub taken: Vec<(Vec<ExecutorId>, f64)>,
}

/// What one task is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Which task.
    pub task: TaskId,
    /// Rows a second that are to be expected.
    pub rate: f64,
    /// Who can answer in time.
    pub variants: Vec<Contender>,
}

/// A variant that can answer a task's requests in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// Which variant.
    pub variant: VariantId,
    /// How often it is right.
    pub accuracy: f64,
    /// Executor seconds of a row, in the batches that its deadline allows.
    pub row_seconds: f64,
    /// Where it is in place.
    pub executors: Vec<ExecutorId>,
}

/// The shares of the tasks' requests that variants are to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// By task: the variants that answer, with shares of which the sum is 1.
    pub tasks: Vec<(TaskId, Vec<(VariantId, f64)>)>,
}

/// A mix, and what it is foreseen to come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The shares to be followed.
    pub mix: Mix,
    /// Each task of the survey.
    pub tasks: Vec<TaskPlan>,
    /// Each kind of executor: those with the same variants.
    pub kinds: Vec<KindPlan>,
}

/// What is foreseen of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPlan {
    /// Which task.
    pub task: TaskId,
    /// Rows a second that were expected.
    pub rate: f64,
    /// Rows a second that are answered.
    pub answered: f64,
    /// How often those answers are right; `None` where there are none.
    pub accuracy: Option<f64>,
    /// Rows a second of each variant on each kind of executor, by its place in [`Plan::kinds`]; none of nothing.
    pub parts: Vec<(VariantId, usize, f64)>,
}

/// What is foreseen of the executors with the same variants.
#[derive(Clone, Debug, PartialEq)]
pub struct KindPlan {
    /// Which they are.
    pub executors: Vec<ExecutorId>,
    /// The part of their time that is taken, by all that is asked of them.
    pub load: f64,
}

/// An answer is worth so much more than being right: accuracy is given up before a request is.
const ANSWERED: f64 = 10.0;
/// Shares below this are left out.
const SHARE_MIN: f64 = 1e-4;

impl Survey {
    /// The most accurate mix that the executors carry; where none carries all, the one that carries most.
    #[must_use]
    pub fn plan(&self) -> Mix {
        self.foresee().mix
    }

    /// The same, with what it is foreseen to come to; without tasks, where there is no such mix.
    #[must_use]
    pub fn foresee(&self) -> Plan {
        let mut program = Program::of(self);
        let columns: Vec<_> = self.tasks.iter().map(|demand| program.add(demand)).collect();
        let mut kinds: Vec<_> = program.room.iter().map(Room::idle).collect();
        let Some(rates) = program.solve() else { return Plan::default() };
        let (mut mix, mut tasks) = (Mix::default(), Vec::new());
        for (demand, columns) in self.tasks.iter().zip(columns) {
            mix.tasks.push((demand.task, shares(demand, &columns, &rates)));
            tasks.push(foreseen(demand, &columns, &rates, &mut kinds));
        }
        Plan { mix, tasks, kinds }
    }
}

/// By contender, the columns of its rows a second, each with its kind of executor.
type Columns = Vec<Vec<(usize, Variable)>>;

/// The linear program: a column for each variant and kind of executor, a row for each kind and each task.
struct Program {
    problem: Problem,
    /// By executor, its kind.
    kinds: BTreeMap<ExecutorId, usize>,
    /// By kind.
    room: Vec<Room>,
}

/// The executors of one kind.
struct Room {
    executors: Vec<ExecutorId>,
    /// As many of them as are left for tasks.
    free: f64,
    /// The time that its columns take.
    time: LinearExpr,
}

impl Room {
    /// As it is before anything is planned.
    fn idle(&self) -> KindPlan {
        let count = self.executors.len().max(1) as f64;
        KindPlan { executors: self.executors.clone(), load: 1.0 - self.free / count }
    }
}

impl Program {
    fn of(survey: &Survey) -> Self {
        let mut have: BTreeMap<ExecutorId, Vec<VariantId>> = BTreeMap::new();
        for contender in survey.tasks.iter().flat_map(|demand| &demand.variants) {
            for &executor in &contender.executors {
                have.entry(executor).or_default().push(contender.variant);
            }
        }
        let mut known: BTreeMap<Vec<VariantId>, usize> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        let mut room: Vec<Room> = Vec::new();
        for (executor, variants) in have {
            let kind = *known.entry(variants).or_insert(room.len());
            if kind == room.len() {
                let time = LinearExpr::empty();
                room.push(Room { executors: Vec::new(), free: 0.0, time });
            }
            room[kind].executors.push(executor);
            room[kind].free += 1.0;
            kinds.insert(executor, kind);
        }
        for (executors, time) in &survey.taken {
            let each = time / executors.len().max(1) as f64;
            for kind in executors.iter().filter_map(|executor| kinds.get(executor)) {
                room[*kind].free = (room[*kind].free - each).max(0.0);
            }
        }
        Self { problem: Problem::new(OptimizationDirection::Maximize), kinds, room }
    }

    fn add(&mut self, demand: &Demand) -> Columns {
        let mut asked = LinearExpr::empty();
        let mut columns = Vec::new();
        for contender in &demand.variants {
            let mut kinds: Vec<usize> =
                contender.executors.iter().map(|executor| self.kinds[executor]).collect();
            kinds.sort_unstable();
            kinds.dedup();
            let worth = ANSWERED + contender.accuracy;
            let column = |kind: usize| {
                let column = self.problem.add_var(worth, (0.0, f64::INFINITY));
                self.room[kind].time.add(column, contender.row_seconds);
                asked.add(column, 1.0);
                (kind, column)
            };
            columns.push(kinds.into_iter().map(column).collect());
        }
        self.problem.add_constraint(asked, ComparisonOp::Le, demand.rate);
        columns
    }

    /// By column, its rows a second.
    fn solve(mut self) -> Option<Solution> {
        for Room { free, time, .. } in self.room {
            self.problem.add_constraint(time, ComparisonOp::Le, free);
        }
        self.problem.solve().ok()?.into_solution().ok()
    }
}

fn shares(demand: &Demand, columns: &Columns, rates: &Solution) -> Vec<(VariantId, f64)> {
    let rate = |columns: &Vec<(usize, Variable)>| -> f64 {
        columns.iter().map(|&(_, column)| rates.var_value(column)).sum()
    };
    let rates: Vec<f64> = columns.iter().map(rate).collect();
    let all: f64 = rates.iter().sum();
    let variants = demand.variants.iter().map(|contender| contender.variant);
    let shares = variants.zip(rates).map(|(variant, rate)| (variant, rate / all));
    let shares: Vec<_> = shares.filter(|(_, share)| *share > SHARE_MIN).collect();
    let all: f64 = shares.iter().map(|(_, share)| share).sum();
    shares.into_iter().map(|(variant, share)| (variant, share / all)).collect()
}

/// What a task comes to; adds its load to the kinds.
fn foreseen(
    demand: &Demand,
    columns: &Columns,
    rates: &Solution,
    kinds: &mut [KindPlan],
) -> TaskPlan {
    let (mut parts, mut answered, mut right) = (Vec::new(), 0.0, 0.0);
    for (contender, columns) in demand.variants.iter().zip(columns) {
        for &(kind, column) in columns {
            let rate = rates.var_value(column);
            let count = kinds[kind].executors.len().max(1) as f64;
            kinds[kind].load += rate * contender.row_seconds / count;
            answered += rate;
            right += rate * contender.accuracy;
            if rate > SHARE_MIN * demand.rate {
                parts.push((contender.variant, kind, rate));
            }
        }
    }
    let accuracy = (answered > 0.0).then(|| right / answered);
    TaskPlan { task: demand.task, rate: demand.rate, answered, accuracy, parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variant of that accuracy and of so many milliseconds a row, on those executors.
    fn contender(id: u32, accuracy: f64, ms: f64, executors: std::ops::Range<u32>) -> Contender {
        Contender {
            variant: VariantId(id),
            accuracy,
            row_seconds: ms / 1e3,
            executors: executors.map(ExecutorId).collect(),
        }
    }

    fn plan(rate: f64, variants: Vec<Contender>, taken: f64) -> Vec<(u32, f64)> {
        let executors = (0..2).map(ExecutorId).collect();
        let demand = Demand { task: TaskId(3), rate, variants };
        let mix = Survey { tasks: vec![demand], taken: vec![(executors, taken)] }.plan();
        assert_eq!(mix.tasks[0].0, TaskId(3));
        let shares = mix.tasks[0].1.iter();
        shares.map(|(variant, share)| (variant.0, (share * 1e3).round() / 1e3)).collect()
    }

    fn ladder() -> Vec<Contender> {
        vec![contender(0, 0.9, 10.0, 0..2), contender(1, 0.8, 5.0, 0..2)]
    }

    #[test]
    fn the_better_variant_answers_as_much_as_fits_and_the_faster_one_the_rest() {
        // Two executors run 200 rows a second of the better variant or 400 of the faster one.
        assert_eq!(plan(150.0, ladder(), 0.0), [(0, 1.0)]);
        assert_eq!(plan(300.0, ladder(), 0.0), [(0, 0.333), (1, 0.667)]);
        assert_eq!(plan(1000.0, ladder(), 0.0), [(1, 1.0)]);
    }

    #[test]
    fn executor_time_that_goes_to_others_is_not_planned_twice() {
        assert_eq!(plan(150.0, ladder(), 1.0), [(0, 0.333), (1, 0.667)]);
    }

    #[test]
    fn a_variant_below_the_line_between_two_others_is_left_out() {
        let mut variants = ladder();
        variants.insert(1, contender(2, 0.82, 8.0, 0..2));
        assert_eq!(plan(300.0, variants, 0.0), [(0, 0.333), (1, 0.667)]);
    }

    #[test]
    fn a_variant_answers_only_as_much_as_the_executors_carry_that_have_it() {
        let variants = vec![contender(0, 0.9, 10.0, 0..1), contender(1, 0.8, 5.0, 1..2)];
        assert_eq!(plan(200.0, variants, 0.0), [(0, 0.5), (1, 0.5)]);
    }

    #[test]
    fn requests_are_answered_before_answers_are_made_better() {
        // Without the fast task's answers the slow one's could all be of the better variant.
        let slow = Demand { task: TaskId(0), rate: 200.0, variants: ladder() };
        let fast = vec![contender(2, 0.1, 5.0, 0..2)];
        let fast = Demand { task: TaskId(1), rate: 200.0, variants: fast };
        let mix = Survey { tasks: vec![slow, fast], taken: Vec::new() }.plan();
        assert_eq!(mix.tasks[0].1, [(VariantId(1), 1.0)]);
        assert_eq!(mix.tasks[1].1, [(VariantId(2), 1.0)]);
    }

    #[test]
    fn a_plan_says_what_it_comes_to() {
        let variants = vec![contender(0, 0.9, 10.0, 0..1), contender(1, 0.8, 5.0, 1..3)];
        let demand = Demand { task: TaskId(3), rate: 200.0, variants };
        let taken = vec![(vec![ExecutorId(1), ExecutorId(2)], 1.0)];
        let plan = Survey { tasks: vec![demand], taken }.foresee();
        let kinds: Vec<_> = plan.kinds.iter().map(|kind| kind.executors.len()).collect();
        assert_eq!(kinds, [1, 2]);
        // The better one runs 100 rows a second on its executor, half of the others' time is elsewhere.
        let near = |one: f64, other: f64| (one - other).abs() < 1e-6;
        assert!(near(plan.kinds[0].load, 1.0) && near(plan.kinds[1].load, 0.75), "{plan:?}");
        let task = &plan.tasks[0];
        assert!(near(task.answered, 200.0) && near(task.accuracy.unwrap(), 0.85), "{plan:?}");
        let parts = task.parts.iter().map(|&(variant, kind, rate)| (variant.0, kind, rate.round()));
        assert_eq!(parts.collect::<Vec<_>>(), [(0, 0, 100.0), (1, 1, 100.0)]);
        assert_eq!(plan.mix.tasks[0].1.len(), 2);
    }

    #[test]
    fn what_nobody_can_answer_has_no_shares() {
        assert_eq!(plan(100.0, Vec::new(), 0.0), []);
        assert_eq!(plan(0.0, ladder(), 0.0), []);
    }
}
