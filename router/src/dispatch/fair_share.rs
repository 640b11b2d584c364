//! Executor time is shared out by weight: the variant that has had least of it, for its weight, goes first.
//!
//! DyBatch (CCGrid'20) picks the application with the least device time so far; the bookkeeping is that of start-time
//! fair queueing (Goyal, Vin and Cheng, SIGCOMM'96). Each variant has a virtual time, which a launch advances by the
//! batch's executor time, as predicted, over the weight. A variant that comes back after none of it waited starts at the
//! virtual time that its executors have reached, the greatest where they differ: idling earns no credit. Priority
//! levels order requests within a queue only, since a tenant could name itself the most urgent.

use std::time::Duration;

use batcher::{Instant, nanos};
use models::{ExecutorId, VariantId};

use super::{Dispatch, DispatchEntry, Launch, Offer, Urgency};

pub(super) const ENTRY: DispatchEntry = DispatchEntry {
    name: "fair_share",
    summary: "the model that has had the least executor time for its weight; idling earns no credit",
    source: "DyBatch (CCGrid'20), least device time first; start-time fair queueing (SIGCOMM'96)",
    build: || Box::new(FairShare::default()),
};

#[derive(Default)]
struct FairShare {
    /// By variant.
    shares: Vec<Share>,
    /// By executor, the virtual time at which its last batch was started.
    reached: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Share {
    /// Executor time had, over the weight, in nanoseconds.
    virtual_time: u64,
    weight: f64,
}

impl Share {
    /// By how much so much executor time advances it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a weight is positive; saturates"
    )]
    fn charge(&self, time: Duration) -> u64 {
        (nanos(time) / self.weight) as u64
    }
}

impl FairShare {
    fn share(&mut self, variant: VariantId) -> &mut Share {
        let index = variant.index();
        if self.shares.len() <= index {
            self.shares.resize(index + 1, Share { virtual_time: 0, weight: 1.0 });
        }
        &mut self.shares[index]
    }
}

impl Dispatch for FairShare {
    fn urgency(&self, offer: &Offer, _now: Instant) -> Urgency {
        (0, self.shares.get(offer.variant.index()).map_or(0, |share| share.virtual_time))
    }

    fn woke(
        &mut self,
        variant: VariantId,
        weight: f64,
        executors: &mut dyn Iterator<Item = ExecutorId>,
    ) {
        let reached = executors.filter_map(|executor| self.reached.get(executor.index()));
        let reached = reached.copied().max().unwrap_or(0);
        let share = self.share(variant);
        share.virtual_time = share.virtual_time.max(reached);
        share.weight = weight;
    }

    fn launched(&mut self, offer: &Offer, launch: Launch) {
        let share = self.share(offer.variant);
        let start = share.virtual_time;
        share.virtual_time = start.saturating_add(share.charge(launch.time));
        let index = launch.executor.index();
        if self.reached.len() <= index {
            self.reached.resize(index + 1, 0);
        }
        self.reached[index] = self.reached[index].max(start);
    }

    fn withdrawn(&mut self, variant: VariantId, time: Duration) {
        let share = self.share(variant);
        share.virtual_time = share.virtual_time.saturating_sub(share.charge(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::cases::offer;

    const HERE: ExecutorId = ExecutorId(0);

    /// Serves the first of those variants so often, each batch taking so many milliseconds; returns how often each was.
    fn serve(share: &mut FairShare, waiting: &[(u32, u64)], times: u32) -> Vec<u32> {
        let mut served = vec![0; waiting.len()];
        for _ in 0..times {
            let urgency = |at: usize| share.urgency(&offer(waiting[at].0), Instant::ZERO);
            let first = (0..waiting.len()).min_by_key(|&at| urgency(at)).unwrap();
            let (variant, ms) = waiting[first];
            let time = Duration::from_millis(ms);
            share.launched(&offer(variant), Launch { executor: HERE, time, now: Instant::ZERO });
            served[first] += 1;
        }
        served
    }

    fn woken(weights: &[f64]) -> FairShare {
        let mut share = FairShare::default();
        for (variant, &weight) in (0..).zip(weights) {
            share.woke(VariantId(variant), weight, &mut [HERE].into_iter());
        }
        share
    }

    #[test]
    fn time_is_shared_by_weight_whatever_a_batch_takes() {
        let mut share = woken(&[1.0, 1.0, 2.0]);
        let served = serve(&mut share, &[(0, 1), (1, 4), (2, 1)], 1300);
        // Of 16 ms, 4 go to the first (4 batches), 4 to the second (1), 8 to the third (8).
        assert_eq!(served, [400, 100, 800]);
    }

    #[test]
    fn a_batch_that_is_withdrawn_costs_nothing() {
        let mut share = woken(&[1.0, 2.0]);
        let time = Duration::from_millis(3);
        for variant in [0, 1] {
            let before = share.urgency(&offer(variant), Instant::ZERO);
            share.launched(&offer(variant), Launch { executor: HERE, time, now: Instant::ZERO });
            assert!(share.urgency(&offer(variant), Instant::ZERO) > before);
            share.withdrawn(VariantId(variant), time);
            assert_eq!(share.urgency(&offer(variant), Instant::ZERO), before);
        }
    }

    #[test]
    fn idling_earns_no_credit() {
        let mut share = woken(&[1.0]);
        serve(&mut share, &[(0, 1)], 1000);
        share.woke(VariantId(1), 1.0, &mut [HERE].into_iter());
        let served = serve(&mut share, &[(0, 1), (1, 1)], 100);
        assert!(served[0].abs_diff(served[1]) <= 2, "{served:?}");
    }

    #[test]
    fn having_waited_in_vain_is_not_forgiven_by_a_new_request() {
        let mut share = woken(&[1.0, 1.0]);
        serve(&mut share, &[(0, 10)], 10);
        // The first emptied its queue; it is back, and still owes the second 100 ms, less the batch in service.
        share.woke(VariantId(0), 1.0, &mut [HERE].into_iter());
        assert_eq!(serve(&mut share, &[(0, 10), (1, 10)], 10), [0, 10]);
    }

    #[test]
    fn a_variant_elsewhere_does_not_move_the_start_here() {
        let mut share = woken(&[1.0]);
        serve(&mut share, &[(0, 1)], 1000);
        share.woke(VariantId(1), 1.0, &mut [ExecutorId(1)].into_iter());
        assert_eq!(share.urgency(&offer(1), Instant::ZERO), (0, 0));
    }
}
