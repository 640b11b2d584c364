//! The state machine of one queue: push, cancel, plan, take.

use models::LatencyProfile;

use crate::{BatchPolicy, Candidate, Instant, Load, Queue, Ran, Request, RequestId, View};

/// The queue holds as many requests as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue holds its {0} requests")]
pub struct QueueFull(pub usize);

/// What a queue's policy is told of the world: the part of a [`View`] that the queue does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    /// The present.
    pub now: Instant,
    /// When a batch launched now would start.
    pub start: Instant,
    /// Executors that have the variant.
    pub executors: u32,
    /// How many of those hold no batch.
    pub idle: u32,
    /// Batches of this queue that run, or follow one that runs.
    pub running: u32,
    /// Other queues in which requests wait.
    pub rivals: u32,
    /// The load of all queues.
    pub load: Load,
}

impl Outside {
    fn view<'a>(self, queue: &'a Queue, profile: &'a LatencyProfile) -> View<'a> {
        let Self { now, start, executors, idle, running, rivals, load } = self;
        View { queue, profile, now, start, executors, idle, running, rivals, load }
    }
}

/// The waiting requests of one variant and shape, and the policy that batches them.
pub struct Batcher {
    queue: Queue,
    policy: Box<dyn BatchPolicy>,
    queue_max: usize,
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("queue", &self.queue)
            .field("queue_max", &self.queue_max)
            .finish()
    }
}

impl Batcher {
    /// An empty queue of at most `queue_max` requests under `policy`.
    #[must_use]
    pub fn new(policy: Box<dyn BatchPolicy>, queue_max: usize) -> Self {
        Self { queue: Queue::default(), policy, queue_max }
    }

    /// Batches by another policy from this moment; who waits goes on waiting.
    pub fn follow(&mut self, policy: Box<dyn BatchPolicy>) {
        self.policy = policy;
    }

    /// The waiting requests.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Counts an offer into the arrival rate, whatever becomes of it.
    pub fn note_offer(&mut self, rows: u32, now: Instant) {
        self.queue.note_offer(rows, now);
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When the queue is full; the request is not in then.
    pub fn push(&mut self, request: Request) -> Result<(), QueueFull> {
        if self.queue.len() >= self.queue_max {
            return Err(QueueFull(self.queue_max));
        }
        self.queue.push(request);
        Ok(())
    }

    /// Takes a request in again that left in a candidate but was not run; it has had its place, so none is refused.
    pub fn give_back(&mut self, request: Request) {
        self.queue.push(request);
    }

    /// Removes a waiting request; `None` if it does not wait here.
    pub fn cancel(&mut self, id: RequestId) -> Option<Request> {
        self.queue.remove(id)
    }

    /// What the policy would do if an executor could start a batch as `outside` says: the batch on offer, and in `drop`
    /// the requests to give up.
    pub fn plan(
        &mut self,
        profile: &LatencyProfile,
        outside: Outside,
        drop: &mut Vec<RequestId>,
    ) -> Option<Candidate> {
        let candidate = self.policy.plan(&outside.view(&self.queue, profile), drop);
        if let Some(candidate) = &candidate {
            debug_assert!(candidate.requests >= 1 && candidate.requests <= self.queue.len());
            debug_assert!(
                candidate.latest >= candidate.earliest,
                "{candidate:?} of {:?}",
                self.queue.head()
            );
        }
        candidate
    }

    /// There are several requests, and the policy may know by now whom it will give up.
    #[must_use]
    pub fn foresees(&self) -> bool {
        self.queue.len() > 1 && self.policy.foresees()
    }

    /// Adds to `drop` the requests that the policy will give up when an executor could start a batch as `outside` says.
    pub fn foresee(
        &mut self,
        profile: &LatencyProfile,
        outside: Outside,
        drop: &mut Vec<RequestId>,
    ) {
        self.policy.foresee(&outside.view(&self.queue, profile), drop);
    }

    /// Whether the policy has a run of so many rows broken off for a batch of so many.
    #[must_use]
    pub fn preempts(&self, rows: u32, running: u32) -> bool {
        self.policy.preempts(rows, running)
    }

    /// Tells the policy of a batch that has run.
    pub fn ran(&mut self, ran: &Ran, now: Instant) {
        self.queue.note_end(ran.rows, now);
        self.policy.ran(ran);
    }

    /// Moves the requests of a candidate out of the queue, most urgent first.
    pub fn take(&mut self, candidate: &Candidate, into: &mut Vec<Request>) {
        for _ in 0..candidate.requests {
            into.push(self.queue.pop().expect("a candidate counts requests that wait"));
        }
    }
}
