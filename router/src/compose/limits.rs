//! What the answers of a composition may cost together, how accurate one that is cut short must be, and until when to wait.

use batcher::Instant;
use models::{Accuracy, Cost, Goals};

/// What is claimed of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// How often it is right.
    pub accuracy: Accuracy,
    /// What an answer of it costs.
    pub cost: Cost,
}

/// What a composition is held to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// When an answer at hand must be given, whoever is still asked.
    pub until: Instant,
    /// Its floor of accuracy holds for whoever gives rows of an answer that is cut short; its ceiling of cost for all that
    /// is asked, for each row of the request.
    pub goals: Goals,
    /// Of the members by their places; of one that is not there nothing is claimed.
    pub claims: Vec<Claim>,
}

impl From<Instant> for Limits {
    fn from(until: Instant) -> Self {
        Self { until, goals: Goals::default(), claims: Vec::new() }
    }
}

impl Limits {
    pub(super) fn claim(&self, member: usize) -> Claim {
        self.claims.get(member).copied().unwrap_or_default()
    }

    /// How many of these members can be asked for all rows, one after the other, each that still fits.
    #[must_use]
    pub fn affordable(&self, members: impl IntoIterator<Item = usize>) -> usize {
        let mut spent = 0.0;
        let fits = |member: &usize| {
            let sum = spent + f64::from(self.claim(*member).cost);
            let fits = within(self.goals.max_cost, sum, 1.0);
            spent = if fits { sum } else { spent };
            fits
        };
        members.into_iter().filter(fits).count()
    }
}

/// Costs are whole thousandths: sums that differ by less than half of one are equal.
const ROUNDING: f64 = 0.000_5;

/// Whether so much for so many rows is within the ceiling.
pub(super) fn within(max_cost: Option<Cost>, spent: f64, rows: f64) -> bool {
    max_cost.is_none_or(|most| spent <= f64::from(most) * rows + ROUNDING)
}
