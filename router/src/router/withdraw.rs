//! What becomes of the batch ahead: when the run before it has ended it starts, or is withdrawn because it has become
//! hopeless, so that nothing is executed only to be late; and while that run is a straggler, it goes where it can start.

use batcher::Instant;
use models::{BatchId, ExecutorId};

use super::{Batch, Router, key_of};
use crate::Action;
use crate::dispatch::Rank;
use crate::lane::LaneId;

impl Router {
    /// The run on that executor has ended; the batch behind it starts, unless it is hopeless by now. Returns the lane
    /// where its requests wait again in that case.
    pub(super) fn go_on(&mut self, executor: ExecutorId, now: Instant) -> Option<LaneId> {
        let Some(id) = self.cluster.running(executor) else {
            self.cluster.rest(executor);
            return None;
        };
        let batch = self.batches.get(&id).expect("a held batch is in the table");
        if now > batch.hopeless {
            self.cluster.finish(executor, id);
            self.cluster.rest(executor);
            return Some(self.withdraw(executor, id));
        }
        let profile = self.lanes[batch.lane].estimate.profile();
        let times = (profile.median(batch.rows), profile.time(batch.rows));
        self.cluster.restart(executor, times, now);
        None
    }

    /// Takes back the batches behind stragglers, where another executor could begin them now.
    pub(super) fn recall(&mut self, now: Instant) {
        loop {
            let mut stuck = self.cluster.stuck(now);
            let free = |id: BatchId| self.cluster.count_idle(self.batches[&id].variant) > 0;
            let Some((executor, id)) = stuck.find(|&(_, id)| free(id)) else { return };
            drop(stuck);
            self.cluster.unfollow(executor, id);
            let lane = self.withdraw(executor, id);
            self.consider(lane, now);
        }
    }

    /// Takes back a batch before it starts.
    fn withdraw(&mut self, executor: ExecutorId, id: BatchId) -> LaneId {
        let batch = self.batches.remove(&id).expect("a held batch is in the table");
        self.actions.push_back(Action::Withdraw { executor, batch: id });
        self.tally.withdrawn += 1;
        self.dispatch.withdrawn(batch.variant, batch.time);
        self.wait_again(batch)
    }

    /// Gives the requests of a batch that no executor holds any more back to their queue.
    pub(super) fn wait_again(&mut self, batch: Batch) -> LaneId {
        let state = &mut self.lanes[batch.lane];
        state.running -= 1;
        for &request in &batch.requests {
            state.batcher.give_back(request);
        }
        let variant = self.variants[batch.variant.index()].as_mut();
        let variant = variant.expect("a variant with requests is in the table");
        variant.waiting += batch.requests.len();
        for &(_, lane) in &variant.lanes {
            self.ranks[lane] = Rank::UNKNOWN;
        }
        self.reuse(batch.requests);
        self.active.insert(batch.lane);
        self.ready.insert(batch.lane);
        self.windows.set(key_of(batch.lane), Instant::NEVER);
        self.watch_hopeless(batch.lane);
        batch.lane
    }
}
