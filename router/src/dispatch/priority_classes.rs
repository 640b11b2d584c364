//! A more urgent priority level always goes first, but no queue is left out for ever.
//!
//! Strict priorities with ageing, as time-sharing systems have had since CTSS (Corbato et al., 1962). A batch rises a
//! class for each [`STARVATION`] for which its first request has waited *and* its variant got nothing. Were the wait
//! alone to count, everything in the long queue of a bulk tenant would have risen to the top, and the classes would be
//! upside down in the very overload that they are for; so a starved queue gets one batch, and is back in its class. The
//! bound is one of queues: within a queue the order of levels is strict.

use std::time::Duration;

use batcher::Instant;

use super::{Dispatch, DispatchEntry, Launch, Offer, Urgency, latest_start};

/// Rare enough that those who rise delay fewer than one in a hundred of the others (a batch takes some milliseconds),
/// and no longer than the patience of those who wait for an answer without a deadline.
const STARVATION: Duration = Duration::from_secs(1);

pub(super) const ENTRY: DispatchEntry = DispatchEntry {
    name: "priority_classes",
    summary: "the most urgent priority level; a queue rises one level for each second without a batch; within a level the earliest latest start",
    source: "strict priorities with ageing, as in CTSS (1962); order within a level: Clockwork (OSDI'20)",
    build: || Box::new(PriorityClasses::default()),
};

#[derive(Default)]
struct PriorityClasses {
    /// By variant, when its last batch was started.
    served: Vec<Instant>,
}

impl PriorityClasses {
    /// Since when the batch is left out.
    fn since(&self, offer: &Offer) -> Instant {
        let served = self.served.get(offer.variant.index());
        served.map_or(offer.arrived, |served| offer.arrived.max(*served))
    }

    /// How often it was left out for so long that it rises.
    fn rises(&self, offer: &Offer, now: Instant) -> u32 {
        let times = now.since(self.since(offer)).as_nanos() / STARVATION.as_nanos();
        u32::try_from(times).unwrap_or(u32::MAX)
    }
}

impl Dispatch for PriorityClasses {
    fn urgency(&self, offer: &Offer, now: Instant) -> Urgency {
        let class = offer.priority.saturating_sub(self.rises(offer, now)).max(1);
        (class, latest_start(offer).as_nanos())
    }

    fn falls(&self, offer: &Offer, now: Instant) -> Instant {
        let rises = self.rises(offer, now);
        if offer.priority.saturating_sub(rises) <= 1 {
            return Instant::NEVER;
        }
        self.since(offer) + STARVATION * (rises + 1)
    }

    fn launched(&mut self, offer: &Offer, launch: Launch) {
        let index = offer.variant.index();
        if self.served.len() <= index {
            self.served.resize(index + 1, Instant::ZERO);
        }
        self.served[index] = launch.now;
    }
}

#[cfg(test)]
mod tests {
    use models::ExecutorId;

    use super::*;
    use crate::dispatch::cases::{at, offer};

    fn bulk() -> Offer {
        Offer { priority: 3, ..offer(0) }
    }

    fn class(classes: &PriorityClasses, offer: &Offer, ms: u64) -> u32 {
        classes.urgency(offer, at(ms)).0
    }

    #[test]
    fn a_level_goes_before_the_next_whatever_its_latest_start() {
        let mut urgent = Offer { arrived: at(500), ..offer(1) };
        urgent.candidate.latest = at(900);
        let mut lax = Offer { priority: 2, ..offer(0) };
        lax.candidate.latest = at(600);
        let classes = PriorityClasses::default();
        assert!(classes.urgency(&urgent, at(550)) < classes.urgency(&lax, at(550)));
        let same = Offer { priority: 1, ..lax };
        assert!(classes.urgency(&urgent, at(550)) > classes.urgency(&same, at(550)));
    }

    #[test]
    fn a_queue_rises_a_level_for_each_second_in_vain_and_says_when() {
        let classes = PriorityClasses::default();
        for (ms, level) in [(0, 3), (999, 3), (1000, 2), (1999, 2), (2000, 1), (9000, 1)] {
            assert_eq!(class(&classes, &bulk(), ms), level, "after {ms} ms");
        }
        let falls = |ms| classes.falls(&bulk(), at(ms));
        assert_eq!((falls(0), falls(999), falls(1000)), (at(1000), at(1000), at(2000)));
        assert_eq!(falls(2000), Instant::NEVER);
    }

    #[test]
    fn a_starved_queue_gets_one_batch_and_is_back_in_its_class() {
        let mut classes = PriorityClasses::default();
        assert_eq!(class(&classes, &bulk(), 2500), 1);
        let launch = Launch { executor: ExecutorId(0), time: STARVATION, now: at(2500) };
        classes.launched(&bulk(), launch);
        assert_eq!(class(&classes, &bulk(), 2500), 3);
        assert_eq!(class(&classes, &bulk(), 3500), 2);
    }
}
