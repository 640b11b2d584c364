//! What became of each request, counted exactly once.

use std::collections::BTreeMap;

/// The one end of a request, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered within its deadline, or answered where it had none.
    InTime,
    /// Answered after its deadline.
    Late,
    /// Not taken by the server, with the server's reason.
    Refused(Box<str>),
    /// The server answered with an error.
    Error(Box<str>),
    /// No answer within the client's patience.
    Timeout,
    /// Left without an answer when the run was stopped, or cancelled by the server.
    Cancelled,
    /// The connection could not be made, or ended without an answer.
    ConnectionLost,
}

/// One request of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The index of its share in the mix.
    pub share: usize,
    /// When it was due, in nanoseconds from the start of the run.
    pub intended_ns: u64,
    /// How long after that the client began to send it.
    pub lag_ns: u64,
    /// From when it was due to its end: waiting inside the client counts.
    pub latency_ns: u64,
    /// Its end.
    pub outcome: Outcome,
}

/// Distinct reasons or error texts that a tally keeps apart; the rest is counted together as `other`.
const TEXTS_MAX: usize = 32;

/// How many requests ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Requests that ended; the sum of all the others.
    pub requests: u64,
    /// Answered within their deadline.
    pub in_time: u64,
    /// Answered after it.
    pub late: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Errors, by text.
    pub errors: BTreeMap<String, u64>,
    /// Given up by the client.
    pub timeouts: u64,
    /// Cancelled on either side.
    pub cancelled: u64,
    /// Without a connection.
    pub connections_lost: u64,
}

impl Tally {
    /// Counts one request.
    pub fn count(&mut self, outcome: &Outcome) {
        self.requests += 1;
        match outcome {
            Outcome::InTime => self.in_time += 1,
            Outcome::Late => self.late += 1,
            Outcome::Refused(reason) => count_text(&mut self.refused, reason),
            Outcome::Error(text) => count_text(&mut self.errors, text),
            Outcome::Timeout => self.timeouts += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::ConnectionLost => self.connections_lost += 1,
        }
    }

    /// Requests that were answered, in time or late.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.in_time + self.late
    }

    /// Requests that were refused, for any reason.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Requests that were answered with an error, of any text.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}

fn count_text(counts: &mut BTreeMap<String, u64>, text: &str) {
    if let Some(count) = counts.get_mut(text) {
        *count += 1;
    } else {
        let key = if counts.len() < TEXTS_MAX { text } else { "other" };
        *counts.entry(key.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once() {
        let mut tally = Tally::default();
        let ends = [
            Outcome::InTime,
            Outcome::Late,
            Outcome::Refused("queue_full".into()),
            Outcome::Error("500".into()),
            Outcome::Timeout,
            Outcome::Cancelled,
            Outcome::ConnectionLost,
        ];
        for end in &ends {
            tally.count(end);
        }
        assert_eq!(tally.requests, 7);
        assert_eq!(
            [tally.in_time, tally.late, tally.timeouts, tally.cancelled, tally.connections_lost],
            [1; 5]
        );
        assert_eq!((tally.refused_total(), tally.errors_total()), (1, 1));
    }

    #[test]
    fn the_number_of_error_texts_is_bounded_and_none_is_lost() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.count(&Outcome::Error(format!("error {number}").into()));
        }
        assert_eq!(tally.errors.len(), TEXTS_MAX + 1);
        assert_eq!(tally.errors_total(), 1000);
    }
}
