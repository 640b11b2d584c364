//! What a variant's scores say of each row: the first class, and how sure the variant is of it.

use models::{Confidence, Measure, Scores};
use router::compose::Vote;

use crate::answer::{self, Author};
use crate::outcome::Answer;
use crate::status::Failure;

/// Where scores are, and how they are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Ballot {
    /// Which output.
    pub output: usize,
    /// What it holds.
    pub scores: Scores,
    /// What of it counts.
    pub measure: Measure,
}

/// The votes of one answer, row by row.
///
/// # Errors
/// When the model gave outputs that are no scores.
pub fn votes(answer: &Answer, ballot: Ballot, author: Author<'_>) -> Result<Vec<Vote>, Failure> {
    let name = &author.served.signature.outputs[author.output(ballot.output)].name;
    let tensor = answer::own_rows(answer, ballot.output, name, author)?;
    let scores = answer::numbers(tensor.datatype, &tensor.data).unwrap_or_default();
    let classes = scores.len() / answer.rows.max(1) as usize;
    if classes == 0 {
        let model = &author.served.model;
        return Err(Failure::Internal(format!("output '{name}' of model '{model}' is empty")));
    }
    let rows = scores.chunks_exact(classes).take(answer.rows as usize);
    Ok(rows.map(|row| vote(row, ballot)).collect())
}

/// What the scores of one row say.
pub(crate) fn vote(scores: &[f64], ballot: Ballot) -> Vote {
    // NaN is never first; of equal scores the first class is.
    let mut first = (0, f64::NEG_INFINITY);
    let mut second = f64::NEG_INFINITY;
    for (class, &score) in scores.iter().enumerate() {
        if score > first.1 {
            (first, second) = ((class, score), first.1);
        } else if score > second {
            second = score;
        }
    }
    let share = |score: f64| match ballot.scores {
        Scores::Probabilities => score,
        Scores::Logits => {
            let odds = scores.iter().filter(|score| !score.is_nan());
            let all: f64 = odds.map(|other| (other - first.1).exp()).sum();
            (score - first.1).exp() / all
        }
    };
    let sure = match ballot.measure {
        Measure::Top => share(first.1),
        Measure::Margin if second == f64::NEG_INFINITY => share(first.1),
        Measure::Margin => share(first.1) - share(second),
    };
    Vote {
        class: u32::try_from(first.0).unwrap_or(u32::MAX),
        // What is no share says nothing, and the next variant is asked.
        confidence: Confidence::try_from(sure.clamp(f64::NEG_INFINITY, 1.0))
            .unwrap_or(Confidence::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scores: &[f64], kind: Scores, measure: Measure) -> (u32, f64) {
        let Vote { class, confidence } = vote(scores, Ballot { output: 0, scores: kind, measure });
        (class, confidence.into())
    }

    #[test]
    fn the_first_class_and_how_far_it_is_ahead_are_read_from_probabilities_and_logits() {
        let shares = [0.125, 0.625, 0.25];
        assert_eq!(read(&shares, Scores::Probabilities, Measure::Top), (1, 0.625));
        assert_eq!(read(&shares, Scores::Probabilities, Measure::Margin), (1, 0.375));
        let logits: Vec<f64> = shares.iter().map(|share: &f64| 3.0 + share.ln()).collect();
        assert_eq!(read(&logits, Scores::Logits, Measure::Top), (1, 0.625));
        assert_eq!(read(&logits, Scores::Logits, Measure::Margin), (1, 0.375));
        assert_eq!(read(&[700.0, 1.0], Scores::Logits, Measure::Top), (0, 1.0), "no overflow");
    }

    #[test]
    fn what_is_no_score_is_no_confidence() {
        assert_eq!(read(&[f64::NAN, f64::NAN], Scores::Logits, Measure::Top), (0, 0.0));
        assert_eq!(read(&[f64::NAN, 0.5], Scores::Probabilities, Measure::Top), (1, 0.5));
        assert_eq!(read(&[-3.0, -7.0], Scores::Probabilities, Measure::Top), (0, 0.0));
        assert_eq!(read(&[1.000_000_1], Scores::Probabilities, Measure::Margin), (0, 1.0));
    }
}
