//! The cheapest variant that is predicted to answer in time; with equal costs the most accurate of them.
//!
//! INFaaS (ATC'21) picks the cheapest variant that meets the stated accuracy and latency; there the latency is the
//! profile's, here it includes the queues.

use super::{Ask, Because, Prospect, Select, SelectEntry, keep_sooner};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "cheapest",
    summary: "the cheapest of those predicted to be in time; else the one predicted to answer first",
    source: "INFaaS (ATC'21); what the objective `cost` asks for",
    because: Because::Cheapest,
    build: || Box::new(Cheapest),
};

struct Cheapest;

impl Select for Cheapest {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let (mut best, mut first): (Option<Prospect>, Option<Prospect>) = (None, None);
        for prospect in &mut *ask.prospects {
            let cheaper = best.is_none_or(|best| prospect.cost < best.cost);
            if cheaper && prospect.end() <= ask.budget {
                best = Some(prospect);
            }
            keep_sooner(&mut first, &prospect);
        }
        best.or(first)
    }
}
