//! The most accurate variant that is predicted to answer in time under the load of this moment.
//!
//! As the load rises the queues grow; what the best variant's queue has no room for goes to the next one that relieves the
//! executors, and so on down: the shares of the variants follow from the queues, without a plan. The prediction includes
//! every queue of the executors, since variants that share an executor wait for each other.

use std::time::Duration;

use super::{Ask, Because, Prospect, Select, SelectEntry, keep_sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "most_accurate_in_time",
    summary: "the most accurate of those predicted to be in time under the present load; else the one predicted to answer first",
    source: "ours; degrading before refusing after Proteus (ASPLOS'24) and Loki (HPDC'24)",
    because: Because::MostAccurate,
    build: || Box::new(MostAccurateInTime),
};

/// The share of the time left beside its own run that the queue of the most accurate variant may take, one part in so many;
/// others may take what [`in_time`] leaves, half of it. So a long queue is shared by two neighbours on the way down, and not
/// by the best and the fastest. A third instead of a quarter carries as much and is 0.02 points less accurate
/// (`make bench-tasks`, means of the four worlds).
const FIRST_SHARE: u32 = 4;

/// Whether that variant is expected to answer within the time, with as much again as it waits: who comes later may be more
/// urgent and join in front, and a batch of a slower variant starts before one of a faster that has the same deadline.
/// Three quarters of the wait instead carry a fifth less of BERT, one and a quarter miss a bar of accuracy (`make
/// bench-tasks`).
pub(super) fn in_time(prospect: &Prospect, budget: Duration) -> bool {
    prospect.end() + prospect.wait <= budget
}

struct MostAccurateInTime;

impl Select for MostAccurateInTime {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let (mut full, mut first): (Option<Prospect>, _) = (None, None);
        for prospect in &mut *ask.prospects {
            if in_time(&prospect, ask.budget) {
                let left = ask.budget.saturating_sub(prospect.time);
                match full {
                    Some(full) if relieves(&prospect, &full) => return Some(prospect),
                    Some(_) => {}
                    None if prospect.wait <= prospect.time.max(left / FIRST_SHARE) => {
                        return Some(prospect);
                    }
                    None => full = Some(prospect),
                }
            }
            keep_sooner(&mut first, &prospect);
        }
        full.or(first)
    }
}

/// Whether choosing it in place of one that is more accurate shortens the queue by much. What takes three quarters of its
/// work or more, of the same executors, is right less often for next to nothing.
fn relieves(prospect: &Prospect, above: &Prospect) -> bool {
    prospect.work * 4 < above.work * 3 || prospect.wait < above.wait / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::cases::prospects;

    fn chosen(wait_ms: u64) -> u32 {
        chosen_of(prospects(wait_ms))
    }

    fn chosen_of(prospects: Vec<Prospect>) -> u32 {
        let mut prospects = prospects.into_iter();
        let mut ask = Ask { budget: Duration::from_millis(1000), prospects: &mut prospects };
        MostAccurateInTime.choose(&mut ask).unwrap().variant.0
    }

    #[test]
    fn a_growing_queue_of_short_runs_is_shared_by_two_neighbours_until_it_takes_half_of_the_time() {
        // Of a second the runs of 20 to 1 ms take next to nothing.
        let table = [(0, 0), (240, 0), (250, 1), (490, 1), (496, 3), (900, 3)];
        for (wait, variant) in table {
            assert_eq!(chosen(wait), variant, "{wait} ms");
        }
    }

    #[test]
    fn a_variant_that_takes_nearly_as_long_as_a_better_one_is_passed_over() {
        let mut table = prospects(300);
        table[1].work = table[0].work * 4 / 5;
        assert_eq!(chosen_of(table), 2);
    }

    #[test]
    fn a_batch_that_grew_long_relieves_still() {
        let mut table = prospects(300);
        table[1].time = table[0].time * 4;
        assert_eq!(chosen_of(table), 1);
    }

    #[test]
    fn where_nobody_relieves_the_queue_the_most_accurate_in_time_answers() {
        let mut table = prospects(300);
        table.iter_mut().for_each(|prospect| prospect.work = Duration::from_millis(20));
        assert_eq!(chosen_of(table), 0);
    }
}
