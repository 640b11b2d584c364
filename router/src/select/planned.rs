//! Variants by shares that are planned once an epoch; the queues of the moment correct them.
//!
//! Proteus (ASPLOS'24): a plan says which share of the requests each variant answers (`mix.rs`), and each request goes to
//! the variant that is most behind its share. If that one would be late, a less accurate one that would not answers, as
//! with `most_accurate_in_time`; what that policy would not refuse, this one does not refuse either. It is more accurate
//! under load: two variants with full batches carry more than seven with thin ones, and the queues stay short enough
//! for the next burst.

use std::time::Duration;

use batcher::{Instant, Rate, nanos};
use models::VariantId;

use super::most_accurate_in_time::in_time;
use super::{Ask, Asked, Because, Prospect, Select, SelectEntry, keep_sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "planned",
    summary: "by the shares of a plan, made twice a second, that is as accurate as the executors can carry; where that one would be late, the next less accurate in time",
    source: "Proteus (ASPLOS'24), with executors that run several variants in turn",
    because: Because::Planned,
    build: || Box::new(Planned::default()),
};

/// Demand is the higher of two averages: a short one that sees a burst at once, a long one that a gap does not fool.
/// Half and twice as long gave the same to a thousandth on the traces of `make bench-tasks`.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(1);
/// The share of one request in the smoothed time from arrival to deadline.
const BUDGET_GAIN: f64 = 1.0 / 64.0;

#[derive(Default)]
struct Planned {
    shares: Vec<Share>,
    short: Rate,
    long: Rate,
    last: Instant,
    /// Seconds from arrival to deadline, smoothed; `None` before the first request that has one.
    budget: Option<f64>,
}

#[derive(Clone, Copy)]
struct Share {
    variant: VariantId,
    share: f64,
    /// By how many requests it is behind its share.
    behind: f64,
}

impl Planned {
    /// The variant whose turn it is; `None` without a plan.
    fn next(&mut self) -> Option<VariantId> {
        let mut most: Option<&mut Share> = None;
        for share in &mut self.shares {
            share.behind += share.share;
            if most.as_ref().is_none_or(|most| share.behind > most.behind) {
                most = Some(share);
            }
        }
        most.map(|share| {
            share.behind -= 1.0;
            share.variant
        })
    }
}

impl Select for Planned {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let turn = self.next();
        let mut reached = turn.is_none();
        let (mut better, mut first) = (None, None);
        for prospect in &mut *ask.prospects {
            reached |= turn == Some(prospect.variant);
            if in_time(&prospect, ask.budget) {
                if reached {
                    return Some(prospect);
                }
                better = better.or(Some(prospect));
            }
            keep_sooner(&mut first, &prospect);
        }
        better.or(first)
    }

    fn peek(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let before = self.shares.clone();
        let found = self.choose(ask);
        self.shares = before;
        found
    }

    fn arrived(&mut self, rows: u32, budget: Duration, now: Instant) {
        let rows = f64::from(rows);
        self.short.note(rows, nanos(SHORT), now);
        self.long.note(rows, nanos(LONG), now);
        self.last = now;
        if budget < Duration::MAX {
            let budget = budget.as_secs_f64();
            let known = self.budget.get_or_insert(budget);
            *known += BUDGET_GAIN * (budget - *known);
        }
    }

    fn asked(&self, now: Instant) -> Option<Asked> {
        let quiet = nanos(now.since(self.last));
        let rate = |rate: &Rate, over: Duration| {
            rate.per_nano() * 1e9 * nanos(over) / (nanos(over) + quiet)
        };
        let rate = rate(&self.short, SHORT).max(rate(&self.long, LONG));
        let budget = self.budget.map_or(Duration::MAX, Duration::from_secs_f64);
        Some(Asked { rate, budget })
    }

    fn follow(&mut self, shares: &[(VariantId, f64)]) {
        let shares = shares.iter().map(|&(variant, share)| Share { variant, share, behind: 0.0 });
        self.shares.clear();
        self.shares.extend(shares);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::cases::prospects;

    const MS: Duration = Duration::from_millis(1);

    fn choose(policy: &mut Planned, given: Vec<Prospect>, budget: Duration, now: Instant) -> u32 {
        let mut given = given.into_iter();
        let mut ask = Ask { budget, prospects: &mut given };
        policy.arrived(1, budget, now);
        policy.choose(&mut ask).unwrap().variant.0
    }

    #[test]
    fn requests_go_to_the_planned_variants_in_turn_by_their_shares() {
        let mut policy = Planned::default();
        policy.follow(&[(VariantId(1), 0.75), (VariantId(3), 0.25)]);
        let mut one = || choose(&mut policy, prospects(0), 100 * MS, Instant::ZERO);
        let turns: Vec<u32> = (0..8).map(|_| one()).collect();
        assert_eq!(turns, [1, 1, 3, 1, 1, 1, 3, 1]);
    }

    #[test]
    fn a_planned_variant_that_would_be_late_leaves_the_request_to_the_next_that_is_not() {
        let mut policy = Planned::default();
        policy.follow(&[(VariantId(1), 1.0)]);
        let mut one =
            |wait, budget| choose(&mut policy, prospects(wait), budget * MS, Instant::ZERO);
        assert_eq!(one(0, 10), 1);
        assert_eq!(one(0, 9), 2);
        assert_eq!(one(4, 13), 2);
        // Nobody is in time.
        assert_eq!(one(50, 9), 3);
    }

    #[test]
    fn a_more_accurate_variant_answers_where_only_it_is_in_time() {
        let mut policy = Planned::default();
        policy.follow(&[(VariantId(3), 1.0)]);
        let mut given = prospects(0);
        given.truncate(2);
        assert_eq!(choose(&mut policy, given, 50 * MS, Instant::ZERO), 0);
    }

    #[test]
    fn demand_follows_a_burst_within_its_first_moments_and_fades_in_silence() {
        let mut policy = Planned::default();
        let mut now = Instant::ZERO;
        let mut offer = |policy: &mut Planned, requests: u32, gap: Duration| {
            for _ in 0..requests {
                now = now + gap;
                choose(policy, prospects(0), 100 * MS, now);
            }
            policy.asked(now).unwrap().rate
        };
        let calm = offer(&mut policy, 500, 10 * MS);
        assert!((90.0..115.0).contains(&calm), "{calm}");
        let burst = offer(&mut policy, 400, MS);
        assert!((800.0..1050.0).contains(&burst), "{burst}");
        let after = policy.asked(now + 9 * LONG).unwrap().rate;
        assert!(after < 0.15 * burst, "{after}");
        assert_eq!(policy.asked(now).unwrap().budget, 100 * MS);
    }

    proptest! {
        #[test]
        fn it_is_in_time_whenever_some_variant_is(
            times in prop::collection::vec((0_u64..1000, 1_u64..1000), 1..12),
            turn in 0_u32..12,
            budget in 0_u64..2000,
        ) {
            let budget = Duration::from_micros(budget);
            let given: Vec<_> = times.iter().zip(prospects(0).into_iter().cycle()).zip(0..).map(|((&(wait, time), like), id)| {
                let (wait, time) = (Duration::from_micros(wait), Duration::from_micros(time));
                Prospect { variant: VariantId(id), wait, time, ..like }
            }).collect();
            let mut policy = Planned::default();
            policy.follow(&[(VariantId(turn), 1.0)]);
            let chosen = choose(&mut policy, given.clone(), budget, Instant::ZERO);
            let chosen = given.iter().find(|prospect| prospect.variant.0 == chosen).unwrap();
            let any = given.iter().any(|prospect| in_time(prospect, budget));
            prop_assert_eq!(in_time(chosen, budget), any);
        }
    }
}
