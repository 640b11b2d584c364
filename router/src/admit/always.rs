//! Lets every request in: the baseline.

use super::{Admission, AdmissionEntry, Ask};
use crate::Rejection;

pub(super) const ENTRY: AdmissionEntry = AdmissionEntry {
    name: "always",
    summary: "every request enters",
    source: "the baseline",
    build: || Box::new(Always),
};

struct Always;

impl Admission for Always {
    fn admit(&mut self, _ask: &Ask<'_>) -> Result<(), Rejection> {
        Ok(())
    }
}
