//! What an answer is to be like: how accurate at least, how costly at most, and what to prefer within that.

use serde::{Deserialize, Serialize};

use crate::whole::whole;

whole! {
    /// How often a variant is right, as a share of 1, to the millionth.
    Accuracy: "a share" from 0 to 1.0 in 1e6
}

whole! {
    /// What an answer of a variant costs next to others', in the operator's own unit, to the thousandth. Costs that differ by
    /// more than a billion times are a mistake.
    Cost: "a cost" from 0 to 1e6 in 1e3
}

/// What to prefer among the variants that meet a request's other goals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// As accurate as the deadline allows.
    Accuracy,
    /// As soon as may be.
    Latency,
    /// As cheap as the deadline allows.
    Cost,
}

impl Objective {
    /// Every objective by its name in requests.
    pub const ALL: [(&'static str, Self); 3] =
        [("accuracy", Self::Accuracy), ("latency", Self::Latency), ("cost", Self::Cost)];

    /// The objective of that name.
    ///
    /// # Errors
    /// A sentence with the names there are.
    pub fn by_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, objective)| *objective)
            .ok_or_else(|| format!("expected one of `accuracy`, `latency`, `cost`, found '{name}'"))
    }
}

/// What a request wants of the variant that answers it, beside its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Goals {
    /// No less accurate than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<Accuracy>,
    /// No more costly than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Cost>,
    /// What to prefer; the task's policy decides where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// How much less accurate than the best variant, as a share of that one's accuracy, a cascade may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_accuracy_loss: Option<Accuracy>,
}

impl Goals {
    /// The same, but as soon as may be.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { objective: Some(Objective::Latency), ..self }
    }

    /// Whether a variant of that accuracy and cost may answer.
    #[must_use]
    pub fn allow(&self, accuracy: Accuracy, cost: Cost) -> bool {
        self.min_accuracy.is_none_or(|least| accuracy >= least)
            && self.max_cost.is_none_or(|most| cost <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_costs_are_whole_numbers_that_read_as_they_were_written() {
        let accuracy = Accuracy::try_from(0.968_819_6).unwrap();
        assert_eq!(serde_json::to_string(&accuracy).unwrap(), "0.96882");
        assert_eq!(serde_json::from_str::<Accuracy>("0.96882").unwrap(), accuracy);
        assert_eq!(Accuracy::try_from(1.7).unwrap_err(), "expected a share from 0 to 1, found 1.7");
        assert!(Accuracy::try_from(f64::NAN).is_err());
        assert!(Cost::try_from(-1.0).is_err());
        assert_eq!(f64::from(Cost::try_from(2.5).unwrap()), 2.5);
    }

    #[test]
    fn a_variant_may_answer_exactly_when_it_is_accurate_and_cheap_enough() {
        let (accuracy, cost) = (Accuracy::try_from(0.9).unwrap(), Cost::try_from(2.0).unwrap());
        let goals = |least: f64, most: f64| Goals {
            min_accuracy: Some(least.try_into().unwrap()),
            max_cost: Some(most.try_into().unwrap()),
            ..Goals::default()
        };
        assert!(Goals::default().allow(accuracy, cost));
        assert!(goals(0.9, 2.0).allow(accuracy, cost));
        assert!(!goals(0.91, 2.0).allow(accuracy, cost));
        assert!(!goals(0.9, 1.9).allow(accuracy, cost));
    }
}
