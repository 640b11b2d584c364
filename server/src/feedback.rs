//! The answers of a task of which clients may still say what they were worth: a table of bounded size.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use models::Share;
use parking_lot::Mutex;

use crate::driver::Pick;

/// Answers remembered for one task: minutes at hundreds a second, in a few megabytes.
const ANSWERS_MAX: usize = 1 << 16;

/// What a client says of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// Which answer: its `answer_id`.
    pub id: String,
    /// 0 for a right answer, 1 for one that is worth nothing.
    pub loss: Share,
}

/// Why feedback is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No answer of this task had that id since the server started.
    #[error(
        "answer '{0}' is not known: no answer of this task had that `answer_id` since the server started"
    )]
    Unknown(String),
    /// So many answers were given since that it is forgotten.
    #[error(
        "answer '{0}' is forgotten: feedback is taken for the last {ANSWERS_MAX} answers of a task"
    )]
    Expired(String),
    /// It was given before.
    #[error("answer '{0}' has its feedback already")]
    Twice(String),
}

/// The answers that a task gave last, by numbers that cannot be guessed.
#[derive(Debug, Default)]
pub struct AnswersGiven {
    /// Makes the ids of one task of one process unlike all others.
    secret: RandomState,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    /// The number of the oldest one remembered.
    first: u64,
    /// None where there was feedback.
    picks: VecDeque<Option<Pick>>,
}

impl AnswersGiven {
    /// Notes an answer; returns its id.
    pub fn give(&self, pick: Pick) -> String {
        let mut given = self.given.lock();
        if given.picks.len() == ANSWERS_MAX {
            given.picks.pop_front();
            given.first += 1;
        }
        let number = given.first + given.picks.len() as u64;
        given.picks.push_back(Some(pick));
        drop(given);
        self.id(number)
    }

    /// How the answer of that id came about, once.
    ///
    /// # Errors
    /// Nobody can say, or it was asked before.
    pub fn take(&self, id: &str) -> Result<Pick, Unusable> {
        let number =
            id.split_once('-').and_then(|(number, _)| u64::from_str_radix(number, 16).ok());
        let number = number.filter(|number| self.id(*number) == id);
        let number = number.ok_or_else(|| Unusable::Unknown(id.to_owned()))?;
        let mut given = self.given.lock();
        let Some(place) = number.checked_sub(given.first) else {
            return Err(Unusable::Expired(id.to_owned()));
        };
        // Its hash is right, so it was given.
        let pick = usize::try_from(place).ok().and_then(|place| given.picks.get_mut(place));
        pick.and_then(Option::take).ok_or_else(|| Unusable::Twice(id.to_owned()))
    }

    fn id(&self, number: u64) -> String {
        format!("{number:x}-{:016x}", self.secret.hash_one(number))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::VariantId;

    use super::*;

    fn pick(variant: u32) -> Pick {
        Pick { variant: VariantId(variant), predicted: Duration::ZERO, draw: None, because: None }
    }

    #[test]
    fn each_answer_is_found_by_its_id_once() {
        let given = AnswersGiven::default();
        let ids: Vec<_> = (0..3).map(|variant| given.give(pick(variant))).collect();
        assert_eq!(given.take(&ids[1]).unwrap().variant, VariantId(1));
        let error = given.take(&ids[1]).unwrap_err().to_string();
        assert_eq!(error, format!("answer '{}' has its feedback already", ids[1]));
        assert_eq!(given.take(&ids[0]).unwrap().variant, VariantId(0));
    }

    #[test]
    fn ids_that_were_not_given_are_refused() {
        let (given, other) = (AnswersGiven::default(), AnswersGiven::default());
        let foreign = other.give(pick(0));
        given.give(pick(0));
        for id in [foreign.as_str(), "", "0", "0-", "0-0000000000000000", "x-y"] {
            assert_eq!(given.take(id).unwrap_err(), Unusable::Unknown(id.to_owned()));
        }
    }

    #[test]
    fn the_table_is_bounded_and_says_what_it_forgot() {
        let given = AnswersGiven::default();
        let ids: Vec<_> = (0..=ANSWERS_MAX).map(|_| given.give(pick(0))).collect();
        assert_eq!(given.take(&ids[0]).unwrap_err(), Unusable::Expired(ids[0].clone()));
        assert!(given.take(&ids[1]).is_ok());
        assert_eq!(given.given.lock().picks.len(), ANSWERS_MAX);
    }
}
