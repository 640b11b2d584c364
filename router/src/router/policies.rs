//! Other policies from one moment to the next, without anyone losing a place.

use batcher::{Instant, by_name};

use super::Router;
use crate::dispatch::Rank;
use crate::{PolicyNames, admit, dispatch};

impl Router {
    /// Follows other policies. A policy that stays keeps what it has learned.
    pub(super) fn follow(&mut self, policies: &PolicyNames, now: Instant) {
        let entry = admit::by_name(&policies.admission);
        if let Some(entry) = entry.filter(|entry| entry.name != self.settings.admission) {
            self.admission = (entry.build)();
            self.settings.admission = entry.name.to_owned();
        }
        let entry = dispatch::by_name(&policies.dispatch);
        if let Some(entry) = entry.filter(|entry| entry.name != self.settings.dispatch) {
            self.dispatch = (entry.build)();
            self.settings.dispatch = entry.name.to_owned();
            let waiting = self.variants.iter().flatten().filter(|variant| variant.waiting > 0);
            for variant in waiting {
                let id = variant.spec.variant;
                self.dispatch.woke(id, variant.spec.weight, &mut self.cluster.with(id));
            }
        }
        for (id, name) in &policies.batching {
            let variant = self.variants.get_mut(id.index()).and_then(Option::as_mut);
            let Some((variant, entry)) = variant.zip(by_name(name).ok()) else { continue };
            if variant.spec.policy == entry.name {
                continue;
            }
            variant.spec.policy = entry.name.to_owned();
            for &(_, lane) in &variant.lanes {
                self.lanes[lane].batcher.follow((entry.build)(&variant.spec.settings));
            }
        }
        for lane in self.active.iter() {
            self.ranks[lane] = Rank::UNKNOWN;
        }
        self.review(now);
    }
}
