//! Answers that are kept for equal requests, in bounded bytes, and requests that wait for the answer to an equal one.
//!
//! Clipper (NSDI'17) keeps predictions and joins requests for one that is under way. What is kept is decided by
//! W-TinyLFU (Einziger, Friedman, Manes, ACM ToS 2017): an input seen once does not push out one that is asked often.
//! A cache belongs to one loaded version, so that what a version answered goes with it (docs/cache.md).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use models::TaskId;
use moka::notification::RemovalCause;
use moka::sync::Cache as Kept;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::infer::{InferRequest, InputTensor, OutputTensor, RequestedOutput};
use crate::metrics::CacheCounters;

/// What an answer costs beside its bytes.
const OVERHEAD: usize = models::KEPT_BESIDE;

/// All that decides a version's answer, as a digest that nobody can find a second input for.
pub type Key = [u8; 32];

/// How much a request presses: the earlier deadline and the lower level of priority are more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urgency {
    /// When its answer is wanted, on the service's clock; never, where it is `Instant::NEVER`.
    pub deadline: batcher::Instant,
    /// 1 is the most urgent.
    pub priority: u32,
}

impl Urgency {
    /// Whether whoever waits for that one waits no longer than it would for its own.
    fn covers(self, other: Self) -> bool {
        self.deadline <= other.deadline && self.priority <= other.priority
    }
}

/// An answer that serves equal requests.
#[derive(Debug)]
pub struct Answer {
    /// The outputs in the order asked for.
    pub outputs: Vec<OutputTensor>,
    /// Rows of the request.
    pub rows: u32,
}

/// What a request is to do.
#[derive(Debug)]
pub enum Turn {
    /// Take this answer.
    Hit(Arc<Answer>),
    /// Wait for the answer of an equal request that is at least as urgent.
    Join(Join),
    /// Run, and give the answer to those who wait for it.
    Lead(Lead),
}

/// The answers of one version.
pub struct Cache {
    kept: Kept<Key, Arc<Answer>>,
    /// The requests under way, by what they ask. As many at most as are under way.
    leaders: Mutex<HashMap<Key, Leader>>,
    counters: CacheCounters,
}

struct Leader {
    urgency: Urgency,
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("bytes", &self.kept.weighted_size()).finish_non_exhaustive()
    }
}

impl Cache {
    /// An empty cache of so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64, counters: CacheCounters) -> Self {
        let evictions = counters.evictions.clone();
        let kept = Kept::builder()
            .max_capacity(bytes_max)
            .weigher(|_, answer: &Arc<Answer>| u32::try_from(answer.bytes()).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.increment(1);
                }
            });
        counters.bytes.set(0);
        Self { kept: kept.build(), leaders: Mutex::default(), counters }
    }

    /// What a request of that urgency is to do.
    #[must_use]
    pub fn turn(self: &Arc<Self>, key: Key, urgency: Urgency) -> Turn {
        if let Some(answer) = self.kept(&key) {
            return Turn::Hit(answer);
        }
        let mut leaders = self.leaders.lock();
        // A leader that ended meanwhile kept its answer before it left the table.
        if let Some(answer) = self.kept(&key) {
            return Turn::Hit(answer);
        }
        if let Some(leader) = leaders.get(&key).filter(|leader| leader.urgency.covers(urgency)) {
            return Turn::Join(Join { answer: leader.answer.clone() });
        }
        self.counters.misses.increment(1);
        let (answer, watched) = watch::channel(None);
        leaders.insert(key, Leader { urgency, answer: watched });
        Turn::Lead(Lead { cache: Arc::clone(self), key, answer })
    }

    /// The answer that is kept for a key.
    #[must_use]
    pub fn kept(&self, key: &Key) -> Option<Arc<Answer>> {
        self.kept.get(key).inspect(|_| self.counters.hits.increment(1))
    }

    /// Keeps an answer.
    pub fn keep(&self, key: Key, answer: Arc<Answer>) {
        self.kept.insert(key, answer);
    }

    /// A request got the answer to an equal one.
    pub fn joined(&self) {
        self.counters.joined.increment(1);
    }

    /// A request that waited for an equal one runs itself after all.
    pub fn missed(&self) {
        self.counters.misses.increment(1);
    }

    /// Brings the number of bytes up to date, for a scrape.
    #[expect(clippy::cast_precision_loss, reason = "memories are far smaller than 2^53 bytes")]
    pub fn note_bytes(&self) {
        self.kept.run_pending_tasks();
        self.counters.bytes.set(self.kept.weighted_size() as f64);
    }
}

impl Answer {
    /// An answer in memory of its own: what the executor gave holds the rows of others too.
    #[must_use]
    pub fn copied(outputs: &[OutputTensor], rows: u32) -> Arc<Self> {
        let copy = |output: &OutputTensor| OutputTensor {
            data: Bytes::copy_from_slice(&output.data),
            ..output.clone()
        };
        Arc::new(Self { outputs: outputs.iter().map(copy).collect(), rows })
    }

    fn bytes(&self) -> usize {
        self.outputs.iter().map(|output| output.data.len()).sum::<usize>() + OVERHEAD
    }
}

/// A request that waits for the answer to an equal one.
#[derive(Debug)]
pub struct Join {
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

impl Join {
    /// The answer; `None` where the request that ran got none, so that this one must see to itself.
    pub async fn answer(mut self) -> Option<Arc<Answer>> {
        let answered = self.answer.wait_for(Option::is_some).await;
        answered.ok().and_then(|answer| answer.clone())
    }
}

/// A request that runs and whose answer others may wait for. Dropped without one, it sets them free.
pub struct Lead {
    cache: Arc<Cache>,
    key: Key,
    answer: watch::Sender<Option<Arc<Answer>>>,
}

impl std::fmt::Debug for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}

impl Lead {
    /// Keeps the answer and gives it to all who wait.
    pub fn answered(self, answer: Arc<Answer>) {
        self.cache.keep(self.key, Arc::clone(&answer));
        self.answer.send_replace(Some(answer));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut leaders = self.cache.leaders.lock();
        // A more urgent one may lead by now.
        let own = leaders
            .get(&self.key)
            .is_some_and(|leader| leader.answer.same_channel(&self.answer.subscribe()));
        if own {
            leaders.remove(&self.key);
        }
    }
}

/// The digest of all that decides the answer to a request: inputs, and the outputs asked for in which form.
#[must_use]
pub fn key(request: &InferRequest) -> Key {
    let InferRequest { inputs, outputs, raw, .. } = request;
    let mut digest = Sha256::new();
    let mut note = |part: &[u8]| {
        // With its length in front no part can be taken for another.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    note(&[u8::from(*raw)]);
    note(&(inputs.len() as u64).to_le_bytes());
    for InputTensor { name, datatype, shape, data } in inputs {
        note(name.as_bytes());
        note(datatype.map_or("", |datatype| datatype.name()).as_bytes());
        note(&shape.iter().flat_map(|dim| dim.to_le_bytes()).collect::<Vec<_>>());
        note(data);
    }
    for RequestedOutput { name, classification } in outputs {
        note(name.as_bytes());
        note(&classification.unwrap_or(0).to_le_bytes());
    }
    digest.finalize().into()
}

/// The same for an answer that was put into the form of that task.
#[must_use]
pub fn adapted_key(key: Key, task: TaskId) -> Key {
    Sha256::new().chain_update(key).chain_update(task.0.to_le_bytes()).finalize().into()
}

#[cfg(test)]
mod tests;
