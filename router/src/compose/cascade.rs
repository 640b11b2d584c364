//! The cheapest variant first, and the next for those rows of which it is not sure enough (Tolerance Tiers, ISPASS'19).
//!
//! Where the next cannot be in time or would cost too much, the rows keep the answers they have, if whoever gave them is
//! accurate enough alone.

use models::Confidence;

use super::asks::Asks;
use super::by_row::ByRow;
use super::{AskId, Limits, Vote, Why};

/// One variant of a cascade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Whom to ask.
    pub member: usize,
    /// The next is asked for rows of less confidence; nothing for the last.
    pub threshold: Confidence,
}

/// A request on its way through the stages.
#[derive(Debug)]
pub struct Cascade {
    stages: Vec<Stage>,
    /// How many of them have been asked.
    asked: usize,
    /// Of each row, the best answer at hand.
    answers: Vec<Option<AskId>>,
    asks: Asks,
}

impl Cascade {
    /// Asks the first stage for all rows.
    ///
    /// # Panics
    /// Without stages or rows.
    #[must_use]
    pub fn new(stages: Vec<Stage>, rows: u32, limits: impl Into<Limits>) -> Self {
        let answers = (0..rows).map(|_| None).collect();
        let mut cascade = Self { stages, asked: 0, answers, asks: Asks::new(limits.into(), rows) };
        cascade.go_on((0..rows).collect(), false);
        cascade
    }

    /// The next stage that is cheap enough is asked for these rows; if there is none, they stay as they are.
    fn go_on(&mut self, rows: Vec<u32>, refused: bool) {
        let mut why = if refused { Why::CutShort } else { Why::All };
        while let Some(stage) = self.stages.get(self.asked) {
            self.asked += 1;
            if self.asks.fits(stage.member, rows.len()) {
                self.asks.ask(stage.member, rows);
                return;
            }
            why = Why::TooCostly;
        }
        self.end(why);
    }
}

impl ByRow for Cascade {
    fn asks(&self) -> &Asks {
        &self.asks
    }

    fn asks_mut(&mut self) -> &mut Asks {
        &mut self.asks
    }

    fn at_hand(&self) -> Option<Vec<AskId>> {
        self.answers.iter().copied().collect()
    }

    fn answered(&mut self, ask: AskId, rows: &[u32], votes: &[Vote]) {
        // Only one is asked at a time: the last.
        let Stage { threshold, .. } = self.stages[self.asked - 1];
        let last = self.asked == self.stages.len();
        let mut unsure = Vec::new();
        for (&row, vote) in rows.iter().zip(votes) {
            self.answers[row as usize] = Some(ask);
            if vote.confidence < threshold {
                unsure.push(row);
            }
        }
        match (unsure.is_empty(), last) {
            (_, true) => self.end(Why::All),
            (true, false) => self.end(Why::Sure),
            (false, false) => self.go_on(unsure, false),
        }
    }

    fn lost(&mut self, _: AskId, rows: Vec<u32>) {
        self.go_on(rows, true);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{heard_all, sure};
    use batcher::Instant;
    use models::Goals;

    use super::super::{Claim, Compose, Heard, Step};
    use super::*;

    const NOW: Instant = Instant::ZERO;
    const UNTIL: Instant = Instant::from_nanos(1_000_000);

    fn cascade(rows: u32) -> Cascade {
        let stage =
            |member, threshold: f64| Stage { member, threshold: threshold.try_into().unwrap() };
        Cascade::new(vec![stage(4, 0.9), stage(2, 0.8), stage(0, 0.0)], rows, UNTIL)
    }

    fn ask(ask: u32, member: usize, rows: &[u32]) -> Step {
        Step::Ask { ask: AskId(ask), member, rows: rows.to_vec() }
    }

    fn end(rows: &[u32], why: Why) -> Step {
        Step::End(super::super::End { rows: rows.iter().map(|&row| AskId(row)).collect(), why })
    }

    #[test]
    fn a_sure_answer_of_the_first_stage_is_the_answer() {
        let mut cascade = cascade(1);
        assert_eq!(cascade.poll_step(), Some(ask(0, 4, &[0])));
        cascade.heard(AskId(0), Heard::Answered(&[sure(7, 0.9)]), NOW);
        assert_eq!(heard_all(&mut cascade), [end(&[0], Why::Sure)]);
    }

    #[test]
    fn only_the_unsure_rows_go_on() {
        let mut cascade = cascade(3);
        assert_eq!(heard_all(&mut cascade), [ask(0, 4, &[0, 1, 2])]);
        let votes = [sure(1, 0.5), sure(2, 0.95), sure(3, 0.89)];
        cascade.heard(AskId(0), Heard::Answered(&votes), NOW);
        assert_eq!(heard_all(&mut cascade), [ask(1, 2, &[0, 2])]);
        cascade.heard(AskId(1), Heard::Answered(&[sure(1, 0.85), sure(5, 0.1)]), NOW);
        assert_eq!(heard_all(&mut cascade), [ask(2, 0, &[2])]);
        cascade.heard(AskId(2), Heard::Answered(&[sure(6, 0.0)]), NOW);
        assert_eq!(heard_all(&mut cascade), [end(&[1, 0, 2], Why::All)]);
    }

    fn held_to(rows: u32, goals: Goals) -> Cascade {
        let claim = |accuracy: f64, cost: f64| Claim {
            accuracy: accuracy.try_into().unwrap(),
            cost: cost.try_into().unwrap(),
        };
        let stage =
            |member, threshold: f64| Stage { member, threshold: threshold.try_into().unwrap() };
        let claims = vec![claim(0.9, 1.0), claim(0.95, 4.0), claim(0.99, 20.0)];
        let stages = vec![stage(0, 0.9), stage(1, 0.8), stage(2, 0.0)];
        Cascade::new(stages, rows, Limits { until: UNTIL, goals, claims })
    }

    fn costing(max: f64) -> Goals {
        Goals { max_cost: max.try_into().ok(), ..Goals::default() }
    }

    #[test]
    fn a_stage_that_would_cost_more_with_what_was_asked_than_allowed_is_not_asked() {
        let mut cascade = held_to(1, costing(24.9));
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.2)]), NOW);
        cascade.heard(AskId(1), Heard::Answered(&[sure(1, 0.2)]), NOW);
        let steps = [ask(0, 0, &[0]), ask(1, 1, &[0]), end(&[1], Why::TooCostly)];
        assert_eq!(heard_all(&mut cascade), steps);
        let mut cascade = held_to(1, costing(25.0));
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.2)]), NOW);
        cascade.heard(AskId(1), Heard::Answered(&[sure(1, 0.2)]), NOW);
        assert_eq!(heard_all(&mut cascade).last(), Some(&ask(2, 2, &[0])));
        let mut nobody = held_to(1, costing(0.9));
        assert_eq!(heard_all(&mut nobody), [end(&[], Why::Nobody)]);
    }

    #[test]
    fn what_few_rows_cost_is_shared_by_all_and_who_refuses_costs_nothing() {
        let mut cascade = held_to(4, costing(6.0));
        let votes = [sure(1, 1.0), sure(1, 1.0), sure(1, 1.0), sure(1, 0.2)];
        cascade.heard(AskId(0), Heard::Answered(&votes), NOW);
        cascade.heard(AskId(1), Heard::Refused, NOW);
        assert_eq!(heard_all(&mut cascade).last(), Some(&ask(2, 2, &[3])), "4 + 20 of 24");
        let mut cascade = held_to(4, costing(6.0));
        cascade.heard(AskId(0), Heard::Answered(&votes), NOW);
        cascade.heard(AskId(1), Heard::Failed, NOW);
        assert_eq!(heard_all(&mut cascade).last(), Some(&end(&[0, 0, 0, 0], Why::TooCostly)));
    }

    #[test]
    fn an_answer_cut_short_below_the_floor_of_accuracy_is_not_given() {
        let goals = |least: f64| Goals { min_accuracy: least.try_into().ok(), ..Goals::default() };
        let mut cascade = held_to(1, goals(0.95));
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.2)]), NOW);
        assert_eq!(cascade.poll_timeout(), Instant::NEVER, "0.9 may not be given");
        cascade.heard(AskId(1), Heard::Answered(&[sure(1, 0.2)]), NOW);
        assert_eq!(cascade.poll_timeout(), UNTIL);
        cascade.heard(AskId(2), Heard::Refused, NOW);
        assert_eq!(heard_all(&mut cascade).last(), Some(&end(&[1], Why::CutShort)));
        let mut cascade = held_to(1, goals(0.98));
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.95)]), NOW);
        assert_eq!(
            heard_all(&mut cascade).last(),
            Some(&end(&[0], Why::Sure)),
            "by the whole's claim"
        );
        let mut cascade = held_to(1, goals(0.98));
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.2)]), NOW);
        (1..3).for_each(|ask| cascade.heard(AskId(ask), Heard::Refused, NOW));
        assert_eq!(heard_all(&mut cascade).last(), Some(&end(&[], Why::Nobody)));
    }

    #[test]
    fn where_no_later_stage_can_be_in_time_the_answer_at_hand_is_given() {
        let mut cascade = cascade(1);
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.2)]), NOW);
        cascade.heard(AskId(1), Heard::Refused, NOW);
        cascade.heard(AskId(2), Heard::Failed, NOW);
        let steps = [ask(0, 4, &[0]), ask(1, 2, &[0]), ask(2, 0, &[0]), end(&[0], Why::CutShort)];
        assert_eq!(heard_all(&mut cascade), steps);
    }

    #[test]
    fn a_refused_first_stage_does_not_keep_the_others_from_answering() {
        let mut cascade = cascade(1);
        cascade.heard(AskId(0), Heard::Refused, NOW);
        cascade.heard(AskId(1), Heard::Answered(&[sure(1, 0.99)]), NOW);
        let steps = [ask(0, 4, &[0]), ask(1, 2, &[0]), end(&[1], Why::Sure)];
        assert_eq!(heard_all(&mut cascade), steps);
    }

    #[test]
    fn nobody_answers_where_all_are_refused() {
        let mut cascade = cascade(2);
        (0..3).for_each(|ask| cascade.heard(AskId(ask), Heard::Refused, NOW));
        assert_eq!(heard_all(&mut cascade).last(), Some(&end(&[], Why::Nobody)));
    }

    #[test]
    fn at_the_deadline_the_answer_at_hand_is_given_and_the_stage_asked_is_cancelled() {
        let mut cascade = cascade(1);
        assert_eq!(cascade.poll_timeout(), Instant::NEVER, "there is nothing to give");
        cascade.heard(AskId(0), Heard::Answered(&[sure(1, 0.2)]), NOW);
        assert_eq!(cascade.poll_timeout(), UNTIL);
        cascade.time_passed(UNTIL);
        let steps =
            [ask(0, 4, &[0]), ask(1, 2, &[0]), Step::Cancel(AskId(1)), end(&[0], Why::CutShort)];
        assert_eq!(heard_all(&mut cascade), steps);
        assert_eq!(cascade.poll_timeout(), Instant::NEVER);
        cascade.heard(AskId(1), Heard::Answered(&[sure(2, 1.0)]), NOW);
        assert_eq!(heard_all(&mut cascade), [], "what is heard after the end changes nothing");
    }
}
