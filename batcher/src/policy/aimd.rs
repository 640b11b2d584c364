//! Starts at once with what waits, up to a size that grows by one while batches are fast enough and shrinks by a tenth
//! when one is not.
//!
//! Clipper (NSDI'17): additive increase, multiplicative decrease of the largest batch, by the time of
//! batches against the objective; deadlines and the profile are not looked at. *Reading:* the size grows only after a
//! batch that reached it, since a smaller one says nothing of larger ones; the objective is the shortest of the batch.

use super::prefix::prefix_up_to;
use super::{BatchPolicy, Candidate, Entry, Promises, Ran, View};
use crate::RequestId;

/// The factor is the paper's, a tenth less; the step is ours, the least.
const STEP: f64 = 1.0;
const BACKOFF: f64 = 0.9;

pub(super) const ENTRY: Entry = Entry {
    name: "aimd",
    summary: "at once, up to a learned size: one more while batches meet the objective, a tenth less when one does not",
    source: "Clipper (NSDI'17), additive increase and multiplicative decrease",
    promises: Promises { in_time: false, drops_only_hopeless: true },
    build: |settings| Box::new(Aimd { size: 1.0, size_max: f64::from(settings.batch_max.max(1)) }),
};

struct Aimd {
    size: f64,
    size_max: f64,
}

impl Aimd {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size lies between 1 and a u32"
    )]
    fn rows_max(&self) -> u32 {
        self.size as u32
    }
}

impl BatchPolicy for Aimd {
    fn plan(&mut self, view: &View<'_>, _drop: &mut Vec<RequestId>) -> Option<Candidate> {
        Some(prefix_up_to(view.queue.iter(), self.rows_max())?.blind(view.start))
    }

    fn ran(&mut self, ran: &Ran) {
        if ran.elapsed > ran.slo {
            self.size = (self.size * BACKOFF).max(1.0);
        } else if ran.rows >= self.rows_max() {
            self.size = (self.size + STEP).min(self.size_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch, ran};
    use super::*;

    #[test]
    fn the_size_grows_by_one_a_full_batch_and_falls_by_a_tenth_on_a_slow_one() {
        let case = Case::wanted_at(&[100; 40]).batch_max(20);
        let mut policy = case.policy(&ENTRY);
        let mut size = || case.ask(policy.as_mut()).unwrap();
        assert_eq!(size(), batch(1, 0.0, NEVER));
        let mut policy = case.policy(&ENTRY);
        for rows in 1..10 {
            policy.ran(&ran(rows, 10, 20));
        }
        assert_eq!(case.ask(policy.as_mut()).unwrap().requests, 10);
        policy.ran(&ran(5, 10, 20)); // smaller than allowed: nothing is learned
        assert_eq!(case.ask(policy.as_mut()).unwrap().requests, 10);
        policy.ran(&ran(10, 21, 20));
        assert_eq!(case.ask(policy.as_mut()).unwrap().requests, 9);
        for _ in 0..100 {
            policy.ran(&ran(32, 1, 20));
        }
        assert_eq!(case.ask(policy.as_mut()).unwrap().requests, 20);
    }

    #[test]
    fn deadlines_do_not_count() {
        assert_eq!(Case::wanted_at(&[1, 2, 3]).answer(&ENTRY), batch(1, 0.0, NEVER));
    }
}
