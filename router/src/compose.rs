//! More than one answer to a request: whom to ask, when to ask another, and which answers count. No clock, no IO.
//!
//! A composition is told what becomes of what it asked ([`Compose::heard`]), and says what to do next
//! ([`Compose::poll_step`]). Each variant that it asks is an ordinary request to the router, so that the door, the
//! queues and the deadlines are the same for all; whoever drives the router drives this beside it.

mod asks;
mod by_row;
pub mod cascade;
#[cfg(test)]
mod cases;
pub mod coded;
pub mod ensemble;
pub mod fit;
pub mod hedge;
mod limits;

use std::time::Duration;

use batcher::Instant;
use models::Confidence;

pub use self::limits::{Claim, Limits};

/// One request to a variant: its number among those of a composition, in the order in which they were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u32);

impl AskId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a variant says of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The class of the highest score.
    pub class: u32,
    /// How sure it is.
    pub confidence: Confidence,
}

/// What became of something asked.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// It waits; when from now its answer is predicted to be there.
    Entered(Duration),
    /// Its answer, row by row.
    Answered(&'a [Vote]),
    /// The router gave it up.
    Refused,
    /// Its batch failed.
    Failed,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask a member for these rows of the request.
    Ask {
        /// The number of what is asked.
        ask: AskId,
        /// Whom: a place in the list that the composition was made of.
        member: usize,
        /// Which rows, in order.
        rows: Vec<u32>,
    },
    /// What was asked is of no use any more.
    Cancel(AskId),
    /// The request has its answer, or will have none. The last step.
    End(End),
}

/// What an answer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Of each row, whose answer it is; empty if nobody answered.
    pub rows: Vec<AskId>,
    /// Why nobody else is asked.
    pub why: Why,
}

/// Why a composition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Who answered is sure enough.
    Sure,
    /// All have answered.
    All,
    /// Somebody was to be asked who could not answer in time.
    CutShort,
    /// Somebody was to be asked who would have cost more than the request may.
    TooCostly,
    /// Nobody answered, or nobody who is accurate enough where somebody was left out.
    Nobody,
}

impl Why {
    /// The word for clients.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::All => "all",
            Self::CutShort => "cut_short",
            Self::TooCostly => "too_costly",
            Self::Nobody => "nobody",
        }
    }

    /// Whether somebody was left out who was to be asked, so that what the whole claims of its answers does not hold.
    #[must_use]
    pub fn short(self) -> bool {
        match self {
            Self::CutShort | Self::TooCostly => true,
            Self::Sure | Self::All | Self::Nobody => false,
        }
    }
}

/// Decides for one request.
pub trait Compose: Send {
    /// Something became of what was asked. What is heard of a cancelled one changes nothing.
    fn heard(&mut self, ask: AskId, heard: Heard<'_>, now: Instant);

    /// The instant of [`Compose::poll_timeout`] has come.
    fn time_passed(&mut self, now: Instant);

    /// When to come back though nothing is heard; `NEVER` for not.
    fn poll_timeout(&self) -> Instant;

    /// What to do next, if anything.
    fn poll_step(&mut self) -> Option<Step>;
}
