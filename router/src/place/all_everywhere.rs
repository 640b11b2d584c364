//! Every variant on every executor, as long as there is room: the baseline where memory is plenty.

use std::cmp::Reverse;

use super::{Oracle, Placement, PlacementEntry, Problem, once_each};

pub(super) const ENTRY: PlacementEntry = PlacementEntry {
    name: "all_everywhere",
    summary: "every variant on every executor; where memory is short each once, then the most asked",
    source: "full replication, the baseline",
    solve,
};

fn solve(problem: &Problem, _: &Placement, _: &mut dyn Oracle) -> Placement {
    let mut placement = once_each(problem);
    let mut order: Vec<usize> = (0..problem.variants.len()).collect();
    order.sort_by(|&one, &other| {
        problem.variants[other].rate.total_cmp(&problem.variants[one].rate)
    });
    for variant in order {
        let mut executors: Vec<usize> = (0..problem.memory.len()).collect();
        executors.sort_by_key(|&executor| Reverse(placement.free(problem, executor)));
        for executor in executors {
            if placement.takes(problem, executor, variant) {
                placement.insert(executor, variant);
            }
        }
    }
    placement
}
