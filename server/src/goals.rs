//! Goals of a task's request, as parameters or headers state them: the same words in every protocol.

use std::time::Duration;

use models::{Accuracy, Cost, Goals, Objective};

use crate::status::Failure;

/// The names of the goals in `parameters`. As headers they are `x-punctual-*` with `-` for `_`.
pub const ALL: [&str; 5] =
    ["latency_ms", "min_accuracy", "max_cost", "objective", "max_accuracy_loss"];

/// The headers, in that order.
const HEADERS: [&str; 5] = [
    "x-punctual-latency-ms",
    "x-punctual-min-accuracy",
    "x-punctual-max-cost",
    "x-punctual-objective",
    "x-punctual-max-accuracy-loss",
];

/// A value as a client stated it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stated<'a> {
    /// As good as absent.
    Nothing,
    /// A number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// What can be no goal.
    Else,
}

impl<'a> Stated<'a> {
    /// A header's text: a number where it is one.
    #[must_use]
    pub fn of_text(text: &'a str) -> Self {
        text.trim().parse().map_or(Self::Text(text.trim()), Self::Number)
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Nothing | Self::Text(_) | Self::Else => None,
        }
    }
}

/// Whether a parameter of that name is a goal.
#[must_use]
pub fn is_goal(name: &str) -> bool {
    ALL.contains(&name)
}

/// The header of a goal.
#[must_use]
pub fn header(goal: &str) -> &'static str {
    let index = ALL.iter().position(|name| *name == goal);
    HEADERS[index.expect("asked of goals only")]
}

/// Notes a goal. A latency is no goal among variants but the request's deadline, and returned.
///
/// # Errors
/// A sentence with the goal's name and what is allowed.
pub fn state(
    goals: &mut Goals,
    name: &str,
    stated: &Stated<'_>,
) -> Result<Option<Duration>, Failure> {
    let wrong = |reason: String| Failure::Invalid(format!("parameter '{name}': {reason}"));
    if *stated == Stated::Nothing {
        return Ok(None);
    }
    if name == "objective" {
        let Stated::Text(text) = stated else {
            return Err(wrong("expected one of `accuracy`, `latency`, `cost`".to_owned()));
        };
        goals.objective = Some(Objective::by_name(text).map_err(wrong)?);
        return Ok(None);
    }
    let number = stated.number().ok_or_else(|| wrong("expected a number".to_owned()))?;
    match name {
        "latency_ms" => {
            let latency = Duration::try_from_secs_f64(number / 1e3);
            let latency = latency.ok().filter(|latency| !latency.is_zero());
            latency.map(Some).ok_or_else(|| {
                wrong(format!("expected a positive number of milliseconds, found {number}"))
            })
        }
        "min_accuracy" => {
            goals.min_accuracy = Some(Accuracy::try_from(number).map_err(wrong)?);
            Ok(None)
        }
        "max_accuracy_loss" => {
            goals.max_accuracy_loss = Some(Accuracy::try_from(number).map_err(wrong)?);
            Ok(None)
        }
        _ => {
            goals.max_cost = Some(Cost::try_from(number).map_err(wrong)?);
            Ok(None)
        }
    }
}

/// The goals of `one`, and where it states none those of `other`.
#[must_use]
pub fn first(one: Goals, other: Goals) -> Goals {
    Goals {
        min_accuracy: one.min_accuracy.or(other.min_accuracy),
        max_cost: one.max_cost.or(other.max_cost),
        objective: one.objective.or(other.objective),
        max_accuracy_loss: one.max_accuracy_loss.or(other.max_accuracy_loss),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_from_numbers_and_texts() {
        let mut goals = Goals::default();
        let latency = state(&mut goals, "latency_ms", &Stated::of_text("2.5")).unwrap();
        assert_eq!(latency, Some(Duration::from_micros(2500)));
        state(&mut goals, "min_accuracy", &Stated::Number(0.9)).unwrap();
        state(&mut goals, "max_cost", &Stated::of_text(" 3")).unwrap();
        state(&mut goals, "objective", &Stated::of_text("cost")).unwrap();
        assert_eq!(goals.min_accuracy, Accuracy::try_from(0.9).ok());
        assert_eq!(goals.max_cost, Cost::try_from(3.0).ok());
        assert_eq!(goals.objective, Some(Objective::Cost));
        assert_eq!(state(&mut goals, "min_accuracy", &Stated::Nothing), Ok(None));
    }

    #[test]
    fn what_cannot_be_a_goal_is_refused_by_name() {
        for (name, stated, part) in [
            ("min_accuracy", Stated::Number(1.7), "'min_accuracy': expected a share from 0 to 1"),
            ("max_accuracy_loss", Stated::Number(2.0), "expected a share from 0 to 1"),
            ("max_cost", Stated::Text("cheap"), "'max_cost': expected a number"),
            ("latency_ms", Stated::Number(0.0), "'latency_ms': expected a positive number"),
            ("latency_ms", Stated::Number(f64::NAN), "'latency_ms': expected a positive number"),
            ("objective", Stated::Text("speed"), "found 'speed'"),
            ("objective", Stated::Else, "'objective': expected one of"),
        ] {
            let error = state(&mut Goals::default(), name, &stated).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
