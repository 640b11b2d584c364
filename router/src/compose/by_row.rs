//! What compositions have in common that settle a request row by row: what of an ask matters to them, and that answers at
//! hand are given when the time is up.

use batcher::Instant;

use super::asks::Asks;
use super::{AskId, Compose, Heard, Step, Vote, Why};

/// A composition that settles rows one by one.
pub(super) trait ByRow: Send {
    /// What it has asked.
    fn asks(&self) -> &Asks;

    /// The same.
    fn asks_mut(&mut self) -> &mut Asks;

    /// Of each row, whose answer it would be given now; `None` while a row has none.
    fn at_hand(&self) -> Option<Vec<AskId>>;

    /// One that was asked for these rows says that of them.
    fn answered(&mut self, ask: AskId, rows: &[u32], votes: &[Vote]);

    /// One that was asked for these rows will say nothing.
    fn lost(&mut self, ask: AskId, rows: Vec<u32>);

    /// What is at hand, if it may be given though others are left out.
    fn good_enough(&self) -> Option<Vec<AskId>> {
        self.at_hand().filter(|rows| self.asks().accurate(rows))
    }

    /// Gives what is at hand.
    fn end(&mut self, why: Why) {
        match if why.short() { self.good_enough() } else { self.at_hand() } {
            Some(rows) => self.asks_mut().end(rows, why),
            None => self.asks_mut().end(Vec::new(), Why::Nobody),
        }
    }
}

impl<T: ByRow> Compose for T {
    fn heard(&mut self, ask: AskId, heard: Heard<'_>, _: Instant) {
        let votes = match heard {
            Heard::Entered(_) => return,
            Heard::Answered(votes) => Some(votes),
            Heard::Refused | Heard::Failed => None,
        };
        let Some((_, rows)) = self.asks_mut().close(ask) else { return };
        if matches!(heard, Heard::Refused) {
            self.asks_mut().refused(ask);
        }
        match votes {
            Some(votes) => {
                assert_eq!(rows.len(), votes.len(), "a vote for each row asked");
                self.answered(ask, &rows, votes);
            }
            None => self.lost(ask, rows),
        }
    }

    fn time_passed(&mut self, now: Instant) {
        let at = self.poll_timeout();
        if at < Instant::NEVER && now >= at {
            self.end(Why::CutShort);
        }
    }

    fn poll_timeout(&self) -> Instant {
        let waits = !self.asks().ended() && self.good_enough().is_some();
        if waits { self.asks().until() } else { Instant::NEVER }
    }

    fn poll_step(&mut self) -> Option<Step> {
        self.asks_mut().next()
    }
}
