//! What a composition has asked and not yet heard of, and what it wants done.

use std::collections::VecDeque;

use super::{AskId, End, Step, Why};

/// Everything asked for one request.
#[derive(Debug, Default)]
pub(super) struct Asks {
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
    pub(super) fn ask(&mut self, member: usize, rows: Vec<u32>) -> AskId {
        assert!(
            !self.ended && !rows.is_empty(),
            "an ended composition asks nobody, and no ask is empty"
        );
        let ask = AskId(u32::try_from(self.asked.len()).expect("a request asks few"));
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
