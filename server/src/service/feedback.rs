//! What clients say of answers: found, counted, and handed to the scheduler.

use super::Service;
use crate::feedback::{Feedback, Unusable};
use crate::status::Failure;

impl Service {
    /// Lets a task learn what one of its answers was worth.
    ///
    /// # Errors
    /// Unknown task; an answer that is unknown, forgotten, or has its feedback already.
    pub fn feedback(&self, task: &str, feedback: &Feedback) -> Result<(), Failure> {
        let task = self.found_task(task)?;
        let pick = task.given.take(&feedback.id).map_err(|unusable| match unusable {
            Unusable::Unknown(_) | Unusable::Expired(_) => Failure::NotFound(unusable.to_string()),
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
