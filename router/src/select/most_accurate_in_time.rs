//! The most accurate variant that is predicted to answer in time under the load of this moment.
//!
//! As the load rises the queues grow until the best variant would be late; then the next one takes what it cannot, and
//! so on down: the shares of the variants follow from the queues, without a plan. The prediction includes every queue
//! of the executors, since variants that share an executor wait for each other.

use std::time::Duration;

use super::{Ask, Prospect, Select, SelectEntry, keep_sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "most_accurate_in_time",
    summary: "the most accurate of those predicted to be in time under the present load; else the one predicted to answer first",
    source: "ours; degrading before refusing after Proteus (ASPLOS'24) and Loki (HPDC'24)",
    build: || Box::new(MostAccurateInTime),
};

/// Of each wait one part in so many is kept back: who comes later may be more urgent and join in front, and a batch of a
/// slower variant starts before one of a faster that has the same deadline. Simulated for `sim/tests/tasks.rs` at 1.3 to 1.8 times what
/// the best variant carries: with a quarter kept back up to 1.2 % of the requests are lost, with a half 0.3 %; with all of it none,
/// and the answers are right in 0.6 % less.
const KEPT_BACK: u32 = 2;

/// The share of the time left beside its own run that the most accurate variant's queue may take; each one further down
/// takes as much again of what those above it leave of a half. So a long queue is shared by two neighbours on the way
/// down, one that lets it grow and one that lets it shrink, and not by the best and the fastest. With `digits` (deadline
/// 50 ms, runs below 1 ms) at three times the load that the best carries (docs/variants.md).
const FIRST_SHARE: u32 = 4;

/// Whether that variant is expected to answer within the time, with what is kept back.
pub(super) fn in_time(prospect: &Prospect, budget: Duration) -> bool {
    prospect.end() + prospect.wait / KEPT_BACK <= budget
}

struct MostAccurateInTime;

impl Select for MostAccurateInTime {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let mut first = None;
        let mut above: Option<Prospect> = None;
        let mut steps = 0;
        for prospect in &mut *ask.prospects {
            let left = ask.budget.saturating_sub(prospect.time);
            let relieves = above.is_none_or(|above| relieves(&prospect, &above));
            if relieves && in_time(&prospect, ask.budget) {
                if prospect.wait <= prospect.time || prospect.wait <= queue(left, steps) {
                    return Some(prospect);
                }
                steps += 1;
                above = Some(prospect);
            }
            keep_sooner(&mut first, &prospect);
        }
        first
    }
}

/// Whether choosing it in place of the one above it shortens the queue by much. What takes three quarters of the time or
/// more, of the same executors, is right less often for next to nothing.
fn relieves(prospect: &Prospect, above: &Prospect) -> bool {
    prospect.time * 4 < above.time * 3 || prospect.wait < above.wait / 2
}

/// The longest queue for a variant with so many that would do above it: of the time left a quarter, then three eighths..
fn queue(left: Duration, steps: u32) -> Duration {
    left / 2 - left / (FIRST_SHARE << steps.min(STEPS_MAX))
}

/// Further steps differ by less than a thousandth of the deadline.
const STEPS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::cases::prospects;

    fn chosen(wait_ms: u64) -> u32 {
        let mut prospects = prospects(wait_ms).into_iter();
        let mut ask = Ask { budget: Duration::from_millis(1000), prospects: &mut prospects };
        MostAccurateInTime.choose(&mut ask).unwrap().variant.0
    }

    #[test]
    fn a_growing_queue_of_short_runs_steps_down_one_variant_at_a_time() {
        // Of a second the runs of 20 to 1 ms take next to nothing.
        let table = [(0, 0), (240, 0), (250, 1), (360, 1), (375, 2), (430, 2), (440, 3), (900, 3)];
        for (wait, variant) in table {
            assert_eq!(chosen(wait), variant, "{wait} ms");
        }
    }

    #[test]
    fn a_variant_that_takes_nearly_as_long_as_a_better_one_is_passed_over() {
        let mut table = prospects(300);
        table[1].time = table[0].time * 4 / 5;
        let mut given = table.into_iter();
        let mut ask = Ask { budget: Duration::from_millis(1000), prospects: &mut given };
        assert_eq!(MostAccurateInTime.choose(&mut ask).unwrap().variant.0, 2);
    }
}
