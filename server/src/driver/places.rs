//! Which models are on which executors: models come and go while batches run.

use std::time::Duration;

use gpu::LoadedModel;
use models::{ExecutorId, VariantId};
use router::place::Placement;
use router::{Demand, Event, VariantSpec};

use super::{Driver, State};

/// What the scheduler does with models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// An executor is to load a variant.
    Load(ExecutorId, VariantId),
    /// An executor has let go of a variant.
    Evict(ExecutorId, VariantId),
}

/// Told of what the router does with models, under its lock.
pub type OnMove = Box<dyn Fn(Move) + Send + Sync>;

/// A model on the executor that it was loaded for.
pub type Placed = (ExecutorId, Box<dyn LoadedModel>);

impl Driver {
    /// Says who carries models to executors. Only the first call counts.
    pub fn set_moves(&self, on_move: OnMove) {
        drop(self.on_move.set(on_move));
    }

    pub(super) fn moves(&self, to: Move) {
        if let Some(on_move) = self.on_move.get() {
            on_move(to);
        }
    }

    /// An executor holds so many bytes of models, and the router says which.
    pub fn state_memory(&self, executor: ExecutorId, bytes: u64, on_demand: bool) {
        let event = Event::MemoryStated { executor, bytes, on_demand };
        self.feed(&mut self.state.lock(), event);
    }

    /// Puts a loaded variant in place: its models on their executors, then its name in the router. A model for which its
    /// executor has no room is let go.
    pub fn load(&self, mut spec: VariantSpec, models: Vec<Placed>) {
        let mut state = self.state.lock();
        let mut rest = Vec::new();
        for (executor, model) in models {
            if state.has_room(executor, &spec) {
                state.workers[executor.index()].install(spec.variant, model);
            } else {
                spec.executors.retain(|&other| other != executor);
                rest.push(model);
            }
        }
        self.feed(&mut state, Event::VariantLoaded { spec: Box::new(spec) });
        drop(state);
        // Giving back memory takes a while.
        drop(rest);
    }

    /// Models are to be brought where that says.
    pub fn place(&self, placement: Placement) {
        self.feed(&mut self.state.lock(), Event::PlacementDecided { placement });
    }

    /// A model was loaded for that executor, or could not be. One that is not wanted there any more is let go.
    pub fn brought(
        &self,
        executor: ExecutorId,
        variant: VariantId,
        model: Option<Box<dyn LoadedModel>>,
    ) {
        let mut state = self.state.lock();
        if state.stopped || !state.router.expects(executor, variant) {
            drop(state);
            return drop(model);
        }
        let event = match model {
            Some(model) => {
                state.workers[executor.index()].install(variant, model);
                Event::WeightsLoaded { executor, variant }
            }
            None => Event::WeightsFailed { executor, variant },
        };
        self.feed(&mut state, event);
    }

    /// Whether a model that was asked for is still wanted there.
    #[must_use]
    pub fn expects(&self, executor: ExecutorId, variant: VariantId) -> bool {
        self.state.lock().router.expects(executor, variant)
    }

    /// What was asked for so far, where everything is, and how long after the start that is.
    #[must_use]
    pub fn demand(&self) -> (Demand, Placement, Duration) {
        let state = self.state.lock();
        let at = self.clock.now().since(batcher::Instant::ZERO);
        (state.router.demand(), state.router.present(), at)
    }

    /// The executors on which a variant is in place, and those to which it is on its way.
    #[must_use]
    pub fn places(&self, variant: VariantId) -> (Vec<ExecutorId>, Vec<ExecutorId>) {
        self.state.lock().router.places(variant)
    }

    /// Whether a request for that variant can be answered: it is somewhere, comes, or would be loaded.
    #[must_use]
    pub fn reachable(&self, variant: VariantId) -> bool {
        self.state.lock().router.reachable(variant)
    }

    /// Bytes of models on an executor, and all that it holds; `None` where no memory was stated.
    #[must_use]
    pub fn memory(&self, executor: ExecutorId) -> Option<(u64, u64)> {
        let (free, all) = self.state.lock().router.memory(executor)?;
        Some((all - free, all))
    }
}

impl State {
    /// Whether an executor takes a variant of which it has nothing yet.
    fn has_room(&self, executor: ExecutorId, spec: &VariantSpec) -> bool {
        let bytes = spec.weights.map_or(0, |weights| weights.bytes);
        self.router.memory(executor).is_none_or(|(free, _)| bytes <= free)
    }
}
