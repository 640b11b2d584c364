//! Which variants are on which executors? One policy, one file, one row in [`PLACEMENTS`].
//!
//! The slow path: solved once for an epoch, from measured demand, as a pure function. Whoever can foresee what a
//! placement would do, as the simulator can, is asked through [`Oracle`].

mod all_everywhere;
mod bin_pack;
mod by_accuracy;
mod by_rate;
#[cfg(test)]
mod cases;
mod epochs;
mod fluid;
mod greedy;
mod moves;
mod plan;
mod selective_replication;
mod worth;

use std::time::Duration;

use models::LatencyProfile;

pub use epochs::Epochs;
pub use fluid::Fluid;
pub use plan::Placement;

/// A variant that wants a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Bytes of its weights.
    pub memory: u64,
    /// How long an executor needs to load them.
    pub load: Duration,
    /// What a run takes.
    pub profile: LatencyProfile,
    /// Within which time answers are wanted, if that is known.
    pub within: Option<Duration>,
    /// Rows that are asked for in a second, by its own name and as the one wished for of a task.
    pub rate: f64,
}

impl Wanted {
    /// Executors that it keeps busy with rows run alone: what the papers plan with, and an upper bound.
    #[must_use]
    pub fn load(&self) -> f64 {
        self.rate * self.profile.median(1).as_secs_f64()
    }
}

/// What is to be placed, and where there is room. Variants and executors are numbered densely.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// By variant.
    pub variants: Vec<Wanted>,
    /// By executor, the bytes of weights that it holds.
    pub memory: Vec<u64>,
    /// The most weights that are loaded to get from the previous placement to the next; what is in place already is
    /// free, and so is letting go.
    pub moves_max: usize,
    /// Variants that can answer the same requests.
    pub families: Vec<Family>,
    /// Until the next placement; zero where there is none.
    pub every: Duration,
    /// How many placements a policy that searches follows at once; 0 is 1.
    pub beam: usize,
}

/// The variants of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The most accurate first.
    pub members: Vec<Member>,
    /// Within which time answers are wanted, if that is known.
    pub within: Option<Duration>,
}

/// A variant of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Which variant of the problem.
    pub variant: usize,
    /// How often it is right.
    pub accuracy: f64,
    /// Rows a second that it would answer if all variants were in place and idle. Counted in [`Wanted::rate`] too.
    pub rate: f64,
}

/// What a placement would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Foresight {
    /// The share of requests answered in time.
    pub attainment: f64,
    /// By variant, requests (or a measure of them) not answered in time.
    pub unserved: Vec<f64>,
    /// By executor, the share of time that it is busy.
    pub busy: Vec<f64>,
}

/// Foresees what a placement would do.
pub trait Oracle {
    /// Of one placement; equal placements get equal answers.
    fn foresee(&mut self, problem: &Problem, placement: &Placement) -> Foresight;
}

impl<F: FnMut(&Problem, &Placement) -> Foresight> Oracle for F {
    fn foresee(&mut self, problem: &Problem, placement: &Placement) -> Foresight {
        self(problem, placement)
    }
}

/// One row of the table of placement policies.
#[derive(Clone, Copy)]
pub struct PlacementEntry {
    /// The name in settings.
    pub name: &'static str,
    /// Who goes where, in a sentence.
    pub summary: &'static str,
    /// Whose idea it is.
    pub source: &'static str,
    solve: fn(&Problem, &Placement, &mut dyn Oracle) -> Placement,
}

impl std::fmt::Debug for PlacementEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlacementEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every placement policy; the first is the default.
pub const PLACEMENTS: [PlacementEntry; 6] = [
    all_everywhere::ENTRY,
    selective_replication::ENTRY,
    bin_pack::ENTRY,
    by_rate::ENTRY,
    greedy::ENTRY,
    by_accuracy::ENTRY,
];

impl PlacementEntry {
    /// The next placement: what the policy wants, as near to it as the moves from the previous one go.
    #[must_use]
    pub fn solve(
        &self,
        problem: &Problem,
        previous: &Placement,
        oracle: &mut dyn Oracle,
    ) -> Placement {
        let wanted = (self.solve)(problem, &previous.within(problem), oracle);
        debug_assert!(wanted.fits(problem), "{} fills executors too far", self.name);
        moves::towards(problem, previous, &wanted)
    }
}

/// Gives every variant that has demand its first place, where most memory is free: the largest first, for they are the
/// hardest to find room for.
fn once_each(problem: &Problem) -> Placement {
    let mut placement = Placement::empty(problem.memory.len());
    let mut order: Vec<usize> = (0..problem.variants.len()).collect();
    order.retain(|&variant| problem.variants[variant].rate > 0.0);
    order.sort_by_key(|&variant| std::cmp::Reverse(problem.variants[variant].memory));
    for variant in order {
        let roomy = (0..problem.memory.len())
            .filter(|&executor| placement.takes(problem, executor, variant))
            .max_by_key(|&executor| {
                (placement.free(problem, executor), std::cmp::Reverse(executor))
            });
        if let Some(executor) = roomy {
            placement.insert(executor, variant);
        }
    }
    placement
}
