//! Who asks for what: several models with their shares of the requests, objectives and priorities.

use models::Slo;
use rand::{Rng, RngExt};

use crate::Error;

/// One model's part of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The model's name on the server.
    pub model: String,
    /// Its part of the requests, relative to the others' weights.
    pub weight: f64,
    /// When its answers are worth something; sent with each request.
    pub slo: Option<Slo>,
    /// 1 is the highest; 0 leaves it to the server.
    pub priority: u64,
}

/// Models and how often each is asked for.
#[derive(Clone, Debug)]
pub struct Mix {
    shares: Vec<Share>,
    weight_total: f64,
}

impl Mix {
    /// A mix of at least one share, each of a positive weight.
    ///
    /// # Errors
    /// No share, or a weight that cannot be drawn from.
    pub fn new(shares: Vec<Share>) -> Result<Self, Error> {
        if shares.is_empty() {
            return Err(Error::Mix("has no model".into()));
        }
        if let Some(share) =
            shares.iter().find(|share| !(share.weight.is_finite() && share.weight > 0.0))
        {
            return Err(Error::Mix(format!(
                "gives '{}' the weight {}; it must be above 0",
                share.model, share.weight
            )));
        }
        let weight_total = shares.iter().map(|share| share.weight).sum();
        Ok(Self { shares, weight_total })
    }

    /// Only that share.
    #[must_use]
    pub fn single(model: &str, slo: Option<Slo>) -> Self {
        let share = Share { model: model.to_owned(), weight: 1.0, slo, priority: 0 };
        Self { shares: vec![share], weight_total: 1.0 }
    }

    /// The shares, in the order given.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The index of the share that the next request belongs to.
    pub fn draw(&self, rng: &mut impl Rng) -> usize {
        let mut left = rng.random::<f64>() * self.weight_total;
        for (index, share) in self.shares.iter().enumerate() {
            if left < share.weight {
                return index;
            }
            left -= share.weight;
        }
        self.shares.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn share(model: &str, weight: f64) -> Share {
        Share { model: model.into(), weight, slo: None, priority: 0 }
    }

    #[test]
    fn models_are_drawn_by_their_weights() {
        let mix = Mix::new(vec![share("a", 3.0), share("b", 1.0), share("c", 6.0)]).unwrap();
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut drawn = [0u32; 3];
        for _ in 0..100_000 {
            drawn[mix.draw(&mut rng)] += 1;
        }
        for (count, wanted) in drawn.into_iter().zip([30_000u32, 10_000, 60_000]) {
            assert!(count.abs_diff(wanted) < 1_000, "{drawn:?}");
        }
    }

    #[test]
    fn a_mix_without_weight_is_refused() {
        assert!(Mix::new(vec![]).is_err());
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Mix::new(vec![share("a", 1.0), share("b", weight)]).is_err(), "{weight}");
        }
    }
}
