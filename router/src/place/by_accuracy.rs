//! Follows the selection of variants: load after load, always the one that adds most accurate answers.
//!
//! INFaaS (ATC'21) upgrades, downgrades and replicates variants one rule at a time; Proteus (ASPLOS'24) solves for the
//! variants of most accuracy that carry the demand, and moves all at once. Here every load is one of the three, begins
//! from what is in place, and must add more answers, each counted as often as it is right, over the time for which the
//! demand is believed to stay than are lost while it loads in the place of others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::selective_replication::replicate;
use super::worth::Demands;
use super::{Oracle, Placement, PlacementEntry, Problem};

pub(super) const ENTRY: PlacementEntry = PlacementEntry {
    name: "by_accuracy",
    summary: "load by load whatever adds most answers, each counted as often as it is right, less what is lost while it loads",
    source: "upgrades, downgrades and replicas of INFaaS (ATC'21), valued by accuracy as in Proteus (ASPLOS'24); load costs: ours",
    solve,
};

/// The demand is believed to stay for so many epochs: weights that take longer to load than one still pay.
const STAYS: u32 = 6;

/// What makes room for other weights must gain this share of all that is answered: less is within the error of measured
/// rates, and would move weights to and fro.
const GAIN_MIN: f64 = 0.002;

fn solve(problem: &Problem, previous: &Placement, _: &mut dyn Oracle) -> Placement {
    let search = Search { problem, demands: Demands::of(problem) };
    let mut state = search.state(previous.clone());
    let mut left = problem.moves_max;
    // Each load raises the worth, so that none is made twice; the bound is for rounding.
    let bound = problem.variants.len().saturating_mul(problem.memory.len());
    for _ in 0..bound.min(problem.moves_max) {
        let Some(next) = search.best(&state) else { break };
        state = next;
        left -= 1;
    }
    filled(problem, state.placement, left)
}

/// Memory that is left goes to those who stand the smallest burst, as far as loads are left.
fn filled(problem: &Problem, placement: Placement, loads: usize) -> Placement {
    let full = replicate(problem, placement.clone());
    let mut more: Vec<(f64, usize, usize)> = Vec::new();
    for executor in 0..problem.memory.len() {
        let new = full.variants(executor).filter(|&variant| !placement.holds(executor, variant));
        more.extend(new.map(|variant| {
            let load = problem.variants[variant].load();
            (load / placement.count(variant).max(1) as f64, executor, variant)
        }));
    }
    more.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut filled = placement;
    for (_, executor, variant) in more.into_iter().take(loads) {
        filled.insert(executor, variant);
    }
    filled
}

struct Search<'a> {
    problem: &'a Problem,
    demands: Demands,
}

struct State {
    placement: Placement,
    worth: f64,
}

impl Search<'_> {
    fn state(&self, placement: Placement) -> State {
        let worth = self.demands.worth(&placement, self.problem.variants.len());
        State { placement, worth }
    }

    /// The load that gains most, if any gains enough.
    fn best(&self, from: &State) -> Option<State> {
        let mut seen: BTreeSet<(u64, &BTreeSet<u32>)> = BTreeSet::new();
        let mut best: Option<(f64, State)> = None;
        for executor in 0..self.problem.memory.len() {
            // Executors that hold the same are the same.
            let alike = (self.problem.memory[executor], from.placement.set(executor));
            if !seen.insert(alike) {
                continue;
            }
            for variant in 0..self.problem.variants.len() {
                let Some((gain, next)) = self.load(from, executor, variant) else { continue };
                if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                    best = Some((gain, next));
                }
            }
        }
        best.map(|(_, next)| next)
    }

    /// What one load gains, and where it leads to; `None` if it does not gain enough, or cannot be.
    fn load(&self, from: &State, executor: usize, variant: usize) -> Option<(f64, State)> {
        let problem = self.problem;
        let wanted = &problem.variants[variant];
        if from.placement.holds(executor, variant) || wanted.memory > problem.memory[executor] {
            return None;
        }
        let cleared = self.cleared(from, executor, wanted.memory);
        let room = cleared.as_ref().unwrap_or(from);
        let mut placement = room.placement.clone();
        placement.insert(executor, variant);
        let next = self.state(placement);
        let (stays, load) = (problem.every * STAYS, wanted.load.as_secs_f64());
        let stays =
            if problem.every == Duration::ZERO { f64::INFINITY } else { stays.as_secs_f64() };
        let gain = if stays.is_finite() {
            ((next.worth - from.worth) * (stays - load) - (from.worth - room.worth) * load) / stays
        } else {
            next.worth - from.worth
        };
        let least = match cleared {
            Some(_) => from.worth * GAIN_MIN,
            None => 0.0,
        };
        // More than the rounding of a sum of parts.
        (gain > least + from.worth * 1e-9).then_some((gain, next))
    }

    /// What is left once an executor has let go of what costs least until so many bytes are free; `None` if they are.
    fn cleared(&self, from: &State, executor: usize, bytes: u64) -> Option<State> {
        let mut cleared: Option<State> = None;
        loop {
            let present = cleared.as_ref().unwrap_or(from);
            if present.placement.free(self.problem, executor) >= bytes {
                return cleared;
            }
            let without = |variant: usize| {
                let mut placement = present.placement.clone();
                placement.remove(executor, variant);
                self.state(placement)
            };
            let all = present.placement.variants(executor).map(without);
            let least = all.max_by(|one, other| one.worth.total_cmp(&other.worth));
            cleared =
                Some(least.expect("an executor that holds nothing has room for what it can hold"));
        }
    }
}

#[cfg(test)]
mod tests {
    use models::{ExecutorId, LatencyProfile, VariantId};

    use super::super::{Family, Fluid, Member, Wanted};
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BEST: usize = 0;
    const FAST: usize = 1;

    /// A variant of 10 ms that is right in 90 of 100 cases and fills an executor, and one of 1 ms that is right in 70.
    fn problem(rate: f64, executors: usize) -> Problem {
        let wanted = |memory, run: Duration, rate| Wanted {
            memory,
            load: 100 * MS,
            profile: LatencyProfile::linear(Duration::ZERO, run, 1),
            within: None,
            rate,
        };
        let member = |variant, accuracy, rate| Member { variant, accuracy, rate };
        let members = vec![member(BEST, 0.9, rate), member(FAST, 0.7, 0.0)];
        Problem {
            variants: vec![wanted(6, 10 * MS, rate), wanted(4, MS, 0.0)],
            memory: vec![6; executors],
            moves_max: 1,
            families: vec![Family { members, within: None }],
            every: 10_000 * MS,
            ..Problem::default()
        }
    }

    fn next(problem: &Problem, previous: &Placement) -> Placement {
        ENTRY.solve(problem, previous, &mut Fluid)
    }

    fn of(placement: &Placement, variant: usize) -> usize {
        placement.of(VariantId(u32::try_from(variant).unwrap())).count()
    }

    fn all(problem: &Problem) -> Placement {
        next(
            &Problem { moves_max: usize::MAX, ..problem.clone() },
            &Placement::empty(problem.memory.len()),
        )
    }

    #[test]
    fn a_demand_that_the_best_cannot_carry_downgrades_and_one_that_it_can_upgrades_again() {
        let calm = all(&problem(40.0, 1));
        assert_eq!((of(&calm, BEST), of(&calm, FAST)), (1, 0));
        let busy = next(&problem(400.0, 1), &calm);
        assert_eq!((of(&busy, BEST), of(&busy, FAST)), (0, 1));
        let again = next(&problem(40.0, 1), &busy);
        assert_eq!((of(&again, BEST), of(&again, FAST)), (1, 0));
    }

    #[test]
    fn a_demand_that_one_more_executor_carries_is_replicated() {
        let one = Placement::of_pairs(2, [(ExecutorId(0), VariantId(0))].into_iter());
        let two = next(&problem(120.0, 2), &one);
        assert_eq!((of(&two, BEST), of(&two, FAST)), (2, 0));
    }

    #[test]
    fn as_many_executors_are_downgraded_as_the_demand_needs_one_a_placement() {
        let mut placement = all(&problem(300.0, 4));
        assert_eq!(of(&placement, BEST), 4);
        // Three of the best carry 240/s; with one of the fast ones in place of the fourth it is 1040.
        let busy = problem(700.0, 4);
        placement = next(&busy, &placement);
        assert_eq!((of(&placement, BEST), of(&placement, FAST)), (3, 1));
        assert_eq!(next(&busy, &placement), placement);
    }

    #[test]
    fn an_upgrade_that_takes_longer_to_load_than_the_demand_stays_is_not_made() {
        let mut slow = problem(40.0, 1);
        let fast = Placement::of_pairs(1, [(ExecutorId(0), VariantId(1))].into_iter());
        assert_eq!(of(&next(&slow, &fast), BEST), 1);
        slow.variants[BEST].load = 30_000 * MS;
        assert_eq!(next(&slow, &fast), fast);
    }

    #[test]
    fn a_gain_within_the_error_of_the_rates_moves_nothing() {
        let mut close = problem(40.0, 1);
        close.families[0].members[FAST].accuracy = 0.899;
        let fast = Placement::of_pairs(1, [(ExecutorId(0), VariantId(1))].into_iter());
        assert_eq!(next(&close, &fast), fast);
    }

    #[test]
    fn an_answer_better_than_the_one_wished_for_is_worth_no_more() {
        let mut thrifty = problem(40.0, 1);
        thrifty.families[0].members[BEST].rate = 0.0;
        thrifty.families[0].members[FAST].rate = 40.0;
        thrifty.variants[BEST].rate = 0.0;
        thrifty.variants[FAST].rate = 40.0;
        let fast = Placement::of_pairs(1, [(ExecutorId(0), VariantId(1))].into_iter());
        assert_eq!(next(&thrifty, &fast), fast);
    }
}
