//! Weights in a simulated world: where models are at the beginning, what moves later, and how long that takes.

use std::collections::BTreeSet;
use std::time::Duration;

use batcher::Instant;
use models::{ExecutorId, VariantId};
use rand::RngExt;
use router::place::{
    Epochs, Family, Fluid, Foresight, Member, Placement, PlacementEntry, Problem, Wanted,
};
use router::{Event, Weights};

use super::{Happening, Model, World, variant};
use crate::scenario::Demand;
use crate::{CopyIn, PlacementSpec, Scenario, ScenarioError, Violation};

/// Bytes of a megabyte.
const MB: f64 = 1e6;

/// Which weights are where, and what is known of the demand.
pub(super) struct Places {
    spec: PlacementSpec,
    entry: Option<&'static PlacementEntry>,
    /// As decided last.
    current: Placement,
    problem: Problem,
    /// By executor: what its memory holds, counted from outside the router.
    present: Vec<BTreeSet<VariantId>>,
    /// By executor: when what it was asked to load before is in place.
    link_free: Vec<Instant>,
    copies: Vec<Option<CopyIn>>,
    /// By epoch and model, the requests to come; empty without foresight.
    to_come: Vec<Vec<u32>>,
    /// By model, the requests since the last epoch.
    since: Vec<u32>,
    /// Decides from what the router counted, where requests ask for tasks.
    epochs: Option<Epochs>,
    epoch: usize,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: 0 or more")]
fn bytes(mb: f64) -> u64 {
    (mb * MB) as u64
}

impl Places {
    /// Decides where everything is at the beginning, unless that is given.
    pub(super) fn new(
        scenario: &Scenario,
        models: &[Model],
        rates: &[f64],
        given: Option<&Placement>,
    ) -> Result<Option<Self>, ScenarioError> {
        let Some(spec) = scenario.placement.clone() else { return Ok(None) };
        let entry = spec.entry().map_err(ScenarioError::Policy)?;
        let specs = || {
            let all = scenario.executors.iter();
            all.flat_map(|spec| std::iter::repeat_n(spec, spec.count as usize))
        };
        let memory = specs().map(|spec| spec.memory_mb.map_or(u64::MAX, bytes)).collect();
        let copies: Vec<_> =
            specs().map(|spec| spec.copy.filter(|_| !spec_is_free(scenario))).collect();
        let copy = copies.first().copied().flatten();
        let problem = Problem {
            variants: models
                .iter()
                .zip(rates)
                .map(|(model, &rate)| wanted(model, copy, rate))
                .collect(),
            memory,
            moves_max: usize::MAX,
            families: Vec::new(),
            every: spec.every.unwrap_or_default(),
            beam: spec.beam as usize,
        };
        let problem = with_families(problem, models);
        let executors = problem.memory.len();
        if spec.foresight && !problem.families.is_empty() {
            let reason = "placement.foresight knows nothing of tasks";
            return Err(ScenarioError::Whole(reason.to_owned()));
        }
        let epochs = entry.zip(spec.every).filter(|_| !problem.families.is_empty());
        let epochs = epochs.map(|(entry, every)| {
            let moves_max = spec.moves_max.unwrap_or(usize::MAX);
            Epochs::new(entry, problem.memory.clone(), every, moves_max)
        });
        let mut places = Self {
            to_come: if spec.foresight { scenario.epochs(spec.every)? } else { Vec::new() },
            current: Placement::empty(executors),
            present: vec![BTreeSet::new(); executors],
            link_free: vec![Instant::ZERO; executors],
            since: vec![0; models.len()],
            epochs,
            spec,
            entry,
            problem,
            copies,
            epoch: 0,
        };
        places.current = match given {
            Some(given) => given.clone(),
            None => places.first(scenario),
        };
        Ok(Some(places))
    }

    fn first(&self, scenario: &Scenario) -> Placement {
        let Some(entry) = self.entry else { return self.current.clone() };
        let rates = self.to_come.first().and_then(|to_come| self.rates(to_come));
        let problem = rates.map_or_else(|| self.problem.clone(), |rates| self.with(&rates));
        let mut trial = scenario.clone();
        trial.seed = !scenario.seed;
        trial.warmup = Duration::ZERO;
        trial.duration =
            self.spec.trial.map_or(scenario.duration, |trial| trial.min(scenario.duration));
        let still =
            PlacementSpec { every: None, foresight: false, on_demand: false, ..self.spec.clone() };
        trial.placement = Some(still);
        let mut oracle =
            |problem: &Problem, placement: &Placement| foresee(&trial, problem, placement);
        entry.solve(&problem, &self.current, &mut oracle)
    }

    /// Requests a second, of requests in an epoch.
    fn rates(&self, counts: &[u32]) -> Option<Vec<f64>> {
        let every = self.spec.every?.as_secs_f64();
        Some(counts.iter().map(|&count| f64::from(count) / every).collect())
    }

    /// The same problem at other rates.
    fn with(&self, rates: &[f64]) -> Problem {
        let mut problem = self.problem.clone();
        problem.moves_max = self.spec.moves_max.unwrap_or(usize::MAX);
        let variants = problem.variants.iter_mut().zip(rates);
        variants.for_each(|(variant, &rate)| variant.rate = rate);
        problem
    }

    /// Where a model is at the beginning.
    pub(super) fn at_first(&self, model: usize) -> Vec<ExecutorId> {
        self.current.of(variant(model)).collect()
    }

    pub(super) fn ask(&mut self, model: usize) {
        self.since[model] += 1;
    }

    fn used(&self, executor: ExecutorId) -> u64 {
        let present = self.present[executor.index()].iter();
        present.map(|id| self.problem.variants[id.index()].memory).sum()
    }
}

/// Whether loads take no time.
fn spec_is_free(scenario: &Scenario) -> bool {
    scenario.placement.as_ref().is_some_and(|placement| placement.free)
}

/// How long an executor needs to load a model.
fn load_time(copy: Option<CopyIn>, model: &Model) -> Duration {
    copy.map_or(Duration::ZERO, |copy| copy.base + copy.time(model.spec.weights_mb))
}

/// The same problem, in which the requests of a task all wish for its most accurate model.
fn with_families(mut problem: Problem, models: &[Model]) -> Problem {
    let mut families: Vec<(&str, Family)> = Vec::new();
    for (variant, model) in models.iter().enumerate() {
        let Some(answers) = &model.spec.answers else { continue };
        let rate = std::mem::take(&mut problem.variants[variant].rate);
        let member = Member { variant, accuracy: answers.accuracy.into(), rate };
        match families.iter_mut().find(|(task, _)| *task == answers.task) {
            Some((_, family)) => family.members.push(member),
            None => {
                let family = Family { members: vec![member], within: model.spec.slo };
                families.push((&answers.task, family));
            }
        }
    }
    problem.families = families.into_iter().map(|(_, family)| family).collect();
    for family in &mut problem.families {
        family.members.sort_by(|one, other| other.accuracy.total_cmp(&one.accuracy));
        let all = family.members.iter_mut().map(|member| std::mem::take(&mut member.rate)).sum();
        family.members[0].rate = all;
        problem.variants[family.members[0].variant].rate = all;
    }
    problem
}

fn wanted(model: &Model, copy: Option<CopyIn>, rate: f64) -> Wanted {
    let rows = f64::from(1 + model.spec.rows_max) / 2.0;
    Wanted {
        memory: bytes(model.spec.weights_mb),
        load: load_time(copy, model),
        profile: model.profile.clone(),
        within: model.spec.slo,
        rate: rate * rows,
    }
}

/// Runs the world with that placement.
fn foresee(trial: &Scenario, problem: &Problem, placement: &Placement) -> Foresight {
    let world = World::placed(trial, Some(placement)).map(World::unchecked);
    let world = world.expect("a scenario that was accepted makes a world");
    let (report, _) = world.run().expect("a world that is not checked ends without violation");
    let lost = |model: &crate::ModelReport| {
        model.offered.saturating_sub(model.in_time + model.cancelled) as f64
    };
    let share = |busy: &Duration| busy.as_secs_f64() / report.duration.as_secs_f64();
    Foresight {
        attainment: report.attainment(),
        unserved: report.models.iter().map(lost).collect(),
        busy: (0..problem.memory.len())
            .map(|executor| report.busy_by_executor.get(executor).map_or(0.0, share))
            .collect(),
    }
}

impl Scenario {
    /// By epoch and model, how many requests arrive.
    ///
    /// # Errors
    /// Where the scenario makes no sense.
    pub fn epochs(&self, every: Option<Duration>) -> Result<Vec<Vec<u32>>, ScenarioError> {
        let Some(every) = every else { return Ok(Vec::new()) };
        let demands = self.demands()?;
        let until = Instant::ZERO + self.duration;
        let epochs = self.duration.as_nanos().div_ceil(every.as_nanos());
        let epochs = usize::try_from(epochs).unwrap_or(usize::MAX);
        let mut counts = vec![vec![0; demands.len()]; epochs];
        for (model, Demand { arrivals, .. }) in demands.into_iter().enumerate() {
            let times = arrivals.map(Instant::from_nanos).take_while(|&at| at < until);
            for at in times {
                let epoch = at.since(Instant::ZERO).as_nanos() / every.as_nanos();
                counts[usize::try_from(epoch).unwrap_or(epochs - 1)][model] += 1;
            }
        }
        Ok(counts)
    }
}

impl World {
    /// States the memory of an executor whose weights the router moves; its memory holds what is there at the
    /// beginning.
    pub(super) fn state_memory(&mut self, executor: ExecutorId) -> Result<(), Violation> {
        let Some(places) = self.places.as_mut().filter(|places| places.spec.moves()) else {
            return Ok(());
        };
        let bytes = places.problem.memory[executor.index()];
        let on_demand = places.spec.on_demand;
        self.feed(Event::MemoryStated { executor, bytes, on_demand })
    }

    /// Notes what is in place before anything happens, and when that changes first.
    pub(super) fn begin_places(&mut self) {
        let Some(places) = &mut self.places else { return };
        for (index, present) in places.present.iter_mut().enumerate() {
            let executor = ExecutorId(u32::try_from(index).expect("executors are counted in u32"));
            present.extend(places.current.on(executor));
        }
        if let Some(every) = places.spec.every {
            self.push(Instant::ZERO + every, Happening::Epoch);
        }
    }

    /// What it takes to bring a model's weights to an executor, if that is the router's affair.
    pub(super) fn weights_of(&self, model: usize) -> Option<Weights> {
        let places = self.places.as_ref().filter(|places| places.spec.moves())?;
        let bytes = places.problem.variants[model].memory;
        // All executors of a scenario that move weights are believed to load as the first does.
        let copy = places.copies.first().copied().flatten();
        Some(Weights { bytes, load: load_time(copy, &self.models[model]) })
    }

    /// Decides again where everything should be.
    pub(super) fn epoch(&mut self) -> Result<(), Violation> {
        let Some(places) = &mut self.places else { return Ok(()) };
        places.epoch += 1;
        if let Some((epochs, every)) = places.epochs.as_mut().zip(places.spec.every) {
            let placement = epochs.next(&self.router.demand(), &self.router.present(), every);
            return self.decided(placement);
        }
        let counts = match places.to_come.get(places.epoch) {
            Some(to_come) => to_come.clone(),
            None => places.since.clone(),
        };
        places.since.fill(0);
        let (Some(entry), Some(rates)) = (places.entry, places.rates(&counts)) else {
            return Ok(());
        };
        let problem = places.with(&rates);
        let placement = entry.solve(&problem, &places.current, &mut Fluid);
        self.decided(placement)
    }

    /// Follows a placement, and plans the next.
    fn decided(&mut self, placement: Placement) -> Result<(), Violation> {
        let (now, until) = (self.now, self.until);
        let Some(places) = &mut self.places else { return Ok(()) };
        places.current = placement.clone();
        if let Some(every) = places.spec.every.filter(|&every| now + every < until) {
            self.push(now + every, Happening::Epoch);
        }
        self.feed(Event::PlacementDecided { placement })
    }

    /// Weights are on their way.
    pub(super) fn load(&mut self, executor: ExecutorId, id: VariantId) -> Result<(), Violation> {
        let weights = self.weights_of(id.index());
        let (Some(places), Some(weights)) = (&mut self.places, weights) else {
            return Err(self.violation("weights were asked for that never move"));
        };
        let new = places.present[executor.index()].insert(id);
        if !new || places.used(executor) > places.problem.memory[executor.index()] {
            return Err(self.violation("an executor was asked to load what it has or cannot hold"));
        }
        let copy = places.copies[executor.index()];
        let takes = load_time(copy, &self.models[id.index()]).min(weights.load);
        let link = &mut places.link_free[executor.index()];
        *link = (*link).max(self.now) + takes;
        let at = *link;
        self.report.loads += 1;
        let state = &self.executors[executor.index()];
        let (life, share) = (state.life, state.load_failure_share());
        let fails = share > 0.0 && self.rng.random::<f64>() < share;
        self.push(at, Happening::Loaded { executor, life, variant: id, fails });
        Ok(())
    }

    pub(super) fn loaded(
        &mut self,
        executor: ExecutorId,
        life: u32,
        (variant, fails): (VariantId, bool),
    ) -> Result<(), Violation> {
        if self.executors[executor.index()].life != life {
            return Ok(());
        }
        if fails {
            if let Some(places) = &mut self.places {
                places.present[executor.index()].remove(&variant);
            }
            return self.feed(Event::WeightsFailed { executor, variant });
        }
        self.feed(Event::WeightsLoaded { executor, variant })
    }

    pub(super) fn evict(&mut self, executor: ExecutorId, id: VariantId) -> Result<(), Violation> {
        let held = self.executors[executor.index()].held.iter();
        let mut models = held.filter_map(|(batch, _)| self.held.get(batch.0));
        let used = models.any(|held| held.model == id.index());
        let places = self.places.as_mut();
        let there = places.is_some_and(|places| places.present[executor.index()].remove(&id));
        if used || !there {
            return Err(self.violation("weights were let go that were in use, or not there"));
        }
        Ok(())
    }

    /// A batch may only run where its weights are.
    pub(super) fn check_place(&self, executor: ExecutorId, id: VariantId) -> Result<(), Violation> {
        let absent = |places: &Places| !places.present[executor.index()].contains(&id);
        if self.places.as_ref().is_some_and(absent) {
            return Err(self.violation("a batch was launched where its weights are not"));
        }
        Ok(())
    }

    /// An executor is gone with what its memory held.
    pub(super) fn lose_weights(&mut self, executor: ExecutorId) {
        if let Some(places) = &mut self.places {
            places.present[executor.index()].clear();
            places.link_free[executor.index()] = Instant::ZERO;
        }
    }

    /// An executor is back: its memory is stated and filled again.
    pub(super) fn restore_weights(&mut self, executor: ExecutorId) -> Result<(), Violation> {
        self.state_memory(executor)?;
        let Some(places) = &mut self.places else { return Ok(()) };
        if places.spec.moves() {
            if places.entry.is_none() {
                return Ok(());
            }
            let placement = places.current.clone();
            return self.feed(Event::PlacementDecided { placement });
        }
        let there: Vec<_> = places.current.on(executor).collect();
        places.present[executor.index()].extend(there.iter().copied());
        for id in there {
            let spec = Box::new(self.variant_spec(id.index(), vec![executor]));
            self.feed(Event::VariantLoaded { spec })?;
        }
        Ok(())
    }
}
