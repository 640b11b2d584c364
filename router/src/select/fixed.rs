//! The variant that the operator lists first of those that may answer, whatever the load: what every other policy is
//! compared with.

use super::{Ask, Because, Prospect, Select, SelectEntry};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "fixed",
    summary: "the first in the operator's list, whatever the load",
    source: "every server without selection (baseline)",
    because: Because::Listed,
    build: || Box::new(Fixed),
};

struct Fixed;

impl Select for Fixed {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        ask.prospects.min_by_key(|prospect| prospect.place)
    }
}
