//! SlackFit (SuperServe, NSDI'25): the slack that is left falls into one of a few buckets, and each bucket has its
//! variant, the most accurate whose run fits the bucket's lower edge.
//!
//! There a bucket holds pairs of subnet and batch size of one supernet; here the batch is what waits in the variant's
//! lane already. Less slack is left where queues are long, so that the buckets' edges make the policy step down early
//! and in steps, where `most_accurate_in_time` uses the slack to its end.

use std::time::Duration;

use super::{Ask, Prospect, Select, SelectEntry, sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "slack_buckets",
    summary: "the most accurate whose run fits the slack left, rounded down to one of 16 buckets",
    source: "SlackFit of SuperServe (NSDI'25), with the lanes' batches in place of its own",
    build: || Box::new(SlackBuckets::default()),
};

/// Few enough that the slack of a moment rarely jumps over one, many enough to tell variants apart.
const BUCKETS: u32 = 16;

/// The longest run seen: the buckets are equal parts of it.
#[derive(Default)]
struct SlackBuckets {
    longest: Duration,
}

impl Select for SlackBuckets {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let mut first = None;
        for prospect in &mut *ask.prospects {
            self.longest = self.longest.max(prospect.time);
            let slack = ask.budget.saturating_sub(prospect.wait);
            let width = (self.longest / BUCKETS).max(Duration::from_nanos(1));
            let bucket = slack.as_nanos() / width.as_nanos();
            let edge = width * u32::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS);
            if prospect.time <= edge {
                return Some(prospect);
            }
            first = sooner(first, prospect);
        }
        first
    }
}
