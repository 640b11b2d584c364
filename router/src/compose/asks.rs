//! What a composition has asked and not yet heard of, and what it wants done.

use std::collections::VecDeque;

use batcher::Instant;

use super::limits::within;
use super::{AskId, End, Limits, Step, Why};

/// Everything asked for one request.
#[derive(Debug)]
pub(super) struct Asks {
    limits: Limits,
    /// Of the request.
    rows: u32,
    /// What is asked costs so much together, each row counted.
    spent: f64,
    asked: Vec<Ask>,
    steps: VecDeque<Step>,
    ended: bool,
}

#[derive(Debug)]
struct Ask {
    member: usize,
    rows: Vec<u32>,
    open: bool,
}

impl Asks {
    /// Nothing yet, for a request of so many rows.
    pub(super) fn new(limits: Limits, rows: u32) -> Self {
        Self { limits, rows, spent: 0.0, asked: Vec::new(), steps: VecDeque::new(), ended: false }
    }

    pub(super) fn until(&self) -> Instant {
        self.limits.until
    }

    fn cost(&self, member: usize, rows: usize) -> f64 {
        f64::from(self.limits.claim(member).cost) * rows as f64
    }

    /// Whether that many rows may be asked of a member, beside all that was asked.
    pub(super) fn fits(&self, member: usize, rows: usize) -> bool {
        let sum = self.spent + self.cost(member, rows);
        within(self.limits.goals.max_cost, sum, f64::from(self.rows))
    }

    /// Whether whoever gives these rows is accurate enough where others were left out.
    pub(super) fn accurate(&self, rows: &[AskId]) -> bool {
        self.limits.goals.min_accuracy.is_none_or(|least| {
            let claim = |ask: &AskId| self.limits.claim(self.asked[ask.index()].member);
            rows.iter().all(|ask| claim(ask).accuracy >= least)
        })
    }

    /// It was refused, and costs nothing.
    pub(super) fn refused(&mut self, ask: AskId) {
        let Ask { member, rows, .. } = &self.asked[ask.index()];
        self.spent -= self.cost(*member, rows.len());
    }

    pub(super) fn ask(&mut self, member: usize, rows: Vec<u32>) -> AskId {
        assert!(
            !self.ended && !rows.is_empty(),
            "an ended composition asks nobody, and no ask is empty"
        );
        let ask = AskId(u32::try_from(self.asked.len()).expect("a request asks few"));
        self.spent += self.cost(member, rows.len());
        self.steps.push_back(Step::Ask { ask, member, rows: rows.clone() });
        self.asked.push(Ask { member, rows, open: true });
        ask
    }

    /// It has ended: whom it asked for which rows. `None` where that is of no use any more.
    pub(super) fn close(&mut self, ask: AskId) -> Option<(usize, Vec<u32>)> {
        let asked = self.asked.get_mut(ask.index()).filter(|asked| asked.open)?;
        asked.open = false;
        Some((asked.member, asked.rows.clone()))
    }

    /// How many have not ended.
    pub(super) fn open(&self) -> usize {
        self.asked.iter().filter(|asked| asked.open).count()
    }

    /// The request's end; what is still asked is cancelled first.
    pub(super) fn end(&mut self, rows: Vec<AskId>, why: Why) {
        assert!(!self.ended, "a request ends once");
        self.ended = true;
        for (ask, asked) in (0..).zip(&mut self.asked) {
            if std::mem::take(&mut asked.open) {
                self.steps.push_back(Step::Cancel(AskId(ask)));
            }
        }
        self.steps.push_back(Step::End(End { rows, why }));
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }
}
