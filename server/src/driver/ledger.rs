//! The requests that the router knows by number: their tensors and who waits for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use batcher::{Instant, RequestId};
use gpu::InputPart;
use models::{BatchId, VariantId};
use router::{Rejection, ShapeId};
use tokio::sync::oneshot;

use super::Forms;
use crate::outcome::Outcome;

/// Every request that has no answer yet: it waits, or an executor holds its batch.
#[derive(Default)]
pub(super) struct Ledger {
    waiting: HashMap<RequestId, Waiting>,
    held: BTreeMap<BatchId, Held>,
    left: Vec<Left>,
}

/// A request that waits.
pub(super) struct Waiting {
    pub(super) part: InputPart,
    pub(super) inner_shapes: Arc<Vec<Vec<i64>>>,
    /// Variants for which the tensors must become others.
    pub(super) forms: Option<Arc<Forms>>,
    pub(super) member: Member,
}

impl Waiting {
    /// Makes the request one to that variant. The tensors become that one's on its executor's thread.
    fn adapt(&mut self, variant: VariantId) {
        let Some(adapter) = self.forms.take().and_then(|forms| forms.of(variant)) else {
            return;
        };
        self.inner_shapes = Arc::new(adapter.inner_shapes(&self.inner_shapes));
        self.part.adapter = Some(adapter);
    }
}

/// Who waits for the answer.
pub(super) struct Member {
    pub(super) id: RequestId,
    pub(super) answer: oneshot::Sender<Outcome>,
    pub(super) rows: u32,
    pub(super) arrived: Instant,
    /// Kept back of its deadline for its way in and out.
    pub(super) way: Duration,
    pub(super) shape: ShapeId,
}

/// A request that waits again, though its client left while an executor held it.
pub(super) struct Left {
    pub(super) id: RequestId,
    pub(super) variant: VariantId,
    pub(super) shape: ShapeId,
}

/// What is kept of a batch that an executor holds.
struct Held {
    members: Vec<Member>,
    inner_shapes: Arc<Vec<Vec<i64>>>,
}

impl Ledger {
    pub(super) fn enter(&mut self, waiting: Waiting) {
        self.waiting.insert(waiting.member.id, waiting);
    }

    /// Takes a request out whose client has left; false if it does not wait.
    pub(super) fn leave(&mut self, id: RequestId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    pub(super) fn refuse(&mut self, id: RequestId, rejection: Rejection) {
        if let Some(waiting) = self.waiting.remove(&id) {
            waiting.member.refuse(rejection);
        }
    }

    /// Refuses all that wait, in any order: all are told the same.
    pub(super) fn refuse_all(&mut self, rejection: Rejection) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.member.refuse(rejection);
        }
    }

    /// Collects the tensors of a batch for its executor.
    pub(super) fn launch(&mut self, id: BatchId, batch: &router::Batch) -> gpu::Batch {
        let count = batch.requests.len();
        let (mut members, mut parts) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut shapes = None;
        for request in &batch.requests {
            let mut waiting = self.waiting.remove(&request.id).expect("a launched request waited");
            waiting.adapt(batch.variant);
            shapes = Some(waiting.inner_shapes);
            parts.push(waiting.part);
            members.push(waiting.member);
        }
        let shapes = shapes.unwrap_or_default();
        let inner_shapes = shapes.to_vec();
        self.held.insert(id, Held { members, inner_shapes: shapes });
        gpu::Batch { id, variant: batch.variant, rows: batch.rows, inner_shapes, parts }
    }

    /// The requests of a batch that its executor gave back wait again.
    pub(super) fn withdraw(&mut self, batch: gpu::Batch) {
        let held = self.held.remove(&batch.id).expect("a batch that comes back was held");
        for (member, part) in held.members.into_iter().zip(batch.parts) {
            let id = member.id;
            if member.answer.is_closed() {
                self.left.push(Left { id, variant: batch.variant, shape: member.shape });
            }
            let inner_shapes = Arc::clone(&held.inner_shapes);
            // Made one to its variant already.
            self.enter(Waiting { part, inner_shapes, forms: None, member });
        }
    }

    /// The next of those that came back without a client and still wait.
    pub(super) fn next_left(&mut self) -> Option<Left> {
        while let Some(left) = self.left.pop() {
            if self.leave(left.id) {
                return Some(left);
            }
        }
        None
    }

    /// A batch has ended; returns who waits for its answers.
    pub(super) fn end(&mut self, batch: BatchId) -> Vec<Member> {
        self.held.remove(&batch).map(|held| held.members).unwrap_or_default()
    }
}

impl Member {
    fn refuse(self, mut rejection: Rejection) {
        if let Rejection::DeadlineUnreachable { predicted, .. } = &mut rejection {
            // For the client, the answer has come when it has made its way out.
            *predicted += self.way;
        }
        // The client may have gone.
        drop(self.answer.send(Outcome::Refused(rejection)));
    }
}
