//! What the router believes of its executors: who is up, what is in place, busy until when.

use std::time::Duration;

use batcher::Instant;
use models::{ExecutorId, VariantId};

/// Batches that an executor may hold: one that runs and one ahead, so that the device never waits.
const HELD_MAX: u8 = 2;

/// All executors, dense by id.
#[derive(Debug, Default)]
pub struct Cluster {
    executors: Vec<ExecutorState>,
}

#[derive(Debug, Default)]
struct ExecutorState {
    up: bool,
    /// Batches launched and not finished.
    held: u8,
    /// When those are expected to be done, at the median.
    expected_free: Instant,
    /// When those are done at the latest, as planned.
    planned_free: Instant,
    /// By variant.
    loaded: Vec<bool>,
}

impl Cluster {
    /// An executor can run batches.
    pub(crate) fn up(&mut self, executor: ExecutorId) {
        let index = executor.index();
        if self.executors.len() <= index {
            self.executors.resize_with(index + 1, ExecutorState::default);
        }
        let state = &mut self.executors[index];
        let loaded = std::mem::take(&mut state.loaded);
        *state = ExecutorState { up: true, loaded, ..ExecutorState::default() };
    }

    /// An executor is gone, and what it held.
    pub(crate) fn down(&mut self, executor: ExecutorId) {
        if let Some(state) = self.executors.get_mut(executor.index()) {
            *state = ExecutorState::default();
        }
    }

    /// A variant is in place there.
    pub(crate) fn load(&mut self, executor: ExecutorId, variant: VariantId) {
        if self.executors.len() <= executor.index() {
            self.executors.resize_with(executor.index() + 1, ExecutorState::default);
        }
        let loaded = &mut self.executors[executor.index()].loaded;
        if loaded.len() <= variant.index() {
            loaded.resize(variant.index() + 1, false);
        }
        loaded[variant.index()] = true;
    }

    /// A variant is gone everywhere.
    pub(crate) fn unload(&mut self, variant: VariantId) {
        for state in &mut self.executors {
            if let Some(loaded) = state.loaded.get_mut(variant.index()) {
                *loaded = false;
            }
        }
    }

    /// A batch of that median and planned time goes there at `now`; returns when it is expected to start.
    pub(crate) fn launch(
        &mut self,
        executor: ExecutorId,
        median: Duration,
        planned: Duration,
        now: Instant,
    ) -> Instant {
        let state = &mut self.executors[executor.index()];
        assert!(state.up && state.held < HELD_MAX, "executor {executor:?} cannot take a batch");
        let start = state.expected_start(now);
        state.planned_free = state.planned_start(now) + planned;
        state.expected_free = start + median;
        state.held += 1;
        start
    }

    /// A batch there is done; the one behind it starts now and is planned to take `rest`.
    pub(crate) fn finish(
        &mut self,
        executor: ExecutorId,
        rest: Option<(Duration, Duration)>,
        now: Instant,
    ) {
        let state = &mut self.executors[executor.index()];
        assert!(state.held > 0, "executor {executor:?} finished a batch that it did not hold");
        state.held -= 1;
        let (median, planned) = rest.unwrap_or_default();
        state.expected_free = now + median;
        state.planned_free = now + planned;
    }

    /// Every executor that is up and has that variant.
    pub fn with(&self, variant: VariantId) -> impl Iterator<Item = ExecutorId> + '_ {
        self.ids().filter(move |&executor| self.has(executor, variant))
    }

    /// Every executor that is up.
    pub fn ids(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        let numbered = (0_u32..).zip(&self.executors);
        numbered.filter(|(_, state)| state.up).map(|(id, _)| ExecutorId(id))
    }

    /// Whether that executor is up and has that variant.
    #[must_use]
    pub fn has(&self, executor: ExecutorId, variant: VariantId) -> bool {
        let state = self.executors.get(executor.index());
        state.is_some_and(|state| {
            state.up && state.loaded.get(variant.index()).copied().unwrap_or(false)
        })
    }

    /// When a batch launched now would start there, as planned: no earlier than `now`.
    #[must_use]
    pub fn planned_start(&self, executor: ExecutorId, now: Instant) -> Instant {
        self.executors[executor.index()].planned_start(now)
    }

    /// From when that executor takes another batch: at once when idle, `lead` before its batch is expected to end,
    /// never while it already holds one ahead.
    #[must_use]
    pub fn opens(&self, executor: ExecutorId, lead: Duration) -> Instant {
        let state = &self.executors[executor.index()];
        match state.held {
            0 => Instant::ZERO,
            held if held < HELD_MAX => state.expected_free - lead,
            _ => Instant::NEVER,
        }
    }
}

impl ExecutorState {
    fn expected_start(&self, now: Instant) -> Instant {
        if self.held == 0 { now } else { self.expected_free.max(now) }
    }

    fn planned_start(&self, now: Instant) -> Instant {
        if self.held == 0 { now } else { self.planned_free.max(now) }
    }
}
