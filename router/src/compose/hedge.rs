//! A second request for a straggler: asked when the first has not answered by when most such answers are there; the
//! first answer wins and the other is cancelled (Dean and Barroso, The Tail at Scale, CACM 2013).

use std::time::Duration;

use batcher::Instant;
use models::{Cost, Goals};

use super::asks::Asks;
use super::{AskId, Compose, Heard, Limits, Step, Why};

/// The goals of the second request, beside a first whose answer costs that: together they cost no more than `goals` say.
/// `None` where nothing is left.
#[must_use]
pub fn beside(goals: Goals, first: Cost) -> Option<Goals> {
    let Some(most) = goals.max_cost else { return Some(goals) };
    let left = Cost::try_from(f64::from(most) - f64::from(first)).ok()?;
    Some(Goals { max_cost: Some(left), ..goals })
}

/// A request with a second try.
#[derive(Debug)]
pub struct Hedge {
    /// Whom to ask in that order; each at most once.
    members: Vec<usize>,
    rows: u32,
    /// Asked so many.
    asked: usize,
    /// The next is asked when so many predicted times have passed.
    patience: f64,
    /// When the next is asked.
    next: Instant,
    asks: Asks,
}

impl Hedge {
    /// Asks the first member. `patience` is in predicted times: 1.5 waits for half as long again as predicted.
    ///
    /// # Panics
    /// Without members or rows.
    #[must_use]
    pub fn new(members: Vec<usize>, rows: u32, patience: f64) -> Self {
        // Whom a member stands for is known only once the scheduler has chosen: see [`beside`].
        let asks = Asks::new(Limits::from(Instant::NEVER), rows);
        let mut hedge = Self { members, rows, asked: 0, patience, next: Instant::NEVER, asks };
        hedge.go_on();
        hedge
    }

    fn go_on(&mut self) {
        self.next = Instant::NEVER;
        match self.members.get(self.asked) {
            Some(&member) => {
                self.asked += 1;
                self.asks.ask(member, (0..self.rows).collect());
            }
            None if self.asks.open() == 0 => self.asks.end(Vec::new(), Why::Nobody),
            None => {}
        }
    }
}

impl Compose for Hedge {
    fn heard(&mut self, ask: AskId, heard: Heard<'_>, now: Instant) {
        match heard {
            Heard::Entered(predicted) => {
                let wait = Duration::try_from_secs_f64(predicted.as_secs_f64() * self.patience);
                if self.asked < self.members.len() && !self.asks.ended() {
                    self.next = wait.map_or(Instant::NEVER, |wait| now + wait);
                }
            }
            Heard::Answered(_) => {
                if self.asks.close(ask).is_some() {
                    self.next = Instant::NEVER;
                    let why = if self.asked > 1 { Why::All } else { Why::Sure };
                    self.asks.end((0..self.rows).map(|_| ask).collect(), why);
                }
            }
            Heard::Refused | Heard::Failed => {
                if self.asks.close(ask).is_some() && self.asks.open() == 0 {
                    self.go_on();
                }
            }
        }
    }

    fn time_passed(&mut self, now: Instant) {
        if self.next < Instant::NEVER && now >= self.next {
            self.go_on();
        }
    }

    fn poll_timeout(&self) -> Instant {
        self.next
    }

    fn poll_step(&mut self) -> Option<Step> {
        self.asks.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::End;
    use super::super::cases::{heard_all, sure};
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Instant = Instant::ZERO;

    fn ask(ask: u32, member: usize) -> Step {
        Step::Ask { ask: AskId(ask), member, rows: vec![0] }
    }

    fn end(ask: u32, why: Why) -> Step {
        Step::End(End { rows: vec![AskId(ask)], why })
    }

    fn begun() -> Hedge {
        let mut hedge = Hedge::new(vec![3, 1], 1, 1.5);
        assert_eq!(heard_all(&mut hedge), [ask(0, 3)]);
        hedge.heard(AskId(0), Heard::Entered(10 * MS), NOW);
        hedge
    }

    #[test]
    fn the_second_may_cost_what_the_first_leaves() {
        let cost = |cost: f64| Cost::try_from(cost).unwrap();
        let goals = |most| Goals { max_cost: most, ..Goals::default() };
        assert_eq!(beside(goals(None), cost(9.0)), Some(goals(None)));
        let left = beside(goals(Some(cost(9.5))), cost(9.0));
        assert_eq!(left, Some(goals(Some(cost(0.5)))));
        assert_eq!(beside(goals(Some(cost(9.0))), cost(9.5)), None);
    }

    #[test]
    fn an_answer_on_time_asks_nobody_else() {
        let mut hedge = begun();
        hedge.time_passed(NOW + 14 * MS);
        hedge.heard(AskId(0), Heard::Answered(&[sure(1, 0.5)]), NOW + 14 * MS);
        assert_eq!(heard_all(&mut hedge), [end(0, Why::Sure)]);
        assert_eq!(hedge.poll_timeout(), Instant::NEVER);
    }

    #[test]
    fn a_straggler_has_a_second_asked_and_the_first_answer_wins() {
        let mut hedge = begun();
        assert_eq!(hedge.poll_timeout(), NOW + 15 * MS);
        hedge.time_passed(NOW + 15 * MS);
        assert_eq!(heard_all(&mut hedge), [ask(1, 1)]);
        hedge.heard(AskId(1), Heard::Entered(MS), NOW + 15 * MS);
        assert_eq!(hedge.poll_timeout(), Instant::NEVER, "nobody is left to ask");
        hedge.heard(AskId(1), Heard::Answered(&[sure(1, 0.5)]), NOW + 16 * MS);
        assert_eq!(heard_all(&mut hedge), [Step::Cancel(AskId(0)), end(1, Why::All)]);
    }

    #[test]
    fn a_refused_or_failed_first_is_followed_at_once_and_a_refused_second_changes_nothing() {
        let mut hedge = begun();
        hedge.heard(AskId(0), Heard::Failed, NOW);
        assert_eq!(heard_all(&mut hedge), [ask(1, 1)]);
        hedge.heard(AskId(1), Heard::Refused, NOW);
        let nobody = Step::End(End { rows: Vec::new(), why: Why::Nobody });
        assert_eq!(heard_all(&mut hedge), [nobody]);
        let mut hedge = begun();
        hedge.time_passed(NOW + 15 * MS);
        hedge.heard(AskId(1), Heard::Refused, NOW + 15 * MS);
        hedge.heard(AskId(0), Heard::Answered(&[sure(1, 0.5)]), NOW + 30 * MS);
        assert_eq!(heard_all(&mut hedge), [ask(1, 1), end(0, Why::All)]);
    }
}
