//! Why a variant was chosen: what recordings and clients are told of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Prospect;
use crate::Choice;

/// Why a request of a task is answered by that variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// No other variant is as accurate and as cheap as asked.
    Only,
    /// It is the most accurate that may answer.
    MostAccurate,
    /// A more accurate one may answer, but would be late, its queue is long enough, or it is not in place.
    SteppedDown,
    /// It is the cheapest that is predicted to be in time.
    Cheapest,
    /// It is predicted to answer first: that was asked for, or nobody is predicted to be in time.
    Soonest,
    /// It is the first in the operator's list that may answer.
    Listed,
    /// Its accuracy times how likely it is in time is the highest.
    Expected,
    /// Chance drew it, by what was learnt from feedback.
    Drawn,
    /// The plan gives it this request, or the one to which the plan gives it would be late.
    Planned,
    /// The door of the one chosen was shut, and this one is predicted to answer first.
    Instead,
}

impl Because {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Only,
        Self::MostAccurate,
        Self::SteppedDown,
        Self::Cheapest,
        Self::Soonest,
        Self::Listed,
        Self::Expected,
        Self::Drawn,
        Self::Planned,
        Self::Instead,
    ];

    /// The word that clients and recordings see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::MostAccurate => "most_accurate",
            Self::SteppedDown => "stepped_down",
            Self::Cheapest => "cheapest",
            Self::Soonest => "soonest",
            Self::Listed => "listed",
            Self::Expected => "expected",
            Self::Drawn => "drawn",
            Self::Planned => "planned",
            Self::Instead => "instead",
        }
    }

    /// Why a policy chose that one, if it chooses for this reason whom it wants; `allowed` are the variants that are
    /// accurate and cheap enough, the most accurate first.
    pub(crate) fn of_choice<'a>(
        self,
        chosen: &Prospect,
        budget: Duration,
        mut allowed: impl Iterator<Item = &'a Choice>,
    ) -> Self {
        let best = allowed.next();
        if allowed.next().is_none() {
            return Self::Only;
        }
        let late = chosen.end() > budget;
        match self {
            Self::Listed | Self::Expected | Self::Drawn | Self::Soonest => self,
            Self::Cheapest | Self::Planned if !late => self,
            Self::MostAccurate if !late => match best {
                Some(best) if chosen.accuracy < best.accuracy => Self::SteppedDown,
                Some(_) | None => Self::MostAccurate,
            },
            Self::Cheapest | Self::Planned | Self::MostAccurate => Self::Soonest,
            Self::Only | Self::SteppedDown | Self::Instead => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::cases::prospects;

    #[test]
    fn every_reason_is_recorded_by_the_name_that_clients_see() {
        for because in Because::ALL {
            assert_eq!(serde_json::to_value(because).unwrap(), because.name());
        }
    }

    #[test]
    fn a_choice_is_explained_by_what_the_policy_wants_and_what_it_got() {
        let all = prospects(0);
        let choice =
            |of: &Prospect| Choice { variant: of.variant, accuracy: of.accuracy, cost: of.cost };
        let choices: Vec<_> = all.iter().map(choice).collect();
        let (best, second) = (&all[0], &all[1]);
        let why = |wants: Because, chosen: &Prospect, budget: Duration| {
            wants.of_choice(chosen, budget, choices.iter())
        };
        let (long, none) = (Duration::MAX, Duration::ZERO);
        let table = [
            (Because::MostAccurate, best, long, Because::MostAccurate),
            (Because::MostAccurate, second, long, Because::SteppedDown),
            (Because::MostAccurate, second, none, Because::Soonest),
            (Because::Cheapest, second, long, Because::Cheapest),
            (Because::Planned, best, none, Because::Soonest),
            (Because::Listed, best, none, Because::Listed),
            (Because::Drawn, second, long, Because::Drawn),
        ];
        for (wants, chosen, budget, because) in table {
            assert_eq!(why(wants, chosen, budget), because, "{wants:?} of {budget:?}");
        }
        let only = Because::Drawn.of_choice(best, long, choices[..1].iter());
        assert_eq!(only, Because::Only);
    }
}
