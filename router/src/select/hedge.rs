//! Weights learnt from the losses of what was drawn: the part that `exp3` and `exp4` have in common.
//!
//! Exp3.S (Auer, Cesa-Bianchi, Freund, Schapire, "The nonstochastic multiarmed bandit problem", SIAM J. Comput. 2002):
//! exponential weights on losses divided by the chance of having seen them, and a part of all weight shared out anew in
//! each round (fixed share, Herbster and Warmuth, 1998), so that one that was bad comes back when it is good. Divided
//! losses stray widely where chances are small. Two things hold that down: only what a loss is beside the expected one is
//! divided (doubly robust: Dudik, Langford, Li, ICML'11; the mean stays right whatever is expected), and chances count as
//! a little more than they are (implicit exploration: Exp3-IX, Neu, NIPS'15).

use models::Share;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// How strongly a loss of 1 lowers a weight. With the next three found on ten kinds of losses of 2 to 20 arms with and
/// without a change, 30 seeds each; `bench-bandit` shows what they give.
const RATE: f64 = 0.05;
/// The part of all weight that is shared out anew with each loss.
const SHARED: f64 = 3e-4;
/// The part of the draws that is among all alike, whatever their weights.
const EXPLORED: f64 = 0.01;
/// What is added to a chance before it divides.
const IMPLICIT: f64 = 0.01;
/// The part of a new loss in the expected one: about the last 50 count.
const MEMORY: f64 = 0.02;

/// One of those among which is drawn: what is believed of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stake {
    pub(super) weight: f64,
    /// The loss that is expected of it.
    expected: f64,
}

impl Stake {
    /// Before any loss.
    pub(super) fn new(weight: f64, expected: f64) -> Self {
        Self { weight, expected }
    }
}

/// Lowers the weights after a loss; `seen` says of each place whether the loss is its own, `chance` how likely it was to
/// be seen.
pub(super) fn learn(
    stakes: &mut [Stake],
    seen: impl Fn(usize) -> bool,
    chance: Share,
    loss: Share,
) {
    let (chance, loss) = (f64::from(chance) + IMPLICIT, f64::from(loss));
    for (place, stake) in stakes.iter_mut().enumerate() {
        let mut estimate = stake.expected;
        if seen(place) {
            estimate += (loss - stake.expected) / chance;
            stake.expected += MEMORY * (loss - stake.expected);
        }
        stake.weight *= (-RATE * estimate).exp();
    }
    let all: f64 = stakes.iter().map(|stake| stake.weight).sum();
    let even = SHARED / stakes.len() as f64;
    for stake in stakes {
        stake.weight = (1.0 - SHARED) * stake.weight / all + even;
    }
}

/// A generator for one task's draws.
pub(super) fn generator(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

/// Draws a place by weight, and says how likely it was; `None` where there is none.
pub(super) fn draw(weights: &[f64], random: &mut Pcg64Mcg) -> Option<(usize, Share)> {
    let all: f64 = weights.iter().sum();
    let chance = |weight: &f64| {
        let own = if all > 0.0 { weight / all } else { 1.0 / weights.len() as f64 };
        (1.0 - EXPLORED) * own + EXPLORED / weights.len() as f64
    };
    let mut left = unit(random);
    let last = weights.len().checked_sub(1)?;
    let place = weights.iter().position(|weight| {
        left -= chance(weight);
        left < 0.0
    });
    let place = place.unwrap_or(last);
    let chance = Share::try_from(chance(&weights[place]).clamp(0.0, 1.0));
    Some((place, chance.expect("held to 0 to 1")))
}

/// Evenly from 0 to below 1.
fn unit(random: &mut Pcg64Mcg) -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    (random.next_u64() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_come_as_often_as_their_chances_say() {
        let (weights, mut random) = ([6.0, 3.0, 0.0], generator(7));
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            let (place, chance) = draw(&weights, &mut random).unwrap();
            let own = [2.0 / 3.0, 1.0 / 3.0, 0.0][place] * (1.0 - EXPLORED) + EXPLORED / 3.0;
            assert!((f64::from(chance) - own).abs() < 1e-6);
            counts[place] += 1;
        }
        assert!((19_600..20_300).contains(&counts[0]), "{counts:?}");
        assert!((50..160).contains(&counts[2]), "{counts:?}");
        assert_eq!(draw(&[], &mut random), None);
    }

    #[test]
    fn the_weight_goes_to_what_loses_least_and_comes_back_to_what_recovers() {
        let mut stakes = [Stake::new(0.5, 0.5), Stake::new(0.5, 0.5)];
        let half = Share::try_from(0.5).unwrap();
        let share = |loss: f64| Share::try_from(loss).unwrap();
        let mut rounds = |count, losses: [f64; 2]| {
            for round in 0..count {
                let own = round % 2;
                learn(&mut stakes, |place| place == own, half, share(losses[own]));
            }
            stakes[0].weight / (stakes[0].weight + stakes[1].weight)
        };
        assert!(rounds(2000, [0.1, 0.3]) > 0.9);
        assert!(rounds(2000, [0.5, 0.3]) < 0.1);
    }
}
