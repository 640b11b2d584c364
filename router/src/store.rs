//! Which weights are in the memory of which executor, and when each was used last. No entry, no cost: an executor that
//! never stated its memory has none.

use std::time::Duration;

use batcher::Instant;
use models::{ExecutorId, VariantId};

use crate::place::Placement;

/// The memory of all executors, dense by id.
#[derive(Debug, Default)]
pub(crate) struct Store {
    shelves: Vec<Option<Shelf>>,
    /// Where weights are to be brought.
    pub(crate) target: Option<Placement>,
}

/// The memory of one executor.
#[derive(Debug)]
pub(crate) struct Shelf {
    bytes: u64,
    used: u64,
    pub(crate) on_demand: bool,
    /// When what was asked for before has been loaded: weights come one after another.
    link_free: Instant,
    /// In place or on their way.
    kept: Vec<Kept>,
    /// What could not be loaded there when it was last tried.
    failed: Vec<Failed>,
}

/// Weights that could not be loaded.
#[derive(Clone, Copy, Debug)]
struct Failed {
    variant: VariantId,
    /// In a row.
    times: u32,
    /// Not tried again before.
    until: Instant,
}

/// After a failed load the same is not tried on that executor for so long, and after each further one for twice as
/// long as before, up to a bound: a device that is short of memory for a moment recovers in seconds, and a file that
/// is broken costs next to nothing.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(64);

#[derive(Clone, Copy, Debug)]
struct Kept {
    variant: VariantId,
    bytes: u64,
    used: Instant,
}

impl Store {
    /// Nothing has stated its memory.
    pub(crate) fn is_empty(&self) -> bool {
        self.shelves.is_empty()
    }

    /// An executor holds so many bytes, of which none is used.
    pub(crate) fn state(&mut self, executor: ExecutorId, bytes: u64, on_demand: bool) {
        let index = executor.index();
        if self.shelves.len() <= index {
            self.shelves.resize_with(index + 1, || None);
        }
        let link_free = Instant::ZERO;
        self.shelves[index] = Some(Shelf {
            bytes,
            used: 0,
            on_demand,
            link_free,
            kept: Vec::new(),
            failed: Vec::new(),
        });
    }

    /// An executor is gone with all that its memory held.
    pub(crate) fn lose(&mut self, executor: ExecutorId) {
        if let Some(shelf) = self.shelves.get_mut(executor.index()) {
            *shelf = None;
        }
    }

    pub(crate) fn shelf(&self, executor: ExecutorId) -> Option<&Shelf> {
        self.shelves.get(executor.index())?.as_ref()
    }

    fn shelf_mut(&mut self, executor: ExecutorId) -> Option<&mut Shelf> {
        self.shelves.get_mut(executor.index())?.as_mut()
    }

    /// Executors that have stated their memory.
    pub(crate) fn executors(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        let stated = (0_u32..).zip(&self.shelves).filter(|(_, shelf)| shelf.is_some());
        stated.map(|(index, _)| ExecutorId(index))
    }

    /// Weights take their room, in place or on their way.
    pub(crate) fn keep(
        &mut self,
        executor: ExecutorId,
        variant: VariantId,
        bytes: u64,
        now: Instant,
    ) {
        if let Some(shelf) = self.shelf_mut(executor) {
            shelf.used += bytes;
            shelf.kept.push(Kept { variant, bytes, used: now });
        }
    }

    /// Weights are let go.
    pub(crate) fn evict(&mut self, executor: ExecutorId, variant: VariantId) {
        let Some(shelf) = self.shelf_mut(executor) else { return };
        if let Some(place) = shelf.kept.iter().position(|kept| kept.variant == variant) {
            shelf.used -= shelf.kept.swap_remove(place).bytes;
        }
    }

    /// A variant is nowhere any more.
    pub(crate) fn forget(&mut self, variant: VariantId) {
        for index in 0..self.shelves.len() {
            let executor = ExecutorId(u32::try_from(index).expect("executors are counted in u32"));
            self.evict(executor, variant);
            self.settle(executor, variant);
        }
    }

    /// Weights could not be loaded: their room is free again, and they are not asked for at once again.
    pub(crate) fn fail(&mut self, executor: ExecutorId, variant: VariantId, now: Instant) {
        self.evict(executor, variant);
        let Some(shelf) = self.shelf_mut(executor) else { return };
        let known = shelf.failed.iter().position(|failed| failed.variant == variant);
        let times = known.map_or(0, |place| shelf.failed.swap_remove(place).times);
        let wait = RETRY_FIRST * 2_u32.saturating_pow(times).min(1 << 16);
        let until = now + wait.min(RETRY_MAX);
        shelf.failed.push(Failed { variant, times: times.saturating_add(1), until });
    }

    /// Weights have been loaded: what failed before is forgotten.
    pub(crate) fn settle(&mut self, executor: ExecutorId, variant: VariantId) {
        if let Some(shelf) = self.shelf_mut(executor) {
            shelf.failed.retain(|failed| failed.variant != variant);
        }
    }

    /// Whether those weights could not be loaded on some executor.
    pub(crate) fn failed(&self, variant: VariantId) -> bool {
        self.shelves.iter().flatten().any(|shelf| shelf.failed(variant))
    }

    /// Weights are used now.
    pub(crate) fn touch(&mut self, executor: ExecutorId, variant: VariantId, now: Instant) {
        let Some(shelf) = self.shelf_mut(executor) else { return };
        if let Some(kept) = shelf.kept.iter_mut().find(|kept| kept.variant == variant) {
            kept.used = now;
        }
    }

    /// The link to that executor is taken by one more load; returns when it will be done.
    pub(crate) fn queue_load(
        &mut self,
        executor: ExecutorId,
        load: Duration,
        now: Instant,
    ) -> Instant {
        let shelf = self.shelf_mut(executor).expect("weights are loaded where memory was stated");
        shelf.link_free = shelf.link_free.max(now) + load;
        shelf.link_free
    }
}

impl Shelf {
    /// When a load asked for now would be done.
    pub(crate) fn loaded_at(&self, load: Duration, now: Instant) -> Instant {
        self.link_free.max(now) + load
    }

    /// All that it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is in place or on its way.
    pub(crate) fn kept(&self) -> impl Iterator<Item = VariantId> + '_ {
        self.kept.iter().map(|kept| kept.variant)
    }

    pub(crate) fn free(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }

    /// Whether those weights could not be loaded here when that was last tried.
    pub(crate) fn failed(&self, variant: VariantId) -> bool {
        self.failed.iter().any(|failed| failed.variant == variant)
    }

    /// Whether those weights can be asked for: they did not just fail to load.
    pub(crate) fn may_try(&self, variant: VariantId, now: Instant) -> bool {
        self.failed.iter().all(|failed| failed.variant != variant || failed.until <= now)
    }

    pub(crate) fn has(&self, variant: VariantId) -> bool {
        self.kept.iter().any(|kept| kept.variant == variant)
    }

    /// What to let go, least lately used first, so that so many bytes fit, and when the latest used of it was used;
    /// `None` if even all that may go is too little.
    pub(crate) fn victims(
        &self,
        bytes: u64,
        may_go: impl Fn(VariantId) -> bool,
        into: &mut Vec<VariantId>,
    ) -> Option<Instant> {
        into.clear();
        let (mut free, mut last) = (self.free(), None);
        while free < bytes {
            let after = |kept: &&Kept| last.is_none_or(|last| (kept.used, kept.variant) > last);
            let oldest = self.kept.iter().filter(after).filter(|kept| may_go(kept.variant));
            let oldest = oldest.min_by_key(|kept| (kept.used, kept.variant))?;
            free += oldest.bytes;
            last = Some((oldest.used, oldest.variant));
            into.push(oldest.variant);
        }
        Some(last.map_or(Instant::ZERO, |(used, _)| used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXECUTOR: ExecutorId = ExecutorId(2);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn full() -> Store {
        let mut store = Store::default();
        store.state(EXECUTOR, 10, true);
        for (variant, seconds) in [(0, 3), (1, 1), (2, 2)] {
            store.keep(EXECUTOR, VariantId(variant), 3, at(seconds));
        }
        store
    }

    #[test]
    fn the_least_lately_used_goes_first_and_no_more_than_needed() {
        let mut store = full();
        store.touch(EXECUTOR, VariantId(1), at(4));
        let mut victims = Vec::new();
        let shelf = store.shelf(EXECUTOR).unwrap();
        assert_eq!(shelf.victims(4, |_| true, &mut victims), Some(at(2)));
        assert_eq!(victims, [VariantId(2)]);
        assert_eq!(shelf.victims(6, |one| one != VariantId(2), &mut victims), Some(at(4)));
        assert_eq!(victims, [VariantId(0), VariantId(1)]);
        assert_eq!(shelf.victims(11, |_| true, &mut victims), None);
    }

    #[test]
    fn loads_of_one_executor_follow_one_another() {
        let mut store = full();
        let second = Duration::from_secs(1);
        assert_eq!(store.queue_load(EXECUTOR, second, at(1)), at(2));
        assert_eq!(store.queue_load(EXECUTOR, second, at(1)), at(3));
        assert_eq!(store.shelf(EXECUTOR).unwrap().loaded_at(second, at(9)), at(10));
    }
}
