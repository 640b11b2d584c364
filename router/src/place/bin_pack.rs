//! Packs variants onto as few executors as their memory and their run time need, so that the others can sleep.
//!
//! First fit decreasing in two dimensions. A variant of more load than one executor carries is cut into equal parts.

use super::fluid::loads;
use super::{Oracle, Placement, PlacementEntry, Problem, once_each};

pub(super) const ENTRY: PlacementEntry = PlacementEntry {
    name: "bin_pack",
    summary: "the heaviest first, each on the first executor that has the memory and the time for it",
    source: "first fit decreasing; Nexus (SOSP'19) packs by run time likewise",
    solve,
};

/// Executors are planned to be busy for this share of time: with more, random arrivals make queues that grow without
/// bound (at 0.8 a queue of random arrivals and even service holds two on average).
pub(super) const BUSY_MAX: f64 = 0.8;

fn solve(problem: &Problem, _: &Placement, _: &mut dyn Oracle) -> Placement {
    let mut parts: Vec<(f64, usize)> = Vec::new();
    for (variant, wanted) in problem.variants.iter().enumerate() {
        let load = wanted.load();
        if wanted.rate > 0.0 {
            let count = pieces(load).min(problem.memory.len());
            parts.extend(std::iter::repeat_n((load / count.max(1) as f64, variant), count));
        }
    }
    parts.sort_by(|one, other| {
        let memory = |part: &(f64, usize)| problem.variants[part.1].memory;
        other.0.total_cmp(&one.0).then(memory(other).cmp(&memory(one))).then(one.1.cmp(&other.1))
    });
    let mut placement = Placement::empty(problem.memory.len());
    let mut busy = vec![0.0_f64; problem.memory.len()];
    for (load, variant) in parts {
        let takes = |&executor: &usize| placement.takes(problem, executor, variant);
        let fits = |executor: &usize| busy[*executor] + load <= BUSY_MAX;
        let all = || (0..problem.memory.len()).filter(takes);
        let idlest = || all().min_by(|&one, &other| busy[one].total_cmp(&busy[other]));
        if let Some(executor) = all().find(fits).or_else(idlest) {
            placement.insert(executor, variant);
            busy[executor] += load;
        }
    }
    everyone_placed(problem, placement)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn pieces(load: f64) -> usize {
    (load / BUSY_MAX).ceil().max(1.0) as usize
}

/// Replicas of the heavy may have taken the room of others' only place: then those are cut back.
pub(super) fn everyone_placed(problem: &Problem, mut placement: Placement) -> Placement {
    let asked = |variant: &usize| problem.variants[*variant].rate > 0.0;
    let variants = || (0..problem.variants.len()).filter(asked);
    let missing: Vec<usize> = variants().filter(|&one| placement.count(one) == 0).collect();
    for variant in missing {
        let busy = loads(problem, &placement);
        let mut executors: Vec<usize> = (0..problem.memory.len()).collect();
        executors.sort_by(|&one, &other| busy[one].total_cmp(&busy[other]));
        for executor in executors {
            let spare: Vec<usize> =
                placement.variants(executor).filter(|&one| placement.count(one) > 1).collect();
            let mut trial = placement.clone();
            let mut spare = spare.into_iter();
            while !trial.takes(problem, executor, variant) {
                let Some(one) = spare.next() else { break };
                trial.remove(executor, one);
            }
            if trial.takes(problem, executor, variant) {
                trial.insert(executor, variant);
                placement = trial;
                break;
            }
        }
    }
    let unplaced = variants().filter(|&one| placement.count(one) == 0).count();
    if unplaced == 0 {
        return placement;
    }
    // Where even so not all have a place, the packing that looks for places first may find more of them.
    let other = once_each(problem);
    let others = variants().filter(|&one| other.count(one) == 0).count();
    if others < unplaced { other } else { placement }
}
