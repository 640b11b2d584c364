//! Draws among the variants in time, those whose answers clients found good the more often.
//!
//! Clipper (NSDI'17) chooses one model for each request by Exp3, from the losses that clients report; the paper's Exp3
//! never forgets, ours follows a variant that becomes bad (`router/src/select/hedge.rs`). The accuracy claimed of a
//! variant is what is expected of it at first. Without feedback it draws by chance alone.

use models::VariantId;
use rand_pcg::Pcg64Mcg;

use super::hedge::{self, Stake};
use super::{Ask, Because, Draw, Prospect, Select, SelectEntry, Verdict, keep_sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "exp3",
    summary: "one drawn among those predicted to be in time, the likelier the less loss clients report of its answers; else the one predicted to answer first",
    source: "Exp3 in Clipper (NSDI'17), as Exp3.S (Auer et al. 2002) with implicit exploration (Neu 2015) and expected losses (Dudik et al. 2011)",
    because: Because::Drawn,
    build: || Box::new(Exp3::new()),
};

/// Variants remembered: twice as many as a task has at most, since one that is loaded again is another.
const ARMS_MAX: usize = 400;

#[derive(Clone)]
struct Exp3 {
    random: Pcg64Mcg,
    /// In the order in which they were first seen.
    arms: Vec<VariantId>,
    /// By the place of their arm.
    stakes: Vec<Stake>,
    /// The variants in time, and their weights: memory that is used again.
    in_time: Vec<Prospect>,
    weights: Vec<f64>,
    drawn: Option<Draw>,
}

impl Exp3 {
    fn new() -> Self {
        let (random, drawn) = (hedge::generator(0), None);
        let (arms, stakes, in_time, weights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { random, arms, stakes, in_time, weights, drawn }
    }

    /// Where an arm is, looked for from some place on and then from the first. Variants come in one order, mostly that of the
    /// arms: whoever goes on from the last one found passes over all arms once, not once for each.
    fn place(&self, variant: VariantId, from: usize) -> Option<usize> {
        let (before, after) = self.arms.split_at(from.min(self.arms.len()));
        let found = after.iter().position(|arm| *arm == variant).map(|place| from + place);
        found.or_else(|| before.iter().position(|arm| *arm == variant))
    }

    /// The place of a variant's arm, as [`Self::place`] finds it; it has one from now on.
    fn arm(&mut self, prospect: &Prospect, from: usize) -> usize {
        self.place(prospect.variant, from).unwrap_or_else(|| {
            // One that comes later has as much weight as the others have in the mean.
            let all: f64 = self.stakes.iter().map(|stake| stake.weight).sum();
            let mean = if self.stakes.is_empty() { 1.0 } else { all / self.stakes.len() as f64 };
            if self.arms.len() == ARMS_MAX {
                self.arms.remove(0);
                self.stakes.remove(0);
            }
            self.arms.push(prospect.variant);
            self.stakes.push(Stake::new(mean, 1.0 - f64::from(prospect.accuracy)));
            self.arms.len() - 1
        })
    }
}

impl Select for Exp3 {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        self.drawn = None;
        self.in_time.clear();
        self.weights.clear();
        let (mut first, mut next) = (None, 0);
        for prospect in &mut *ask.prospects {
            if prospect.end() <= ask.budget {
                let place = self.arm(&prospect, next);
                next = place + 1;
                self.in_time.push(prospect);
                self.weights.push(self.stakes[place].weight);
            }
            keep_sooner(&mut first, &prospect);
        }
        let Some((place, chance)) = hedge::draw(&self.weights, &mut self.random) else {
            return first;
        };
        self.drawn = Some(Draw { chance, advised: 0 });
        self.in_time.get(place).copied()
    }

    fn peek(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let before = self.clone();
        let found = self.choose(ask);
        *self = before;
        found
    }

    fn seed(&mut self, seed: u64) {
        self.random = hedge::generator(seed);
    }

    fn drawn(&self) -> Option<Draw> {
        self.drawn
    }

    fn told(&mut self, verdict: &Verdict) {
        let Some((draw, own)) = verdict.draw.zip(self.place(verdict.variant, 0)) else { return };
        hedge::learn(&mut self.stakes, |place| place == own, draw.chance, verdict.loss);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::select::cases::prospects;

    #[test]
    fn the_variant_of_least_loss_is_drawn_most_and_only_among_those_in_time() {
        let mut policy = Exp3::new();
        let ask = |policy: &mut Exp3, budget| {
            let mut prospects = prospects(0).into_iter();
            let budget = Duration::from_millis(budget);
            policy.choose(&mut Ask { budget, prospects: &mut prospects }).unwrap().variant
        };
        let loss = |variant: VariantId| if variant == VariantId(2) { 0.1 } else { 0.6 };
        for _ in 0..1000 {
            let variant = ask(&mut policy, 100);
            let loss = loss(variant).try_into().unwrap();
            policy.told(&Verdict { variant, draw: policy.drawn(), loss });
        }
        let drawn = (0..1000).filter(|_| ask(&mut policy, 100) == VariantId(2)).count();
        assert!(drawn > 900, "{drawn}");
        let others = (0..1000).map(|_| ask(&mut policy, 4)).all(|variant| variant == VariantId(3));
        assert!(others, "only the last is in time");
        assert_eq!(ask(&mut policy, 0), VariantId(3));
        assert_eq!(policy.drawn(), None, "nobody was in time, and nothing was drawn");
    }

    #[test]
    fn arms_are_found_in_whatever_order_they_come() {
        let mut policy = Exp3::new();
        let mut choose = |order: [usize; 3]| {
            let all = prospects(0);
            let mut given = order.into_iter().map(|place| all[place]);
            policy.choose(&mut Ask { budget: Duration::MAX, prospects: &mut given });
            let ids = |arms: &[VariantId]| arms.iter().map(|arm| arm.0).collect::<Vec<_>>();
            (ids(&policy.arms), policy.stakes.len(), policy.weights.len())
        };
        assert_eq!(choose([2, 0, 1]), (vec![2, 0, 1], 3, 3));
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            assert_eq!(choose(order), (vec![2, 0, 1], 3, 3), "no arm twice");
        }
        assert_eq!(choose([3, 1, 2]), (vec![2, 0, 1, 3], 4, 3));
    }

    #[test]
    fn what_was_not_drawn_teaches_nothing() {
        let mut policy = Exp3::new();
        let mut all = prospects(0).into_iter();
        policy.choose(&mut Ask { budget: Duration::MAX, prospects: &mut all });
        let weights = |policy: &Exp3| -> Vec<_> {
            policy.stakes.iter().map(|stake| stake.weight.to_bits()).collect()
        };
        let (before, loss) = (weights(&policy), 1.0.try_into().unwrap());
        policy.told(&Verdict { variant: VariantId(0), draw: None, loss });
        assert_eq!(weights(&policy), before);
        policy.told(&Verdict { variant: VariantId(9), draw: policy.drawn(), loss });
        assert_eq!(weights(&policy), before);
        policy.told(&Verdict { variant: VariantId(0), draw: policy.drawn(), loss });
        assert_ne!(weights(&policy), before);
    }
}
