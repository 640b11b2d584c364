//! The cheapest variant first, and the next for those rows of which it is not sure enough (Tolerance Tiers, ISPASS'19).
//!
//! An answer at hand is never given up: where the next cannot be in time, the rows keep the answers they have.

use batcher::Instant;
use models::Confidence;

use super::asks::Asks;
use super::by_row::ByRow;
use super::{AskId, Vote, Why};

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
    /// When an answer at hand must be given, whoever is still asked.
    until: Instant,
    asks: Asks,
}

impl Cascade {
    /// Asks the first stage for all rows. The answer at hand is given at `until` at the latest.
    ///
    /// # Panics
    /// Without stages or rows.
    #[must_use]
    pub fn new(stages: Vec<Stage>, rows: u32, until: Instant) -> Self {
        let mut cascade = Self {
            stages,
            asked: 0,
            answers: (0..rows).map(|_| None).collect(),
            until,
            asks: Asks::default(),
        };
        cascade.go_on((0..rows).collect(), false);
        cascade
    }

    /// The next stage is asked for these rows; if there is none, they stay as they are.
    fn go_on(&mut self, rows: Vec<u32>, refused: bool) {
        if let Some(stage) = self.stages.get(self.asked) {
            self.asked += 1;
            self.asks.ask(stage.member, rows);
            return;
        }
        self.end(if refused { Why::CutShort } else { Why::All });
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

    fn until(&self) -> Instant {
        self.until
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
    use super::super::{Compose, Heard, Step};
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
