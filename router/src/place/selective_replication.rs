//! Replicates whoever could stand the smallest burst until memory is full: what AlpaServe compares itself with.
//!
//! A variant of load `a` on `r` executors stands a burst of `r / a` times its rate. The next place goes to the variant
//! for which that is least, on the executor with the least memory in use, ties in turn.

use super::{Oracle, Placement, PlacementEntry, Problem};

pub(super) const ENTRY: PlacementEntry = PlacementEntry {
    name: "selective_replication",
    summary: "the next place always to the variant that stands the smallest burst, where least memory is in use",
    source: "AlpaServe (OSDI'23), its baseline of greedy selective replication",
    solve,
};

fn solve(problem: &Problem, _: &Placement, _: &mut dyn Oracle) -> Placement {
    replicate(problem, Placement::empty(problem.memory.len()))
}

/// Fills the memory that a placement leaves.
pub(super) fn replicate(problem: &Problem, mut placement: Placement) -> Placement {
    let mut replicas: Vec<u32> = vec![0; problem.variants.len()];
    for executor in 0..placement.executors() {
        placement.variants(executor).for_each(|variant| replicas[variant] += 1);
    }
    let mut open: Vec<usize> = (0..problem.variants.len())
        .filter(|&variant| problem.variants[variant].rate > 0.0)
        .collect();
    let mut free: Vec<u64> =
        (0..problem.memory.len()).map(|executor| placement.free(problem, executor)).collect();
    let mut turn = 0;
    loop {
        let stands = |&variant: &usize| {
            f64::from(replicas[variant]) / problem.variants[variant].load().max(f64::MIN_POSITIVE)
        };
        // Of equals the most asked.
        let heavier = |variant: &usize| problem.variants[*variant].load();
        let weakest = open.iter().copied().enumerate().min_by(|(_, one), (_, other)| {
            stands(one).total_cmp(&stands(other)).then(heavier(other).total_cmp(&heavier(one)))
        });
        let Some((index, variant)) = weakest else { return placement };
        let takes = |executor: &usize| {
            !placement.holds(*executor, variant)
                && problem.variants[variant].memory <= free[*executor]
        };
        let used = |executor: usize| problem.memory[executor] - free[executor];
        let least = (0..free.len()).filter(takes).map(used).min();
        let Some(least) = least else {
            open.remove(index);
            continue;
        };
        let emptiest: Vec<usize> =
            (0..free.len()).filter(takes).filter(|&one| used(one) == least).collect();
        let executor = emptiest[turn % emptiest.len()];
        turn += 1;
        placement.insert(executor, variant);
        free[executor] -= problem.variants[variant].memory;
        replicas[variant] += 1;
    }
}
