//! A placement, and what fits into it.

use std::collections::BTreeSet;

use models::{ExecutorId, VariantId};
use serde::{Deserialize, Serialize};

use super::Problem;

/// Which variants are on which executors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// By executor, the numbers of its variants.
    on: Vec<BTreeSet<u32>>,
}

impl Placement {
    /// So many executors, and nothing on them.
    #[must_use]
    pub fn empty(executors: usize) -> Self {
        Self { on: vec![BTreeSet::new(); executors] }
    }

    /// So many executors with these variants on them.
    #[must_use]
    pub fn of_pairs(
        executors: usize,
        pairs: impl Iterator<Item = (ExecutorId, VariantId)>,
    ) -> Self {
        let mut placement = Self::empty(executors);
        for (executor, variant) in pairs {
            placement.insert(executor.index(), variant.index());
        }
        placement
    }

    /// Each executor with each of its variants, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (ExecutorId, VariantId)> + '_ {
        let on = (0_u32..).map(ExecutorId).zip(&self.on);
        on.flat_map(|(executor, on)| on.iter().map(move |&variant| (executor, VariantId(variant))))
    }

    /// How many executors it is for.
    #[must_use]
    pub fn executors(&self) -> usize {
        self.on.len()
    }

    /// The variants of an executor, rising; none of one that it does not know.
    pub fn on(&self, executor: ExecutorId) -> impl Iterator<Item = VariantId> + '_ {
        self.on.get(executor.index()).into_iter().flatten().map(|&variant| VariantId(variant))
    }

    /// The executors of a variant, rising.
    pub fn of(&self, variant: VariantId) -> impl Iterator<Item = ExecutorId> + '_ {
        let has = move |(executor, on): (u32, &BTreeSet<u32>)| {
            on.contains(&variant.0).then_some(ExecutorId(executor))
        };
        (0_u32..).zip(&self.on).filter_map(has)
    }

    /// Whether that variant is on that executor.
    #[must_use]
    pub fn has(&self, executor: ExecutorId, variant: VariantId) -> bool {
        self.holds(executor.index(), variant.index())
    }

    /// How many variants stand somewhere, each counted as often as it does.
    #[must_use]
    pub fn places(&self) -> usize {
        self.on.iter().map(BTreeSet::len).sum()
    }

    /// How many weights must be loaded to come here from there.
    #[must_use]
    pub fn loads_from(&self, previous: &Self) -> usize {
        let had = |executor: usize, variant: u32| {
            previous.on.get(executor).is_some_and(|on| on.contains(&variant))
        };
        let here = self.on.iter().enumerate();
        here.map(|(executor, on)| on.iter().filter(|&&one| !had(executor, one)).count()).sum()
    }

    /// No executor holds more than its memory.
    #[must_use]
    pub fn fits(&self, problem: &Problem) -> bool {
        self.on.len() <= problem.memory.len()
            && (0..self.on.len())
                .all(|executor| self.used(problem, executor) <= problem.memory[executor])
    }

    pub(super) fn holds(&self, executor: usize, variant: usize) -> bool {
        self.on.get(executor).is_some_and(|on| on.contains(&number(variant)))
    }

    pub(crate) fn insert(&mut self, executor: usize, variant: usize) {
        self.on[executor].insert(number(variant));
    }

    pub(crate) fn remove(&mut self, executor: usize, variant: usize) {
        self.on[executor].remove(&number(variant));
    }

    /// How many executors have that variant.
    pub(super) fn count(&self, variant: usize) -> usize {
        self.on.iter().filter(|on| on.contains(&number(variant))).count()
    }

    pub(super) fn variants(&self, executor: usize) -> impl Iterator<Item = usize> + '_ {
        self.on[executor].iter().map(|&variant| variant as usize)
    }

    fn used(&self, problem: &Problem, executor: usize) -> u64 {
        self.variants(executor).map(|variant| problem.variants[variant].memory).sum()
    }

    /// Bytes that are free on an executor.
    pub(super) fn free(&self, problem: &Problem, executor: usize) -> u64 {
        problem.memory[executor].saturating_sub(self.used(problem, executor))
    }

    /// Whether that variant is not there and fits.
    pub(super) fn takes(&self, problem: &Problem, executor: usize, variant: usize) -> bool {
        !self.holds(executor, variant)
            && problem.variants[variant].memory <= self.free(problem, executor)
    }

    /// The same executors in another order: the one at `from[i]` becomes number i.
    pub(super) fn reordered(&self, from: &[usize]) -> Self {
        Self { on: from.iter().map(|&index| self.on[index].clone()).collect() }
    }

    /// Bytes that stand on both those executors of two placements.
    pub(super) fn shared(&self, executor: usize, other: &BTreeSet<u32>, problem: &Problem) -> u64 {
        let both = self.on[executor].intersection(other);
        both.map(|&variant| problem.variants[variant as usize].memory.max(1)).sum()
    }

    pub(super) fn set(&self, executor: usize) -> &BTreeSet<u32> {
        &self.on[executor]
    }

    /// Of so many executors: missing ones are empty, and what does not fit the problem is not kept.
    pub(super) fn within(&self, problem: &Problem) -> Self {
        let mut kept = Self::empty(problem.memory.len());
        for executor in 0..kept.on.len().min(self.on.len()) {
            let known = self.variants(executor).filter(|&one| one < problem.variants.len());
            for variant in known.collect::<Vec<_>>() {
                if kept.takes(problem, executor, variant) {
                    kept.insert(executor, variant);
                }
            }
        }
        kept
    }
}

fn number(variant: usize) -> u32 {
    u32::try_from(variant).expect("fewer variants than a u32 counts")
}
