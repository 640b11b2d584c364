//! As many replicas as a variant's share of all load is of all executors, on the executors with least load.

use super::bin_pack::everyone_placed;
use super::{Oracle, Placement, PlacementEntry, Problem};

pub(super) const ENTRY: PlacementEntry = PlacementEntry {
    name: "by_rate",
    summary: "replicas in proportion to a variant's share of the load, at least one, each where least load is",
    source: "rate-proportional replication, the baseline",
    solve,
};

fn solve(problem: &Problem, _: &Placement, _: &mut dyn Oracle) -> Placement {
    let executors = problem.memory.len();
    let total: f64 = problem.variants.iter().map(super::Wanted::load).sum();
    let mut order: Vec<(f64, usize)> = Vec::new();
    for (variant, wanted) in problem.variants.iter().enumerate().filter(|(_, one)| one.rate > 0.0) {
        let count = share_of(executors, wanted.load() / total);
        order.extend(std::iter::repeat_n(
            (wanted.load() / f64::from(count), variant),
            count as usize,
        ));
    }
    order.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut placement = Placement::empty(executors);
    let mut busy = vec![0.0_f64; executors];
    for (load, variant) in order {
        let takes = |&executor: &usize| placement.takes(problem, executor, variant);
        let idlest = (0..executors).filter(takes).min_by(|&one, &other| {
            let free = |executor: usize| placement.free(problem, executor);
            busy[one].total_cmp(&busy[other]).then(free(other).cmp(&free(one)))
        });
        if let Some(executor) = idlest {
            placement.insert(executor, variant);
            busy[executor] += load;
        }
    }
    everyone_placed(problem, placement)
}

/// That share of so many executors, in whole ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most the executors"
)]
fn share_of(executors: usize, share: f64) -> u32 {
    let count = u32::try_from(executors).expect("fewer executors than a u32 counts");
    ((f64::from(count) * share).round() as u32).clamp(1, count.max(1))
}
