//! From counters of what was asked to the next placement, epoch by epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use models::{ExecutorId, TaskId, VariantId};

use super::{Family, Fluid, Member, Placement, PlacementEntry, Problem, Wanted};
use crate::{Demand, TaskDemand};

/// Rows a second that everything is asked for at least: what nobody asks for comes last, and fills memory that is left.
const IDLE_RATE: f64 = 1e-3;

/// Of each rate so much is that of the epoch that ended, and the rest what was believed before: a change counts at
/// once, and one odd epoch does not undo a placement.
const FRESH: f64 = 0.5;

/// Decides placement after placement from what a router counted.
#[derive(Debug)]
pub struct Epochs {
    entry: &'static PlacementEntry,
    memory: Vec<u64>,
    every: Duration,
    moves_max: usize,
    /// Counters at the last epoch.
    before: Counters,
    /// Rows a second, as believed.
    rates: BTreeMap<Key, f64>,
}

/// What is counted: a variant by its own name, or as the one wished for of a task.
type Key = (Option<TaskId>, VariantId);

#[derive(Debug, Default)]
struct Counters {
    rows: BTreeMap<Key, u64>,
    deadlines: BTreeMap<TaskId, (u64, Duration)>,
}

impl Epochs {
    /// For executors of that memory, decided anew so often, with at most so many loads each time.
    #[must_use]
    pub fn new(
        entry: &'static PlacementEntry,
        memory: Vec<u64>,
        every: Duration,
        moves_max: usize,
    ) -> Self {
        let (before, rates) = (Counters::default(), BTreeMap::new());
        Self { entry, memory, every, moves_max, before, rates }
    }

    /// The placement of the beginning, of which no bound holds: nothing serves yet.
    pub fn first(&mut self, demand: &Demand, present: &Placement) -> Placement {
        self.decide(demand, present, Duration::ZERO, usize::MAX)
    }

    /// The next placement, `elapsed` after the one before, from where everything is at present.
    pub fn next(&mut self, demand: &Demand, present: &Placement, elapsed: Duration) -> Placement {
        self.decide(demand, present, elapsed, self.moves_max)
    }

    fn decide(
        &mut self,
        demand: &Demand,
        present: &Placement,
        elapsed: Duration,
        moves_max: usize,
    ) -> Placement {
        self.believe(demand, elapsed);
        let numbers: Vec<VariantId> = demand.variants.iter().map(|one| one.variant).collect();
        let index = |id: VariantId| numbers.iter().position(|&number| number == id);
        let families: Vec<Family> =
            demand.tasks.iter().map(|task| self.family(task, &index)).collect();
        let mut variants: Vec<Wanted> = Vec::new();
        for (place, one) in demand.variants.iter().enumerate() {
            let own = self.rates.get(&(None, one.variant)).copied().unwrap_or_default();
            let members = families.iter().flat_map(|family| &family.members);
            let wished = members.filter(|member| member.variant == place);
            variants.push(Wanted {
                memory: one.weights.bytes,
                load: one.weights.load,
                profile: one.profile.clone(),
                within: one.within,
                rate: own.max(IDLE_RATE) + wished.map(|member| member.rate).sum::<f64>(),
            });
        }
        let (memory, every) = (self.memory.clone(), self.every);
        let problem =
            Problem { variants, memory, moves_max, families, every, ..Problem::default() };
        let mut previous = Placement::empty(self.memory.len());
        for (executor, variant) in present.pairs() {
            if let Some(place) = index(variant).filter(|_| executor.index() < self.memory.len()) {
                previous.insert(executor.index(), place);
            }
        }
        let next = self.entry.solve(&problem, &previous, &mut Fluid);
        let number =
            |(executor, place): (ExecutorId, VariantId)| (executor, numbers[place.index()]);
        Placement::of_pairs(self.memory.len(), next.pairs().map(number))
    }

    fn family(&self, task: &TaskDemand, index: &dyn Fn(VariantId) -> Option<usize>) -> Family {
        let member = |member: &crate::MemberDemand| {
            let rate = self.rates.get(&(Some(task.task), member.variant)).copied();
            Some(Member {
                variant: index(member.variant)?,
                accuracy: member.accuracy.into(),
                rate: rate.unwrap_or_default(),
            })
        };
        let members = task.members.iter().filter_map(member).collect();
        let (count, sum) = self.before.deadlines.get(&task.task).copied().unwrap_or_default();
        let within = (count > 0).then(|| sum.div_f64(count as f64));
        Family { members, within }
    }

    /// Learns the rates since the last epoch. A counter that fell has begun anew.
    fn believe(&mut self, demand: &Demand, elapsed: Duration) {
        let mut now = Counters::default();
        for one in &demand.variants {
            now.rows.insert((None, one.variant), one.rows);
        }
        for task in &demand.tasks {
            let rows = task.members.iter().map(|one| ((Some(task.task), one.variant), one.rows));
            now.rows.extend(rows);
            now.deadlines.insert(task.task, task.deadlines);
        }
        self.rates.retain(|key, _| now.rows.contains_key(key));
        if !elapsed.is_zero() {
            for (key, &rows) in &now.rows {
                let before = self.before.rows.get(key).copied().unwrap_or_default();
                let since = rows.checked_sub(before).unwrap_or(rows);
                let fresh = since as f64 / elapsed.as_secs_f64();
                let known = self.rates.get(key).copied();
                let rate = known.map_or(fresh, |known| known + (fresh - known) * FRESH);
                self.rates.insert(*key, rate);
            }
        }
        self.before = now;
    }
}
