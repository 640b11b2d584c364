//! Asks an oracle again and again who is served worst, and gives that variant a place where least is going on.
//!
//! AlpaServe's simulator-guided greedy in its fast form: one question a round in place of one for every pair of variant
//! and executor, of which the authors say that it reaches 98 % of the slow form's attainment. With a beam several placements are followed
//! at once, and the best of their successors kept, as in AlpaServe's search. The best placement of
//! all that were asked about is the answer, with the memory that it leaves filled as selective replication does.

use super::selective_replication::replicate;
use super::{Foresight, Oracle, Placement, PlacementEntry, Problem, once_each};

pub(super) const ENTRY: PlacementEntry = PlacementEntry {
    name: "greedy",
    summary: "the next place always to the variant that is foreseen to be served worst, on the executor foreseen to be least busy",
    source: "AlpaServe (OSDI'23), the simulator-guided greedy in its fast form; rounds of several places: ours",
    solve,
};

/// Questions of one solution: in large problems a round gives more than one place.
const ROUNDS_MAX: usize = 96;
/// Less is lost than would be worth a place: a thousandth of what goodput forgives.
const ENOUGH: f64 = 1.0 - 1e-5;

/// A placement, and what is foreseen of it.
type Seen = (Placement, Foresight);

fn solve(problem: &Problem, _: &Placement, oracle: &mut dyn Oracle) -> Placement {
    let start = once_each(problem);
    let per_round = room(problem, &start).div_ceil(ROUNDS_MAX).max(1);
    let foresight = oracle.foresee(problem, &start);
    let mut beam: Vec<Seen> = vec![(start, foresight)];
    let mut best = beam[0].clone();
    while best.1.attainment < ENOUGH {
        beam = children(problem, &beam, per_round, oracle);
        let Some(first) = beam.first() else { break };
        if first.1.attainment > best.1.attainment {
            best = first.clone();
        }
    }
    // What the oracle did not see may come: memory that is left goes to those who stand the smallest burst.
    replicate(problem, best.0)
}

/// The placements one round on, as many as the beam is wide, the best first. Each of the beam is followed by those that
/// begin with who is served worst, second worst and so on.
fn children(
    problem: &Problem,
    beam: &[Seen],
    per_round: usize,
    oracle: &mut dyn Oracle,
) -> Vec<Seen> {
    let width = problem.beam.max(1);
    let mut children: Vec<Seen> = Vec::new();
    for (placement, seen) in beam {
        for passed_over in 0..width {
            let mut child = placement.clone();
            let given = grow(problem, &mut child, seen, (passed_over, per_round));
            if given > 0 && children.iter().all(|(known, _)| *known != child) {
                let foresight = oracle.foresee(problem, &child);
                children.push((child, foresight));
            }
        }
    }
    children.sort_by(|one, other| other.1.attainment.total_cmp(&one.1.attainment));
    children.truncate(width);
    children
}

/// How many places of the smallest variant are free at most.
fn room(problem: &Problem, placement: &Placement) -> usize {
    let smallest = problem.variants.iter().map(|wanted| wanted.memory.max(1)).min().unwrap_or(1);
    let of = |executor: usize| {
        let places = placement.free(problem, executor) / smallest;
        usize::try_from(places).unwrap_or(usize::MAX).min(problem.variants.len())
    };
    (0..problem.memory.len()).map(of).sum()
}

/// Gives up to so many places to those who are served worst, but for so many that are passed over; returns how many.
fn grow(
    problem: &Problem,
    placement: &mut Placement,
    seen: &Foresight,
    (passed_over, places): (usize, usize),
) -> usize {
    let mut worst: Vec<usize> = (0..problem.variants.len()).collect();
    worst.retain(|&variant| seen.unserved[variant] > 0.0);
    worst.sort_by(|&one, &other| seen.unserved[other].total_cmp(&seen.unserved[one]));
    let mut busy = seen.busy.clone();
    let mut given = 0;
    for variant in worst.into_iter().skip(passed_over) {
        let takes = |&executor: &usize| placement.takes(problem, executor, variant);
        let idlest = (0..problem.memory.len()).filter(takes).min_by(|&one, &other| {
            let free = |executor: usize| placement.free(problem, executor);
            busy[one].total_cmp(&busy[other]).then(free(other).cmp(&free(one)))
        });
        let Some(executor) = idlest else { continue };
        placement.insert(executor, variant);
        let wanted = &problem.variants[variant];
        // The next of this round should not all go to the same executor.
        busy[executor] += wanted.load() / placement.count(variant) as f64;
        given += 1;
        if given == places {
            break;
        }
    }
    given
}
