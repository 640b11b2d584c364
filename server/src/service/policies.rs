//! Which policies decide while the server runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use models::VariantId;
use router::PolicyNames;

use super::Service;
use crate::metrics::ModelMetrics;

/// Policies by their names, which are known ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChoice {
    /// How requests are batched, of models that do not say.
    pub batching: String,
    /// Who may enter.
    pub admission: String,
    /// Who gets an executor.
    pub dispatch: String,
}

/// The batching policy of models that name none, and which variants those are.
#[derive(Debug)]
pub(super) struct Unnamed {
    policy: String,
    variants: BTreeSet<VariantId>,
}

impl Unnamed {
    pub(super) fn new(policy: String) -> Self {
        Self { policy, variants: BTreeSet::new() }
    }

    /// The policy of a new variant: its own, or else the one that is in force. Variants that are gone are forgotten.
    pub(super) fn policy_of(
        &mut self,
        variant: VariantId,
        own: Option<&String>,
        loaded: &BTreeMap<VariantId, Arc<ModelMetrics>>,
    ) -> String {
        self.variants.retain(|known| loaded.contains_key(known));
        own.cloned().unwrap_or_else(|| {
            self.variants.insert(variant);
            self.policy.clone()
        })
    }
}

impl Service {
    /// Lets other policies decide from this moment, for the requests that wait too. Models that name their own batching
    /// policy keep it.
    pub fn follow(&self, choice: &PolicyChoice) {
        let PolicyChoice { batching, admission, dispatch } = choice.clone();
        let mut unnamed = self.unnamed.lock();
        unnamed.policy = batching.clone();
        let batching = unnamed.variants.iter().map(|variant| (*variant, batching.clone()));
        self.driver.follow(PolicyNames { admission, dispatch, batching: batching.collect() });
    }
}
