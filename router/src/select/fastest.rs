//! The variant that is predicted to answer first: the most that a deadline can get, and the least accuracy.

use super::{Ask, Because, Prospect, Select, SelectEntry, soonest};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "fastest",
    summary: "the one predicted to answer first",
    source: "baseline; what the objective `latency` asks for",
    because: Because::Soonest,
    build: || Box::new(Fastest),
};

struct Fastest;

impl Select for Fastest {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        soonest(ask.prospects)
    }
}
