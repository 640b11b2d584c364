//! From one placement towards another with a bounded number of loads.

use super::{Placement, Problem};

/// The wanted placement if that takes no more than the allowed loads, else the previous one with the most valuable of
/// them done. What is asked for and has a place keeps one.
pub(super) fn towards(problem: &Problem, previous: &Placement, wanted: &Placement) -> Placement {
    let mut current = previous.within(problem);
    let other = renumbered(problem, &current, wanted);
    let as_is = wanted.loads_from(&current) < other.loads_from(&current);
    let wanted = if as_is { wanted.clone() } else { other };
    if wanted.loads_from(&current) <= problem.moves_max {
        return wanted;
    }
    let mut left = problem.moves_max;
    let mut loads = missing(problem, &current, &wanted);
    while left > 0 {
        let done = loads.iter().position(|&(executor, variant)| {
            make_room(problem, &mut current, &wanted, (executor, variant))
        });
        let Some(done) = done else { break };
        let (executor, variant) = loads.remove(done);
        current.insert(executor, variant);
        left -= 1;
    }
    current
}

/// Equal executors are interchangeable: the wanted placement with their numbers dealt so that most stays where it is.
fn renumbered(problem: &Problem, current: &Placement, wanted: &Placement) -> Placement {
    let executors = problem.memory.len();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for here in 0..executors {
        for there in (0..executors).filter(|&there| problem.memory[there] == problem.memory[here]) {
            let shared = current.shared(here, wanted.set(there), problem);
            pairs.extend((shared > 0).then_some((shared, here, there)));
        }
    }
    pairs.sort_by_key(|&(shared, here, there)| (std::cmp::Reverse(shared), here, there));
    let (mut from, mut taken) = (vec![usize::MAX; executors], vec![false; executors]);
    for (_, here, there) in pairs {
        if from[here] == usize::MAX && !taken[there] {
            (from[here], taken[there]) = (there, true);
        }
    }
    let unmatched = from.iter_mut().enumerate().filter(|(_, there)| **there == usize::MAX);
    for (here, from) in unmatched {
        let same = |there: &usize| problem.memory[*there] == problem.memory[here];
        let rest = (0..executors).find(|there| !taken[*there] && same(there));
        let there = rest.expect("equal executors are as many here as there");
        (*from, taken[there]) = (there, true);
    }
    wanted.reordered(&from)
}

/// What is wanted and not there: who has no place at all first, then the most load for each place it has.
fn missing(problem: &Problem, current: &Placement, wanted: &Placement) -> Vec<(usize, usize)> {
    let mut missing: Vec<(f64, usize, usize)> = Vec::new();
    for executor in 0..problem.memory.len() {
        for variant in wanted.variants(executor).filter(|&one| !current.holds(executor, one)) {
            let load = problem.variants[variant].load();
            let value = match current.count(variant) {
                0 => f64::INFINITY,
                count => load / count as f64,
            };
            missing.push((value, executor, variant));
        }
    }
    missing.sort_by(|one, other| other.0.total_cmp(&one.0));
    missing.into_iter().map(|(_, executor, variant)| (executor, variant)).collect()
}

/// Lets go on that executor what is not wanted there until the variant fits; false, and nothing is let go, if it cannot.
fn make_room(
    problem: &Problem,
    current: &mut Placement,
    wanted: &Placement,
    (executor, variant): (usize, usize),
) -> bool {
    let needed = |one: usize| problem.variants[one].rate > 0.0 && current.count(one) == 1;
    let mut unwanted: Vec<usize> = current.variants(executor).collect();
    unwanted.retain(|&one| !wanted.holds(executor, one) && !needed(one));
    unwanted.sort_by(|&one, &other| {
        problem.variants[one].load().total_cmp(&problem.variants[other].load())
    });
    let mut trial = current.clone();
    let mut unwanted = unwanted.into_iter();
    while !trial.takes(problem, executor, variant) {
        let Some(one) = unwanted.next() else { return false };
        trial.remove(executor, one);
    }
    *current = trial;
    true
}
