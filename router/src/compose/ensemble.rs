//! Members vote with their weights, asked some at a time; those whose votes cannot matter are not waited for.
//!
//! Weighted votes and answers with who is in time: Clipper (NSDI'17); members dropped once enough agree: Cocktail
//! (NSDI'22); which members at all: Rafiki (VLDB'18). A row is settled when no member left can change its class, or when
//! its class is sure enough by the weights and confidences of those who answered.

use std::cmp::Reverse;

use models::Confidence;

use super::asks::Asks;
use super::by_row::ByRow;
use super::{AskId, Limits, Vote, Why};

/// One member of an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Whom to ask.
    pub member: usize,
    /// What its vote counts.
    pub weight: u32,
}

/// How an ensemble decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ballots {
    /// Who votes, in the order in which they are asked.
    pub voters: Vec<Voter>,
    /// How many are asked at once.
    pub at_once: usize,
    /// A class is settled if its voters' weights, times how sure they are, are that share of the weights of all who
    /// answered; `None` if only votes that cannot change are settled.
    pub agreement: Option<Confidence>,
}

/// A request on its way through an ensemble.
#[derive(Debug)]
pub struct Ensemble {
    ballots: Ballots,
    /// How many voters have had their turn.
    asked: usize,
    /// What the votes of those asked count, in the order asked.
    weights: Vec<u32>,
    rows: Vec<Row>,
    /// Why all who were asked are not all, where somebody was left out.
    short: Option<Why>,
    asks: Asks,
}

/// The votes for one row.
#[derive(Clone, Debug, Default)]
struct Row {
    votes: Vec<(AskId, Vote, u32)>,
    /// Voters that may still answer.
    left: u64,
    settled: bool,
}

impl Ensemble {
    /// Asks the first voters for all rows. Who has answered when it is time decides.
    ///
    /// # Panics
    /// Without voters or rows.
    #[must_use]
    pub fn new(ballots: Ballots, rows: u32, limits: impl Into<Limits>) -> Self {
        let asks = Asks::new(limits.into(), rows);
        let left = ballots.voters.iter().map(|voter| u64::from(voter.weight)).sum();
        let row = Row { left, ..Row::default() };
        let rows = (0..rows).map(|_| row.clone()).collect();
        let mut ensemble = Self { ballots, asked: 0, weights: Vec::new(), rows, short: None, asks };
        ensemble.go_on();
        ensemble
    }

    /// Asks so many as may be asked at once and are cheap enough; ends when nobody is left or nothing open.
    fn go_on(&mut self) {
        loop {
            let rows = (0..).zip(&self.rows).filter(|(_, row)| !row.settled);
            let open: Vec<u32> = rows.map(|(row, _)| row).collect();
            if open.is_empty() {
                return self.end(Why::Sure);
            }
            if self.asks.open() >= self.ballots.at_once.max(1) {
                return;
            }
            let Some(&Voter { member, weight }) = self.ballots.voters.get(self.asked) else {
                break;
            };
            self.asked += 1;
            if self.asks.fits(member, open.len()) {
                self.weights.push(weight);
                self.asks.ask(member, open);
            } else {
                self.leave_out(weight, &open, Why::TooCostly);
            }
        }
        if self.asks.open() == 0 {
            self.end(self.short.unwrap_or(Why::All));
        }
    }

    /// Nobody waits for a vote of that weight on these rows.
    fn leave_out(&mut self, weight: u32, rows: &[u32], why: Why) {
        self.short = Some(why);
        for &row in rows {
            let row = &mut self.rows[row as usize];
            row.left -= u64::from(weight);
            row.settled |= row.decided(self.ballots.agreement);
        }
    }
}

impl Row {
    /// The weights of a class's voters; times how sure they are.
    fn support(&self, class: u32) -> (u64, f64) {
        let own = self.votes.iter().filter(|(_, vote, _)| vote.class == class);
        own.fold((0, 0.0), |(all, sure), (_, vote, weight)| {
            (all + u64::from(*weight), sure + f64::from(*weight) * f64::from(vote.confidence))
        })
    }

    /// The class with the most weight: of equals the one of the surest voters, then the first.
    fn leader(&self) -> Option<u32> {
        let mut best: Option<(u32, (u64, f64))> = None;
        for (_, Vote { class, .. }, _) in &self.votes {
            let own = self.support(*class);
            let ahead = best.is_none_or(|(other, theirs)| {
                (own.0, own.1, Reverse(*class)) > (theirs.0, theirs.1, Reverse(other))
            });
            if ahead {
                best = Some((*class, own));
            }
        }
        best.map(|(class, _)| class)
    }

    fn decided(&self, agreement: Option<Confidence>) -> bool {
        let Some(class) = self.leader() else { return false };
        let (own, sure) = self.support(class);
        let others = self.votes.iter().filter(|(_, vote, _)| vote.class != class);
        let next = others.map(|(_, vote, _)| self.support(vote.class).0).max().unwrap_or(0);
        let all: u64 = self.votes.iter().map(|(_, _, weight)| u64::from(*weight)).sum();
        let agreed = |share: Confidence| sure >= f64::from(share) * all as f64;
        own > next + self.left || agreement.is_some_and(agreed)
    }

    /// Whose answer stands for the class voted: the heaviest voter for it, of equals the first asked.
    fn speaker(&self) -> Option<AskId> {
        let class = self.leader()?;
        let own = self.votes.iter().filter(|(_, vote, _)| vote.class == class);
        own.max_by_key(|(ask, _, weight)| (*weight, Reverse(*ask))).map(|(ask, ..)| *ask)
    }
}

impl ByRow for Ensemble {
    fn asks(&self) -> &Asks {
        &self.asks
    }

    fn asks_mut(&mut self) -> &mut Asks {
        &mut self.asks
    }

    fn at_hand(&self) -> Option<Vec<AskId>> {
        self.rows.iter().map(Row::speaker).collect()
    }

    fn answered(&mut self, ask: AskId, rows: &[u32], votes: &[Vote]) {
        let weight = self.weights[ask.index()];
        for (&row, &vote) in rows.iter().zip(votes) {
            let row = &mut self.rows[row as usize];
            row.left -= u64::from(weight);
            row.votes.push((ask, vote, weight));
            row.settled |= row.decided(self.ballots.agreement);
        }
        self.go_on();
    }

    fn lost(&mut self, ask: AskId, rows: Vec<u32>) {
        self.leave_out(self.weights[ask.index()], &rows, Why::CutShort);
        self.go_on();
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{heard_all, sure};
    use batcher::Instant;
    use models::Goals;

    use super::super::{Claim, Compose, End, Heard, Step};
    use super::*;

    const NOW: Instant = Instant::ZERO;
    const UNTIL: Instant = Instant::from_nanos(1_000_000);

    fn ensemble(weights: &[u32], at_once: usize, agreement: Option<f64>, rows: u32) -> Ensemble {
        let voter = |(member, &weight): (usize, &u32)| Voter { member, weight };
        let voters = weights.iter().enumerate().map(voter).collect();
        let agreement = agreement.map(|share| share.try_into().unwrap());
        Ensemble::new(Ballots { voters, at_once, agreement }, rows, UNTIL)
    }

    fn says(ensemble: &mut Ensemble, ask: u32, votes: &[Vote]) {
        ensemble.heard(AskId(ask), Heard::Answered(votes), NOW);
    }

    fn end(steps: &[Step]) -> Option<(Vec<u32>, Why)> {
        match steps.last() {
            Some(Step::End(End { rows, why })) => {
                Some((rows.iter().map(|ask| ask.0).collect(), *why))
            }
            Some(Step::Ask { .. } | Step::Cancel(_)) | None => None,
        }
    }

    fn asked(steps: &[Step]) -> Vec<(usize, Vec<u32>)> {
        let ask = |step: &Step| match step {
            Step::Ask { member, rows, .. } => Some((*member, rows.clone())),
            Step::Cancel(_) | Step::End(_) => None,
        };
        steps.iter().filter_map(ask).collect()
    }

    #[test]
    fn a_vote_that_cannot_change_is_not_waited_for() {
        let mut all = ensemble(&[2, 2, 1, 1, 1], 5, None, 1);
        assert_eq!(heard_all(&mut all).len(), 5);
        says(&mut all, 1, &[sure(3, 0.4)]);
        says(&mut all, 4, &[sure(3, 0.4)]);
        assert_eq!(heard_all(&mut all), [], "3 of 7 for it, 4 are left");
        says(&mut all, 2, &[sure(3, 0.4)]);
        let steps = heard_all(&mut all);
        assert_eq!(steps[..2], [Step::Cancel(AskId(0)), Step::Cancel(AskId(3))]);
        assert_eq!(end(&steps), Some((vec![1], Why::Sure)), "the heaviest speaks");
    }

    #[test]
    fn the_others_are_asked_only_while_the_first_do_not_agree() {
        let mut few = ensemble(&[3, 3, 2, 2], 2, Some(0.9), 2);
        assert_eq!(asked(&heard_all(&mut few)), [(0, vec![0, 1]), (1, vec![0, 1])]);
        says(&mut few, 0, &[sure(1, 0.95), sure(1, 0.6)]);
        assert_eq!(asked(&heard_all(&mut few)), [(2, vec![1])], "row 0 is sure enough");
        says(&mut few, 1, &[sure(2, 0.5), sure(4, 0.9)]);
        assert_eq!(asked(&heard_all(&mut few)), [(3, vec![1])]);
        says(&mut few, 2, &[sure(4, 1.0)]);
        says(&mut few, 3, &[sure(1, 0.9)]);
        assert_eq!(
            end(&heard_all(&mut few)),
            Some((vec![0, 1], Why::All)),
            "5 to 5; row 1 is the surer one's"
        );
    }

    #[test]
    fn who_has_answered_decides_when_the_deadline_nears() {
        let mut all = ensemble(&[1, 1, 1], 3, None, 1);
        assert_eq!(all.poll_timeout(), Instant::NEVER);
        says(&mut all, 2, &[sure(8, 0.3)]);
        assert_eq!(all.poll_timeout(), UNTIL);
        all.time_passed(UNTIL);
        assert_eq!(end(&heard_all(&mut all)), Some((vec![2], Why::CutShort)));
    }

    #[test]
    fn a_voter_that_would_cost_too_much_is_left_out_and_a_cheaper_one_is_asked_in_its_place() {
        let claim = |cost: f64| Claim { cost: cost.try_into().unwrap(), ..Claim::default() };
        let goals = Goals { max_cost: 4.0.try_into().ok(), ..Goals::default() };
        let claims = vec![claim(2.0), claim(3.0), claim(1.0)];
        let voters = [(0, 5), (1, 4), (2, 3)].map(|(member, weight)| Voter { member, weight });
        let voters = voters.to_vec();
        let ballots = Ballots { voters, at_once: 3, agreement: None };
        let mut all = Ensemble::new(ballots, 1, Limits { until: UNTIL, goals, claims });
        assert_eq!(asked(&heard_all(&mut all)), [(0, vec![0]), (2, vec![0])]);
        says(&mut all, 1, &[sure(8, 0.3)]);
        assert_eq!(heard_all(&mut all), [], "the vote of 5 is not there yet");
        all.heard(AskId(0), Heard::Failed, NOW);
        assert_eq!(end(&heard_all(&mut all)), Some((vec![1], Why::Sure)));
    }

    #[test]
    fn of_equal_voters_the_first_asked_speaks_whoever_was_faster() {
        let mut all = ensemble(&[1, 1], 2, None, 1);
        says(&mut all, 1, &[sure(8, 0.3)]);
        says(&mut all, 0, &[sure(8, 0.3)]);
        assert_eq!(end(&heard_all(&mut all)), Some((vec![0], Why::Sure)));
    }

    #[test]
    fn members_that_are_refused_or_fail_are_left_out() {
        let mut all = ensemble(&[4, 1, 1], 3, None, 1);
        all.heard(AskId(0), Heard::Refused, NOW);
        says(&mut all, 1, &[sure(5, 0.3)]);
        all.heard(AskId(2), Heard::Failed, NOW);
        assert_eq!(end(&heard_all(&mut all)), Some((vec![1], Why::Sure)));
        let mut none = ensemble(&[1, 1], 1, None, 1);
        none.heard(AskId(0), Heard::Refused, NOW);
        none.heard(AskId(1), Heard::Failed, NOW);
        assert_eq!(end(&heard_all(&mut none)), Some((vec![], Why::Nobody)));
    }
}
