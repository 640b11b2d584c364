//! What clients say of answers: found, counted, and handed to the scheduler.

use models::AnswerMode;

use super::Service;
use crate::feedback::{Feedback, Unusable};
use crate::status::Failure;

/// Why answers of a cascade or an ensemble have no id.
const OF_SEVERAL: &str = "; an answer that a cascade or an ensemble gave has no `answer_id` and takes no feedback, since no one variant's worth can be told from it: state an `objective` to be answered by one variant";
/// Why nothing can be said of an answer of a coded task.
const OF_ONE: &str =
    "; the answers of a coded task take no feedback: there is no choice that could learn from it";

impl Service {
    /// Lets a task learn what one of its answers was worth.
    ///
    /// # Errors
    /// Unknown task; an answer that is unknown, forgotten, of several variants, or has its feedback already.
    pub fn feedback(&self, task: &str, feedback: &Feedback) -> Result<(), Failure> {
        let task = self.found_task(task)?;
        let pick = task.given.take(&feedback.id).map_err(|unusable| match unusable {
            Unusable::Unknown(_) => {
                let why = match task.settings.task.answer {
                    AnswerMode::One | AnswerMode::Hedged => "",
                    AnswerMode::Cascade | AnswerMode::Ensemble => OF_SEVERAL,
                    AnswerMode::Coded => OF_ONE,
                };
                Failure::NotFound(format!("{unusable}{why}"))
            }
            Unusable::Expired(_) => Failure::NotFound(unusable.to_string()),
            Unusable::Twice(_) => Failure::Invalid(unusable.to_string()),
        })?;
        // The variant may be gone; what was learnt of it is then of no use to anybody.
        if let Some(member) = task.member(pick.variant) {
            member.verdicts.told(feedback.loss);
            self.driver.tell(task.id, pick, feedback.loss);
        }
        Ok(())
    }
}
