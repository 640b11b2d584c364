//! SlackFit (SuperServe, NSDI'25): the slack that is left falls into one of a few buckets, and each bucket has its
//! variant, the most accurate whose run fits the bucket's lower edge.
//!
//! There a bucket holds pairs of subnet and batch size of one supernet; here the batch is what waits in the variant's
//! lane already. Less slack is left where queues are long, so that the buckets' edges make the policy step down early
//! and in steps, where `most_accurate_in_time` uses the slack to its end.

use std::time::Duration;

use super::{Ask, Because, Prospect, Select, SelectEntry, keep_sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "slack_buckets",
    summary: "the most accurate whose run fits the slack left, rounded down to one of 16 buckets",
    source: "SlackFit of SuperServe (NSDI'25), with the lanes' batches in place of its own",
    because: Because::MostAccurate,
    build: || Box::new(SlackBuckets::default()),
};

/// Few enough that the slack of a moment rarely jumps over one, many enough to tell variants apart.
const BUCKETS: u64 = 16;

/// The longest run seen, in nanoseconds: the buckets are equal parts of it.
#[derive(Default)]
struct SlackBuckets {
    longest: u64,
}

impl Select for SlackBuckets {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let mut first = None;
        for prospect in &mut *ask.prospects {
            let time = nanos(prospect.time);
            self.longest = self.longest.max(time);
            let slack = nanos(ask.budget.saturating_sub(prospect.wait));
            let width = (self.longest / BUCKETS).max(1);
            if time <= width * (slack / width).min(BUCKETS) {
                return Some(prospect);
            }
            keep_sooner(&mut first, &prospect);
        }
        first
    }

    fn peek(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let longest = self.longest;
        let found = self.choose(ask);
        self.longest = longest;
        found
    }
}

/// A run or slack of centuries is as long as one of 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
