//! Plays a workload against a server and records each request's end; the crate's only reader of the clock.
//!
//! The open loop sends each request when it is due, whatever became of those before it, and counts its latency from
//! that time: a stalled server or a late client shows in every request that was due meanwhile.

mod connection;
mod grpc;
mod http;
mod pace;
mod target;
mod tensor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::sync::mpsc;

use crate::{Arrivals, Error, Mix, Outcome, Record};
pub use grpc::{InferParameter, InferTensor, ModelInferRequest, ParameterChoice};
pub use target::{Protocol, Target};
pub use tensor::InputMetadata;

/// How requests follow each other.
#[derive(Clone, Debug)]
pub enum Load {
    /// Each when it is due: nanoseconds from the start, never falling.
    Open(Vec<u64>),
    /// That many at all times, each sent when one before it has ended.
    Closed(usize),
}

impl Load {
    /// The open loop of a process of arrivals, as long as `duration`.
    ///
    /// # Errors
    /// A rate that is not positive, or more than [`Trace::ARRIVALS_MAX`](crate::Trace::ARRIVALS_MAX) arrivals.
    pub fn open(
        arrivals: Arrivals,
        rate: f64,
        duration: Duration,
        seed: u64,
    ) -> Result<Self, Error> {
        if rate * duration.as_secs_f64() > crate::Trace::ARRIVALS_MAX as f64 {
            return Err(Error::Rate(format!("{rate} for {duration:?}")));
        }
        let end_ns = nanoseconds(duration);
        Ok(Self::Open(arrivals.offsets(rate, seed)?.take_while(|at| *at < end_ns).collect()))
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Which models are asked for.
    pub mix: Mix,
    /// When.
    pub load: Load,
    /// How long the closed loop goes on; the open loop sends what is due before that.
    pub duration: Duration,
    /// Seeds the inputs and the draws from the mix.
    pub seed: u64,
    /// Rows of a request, for models whose first axis varies.
    pub rows: u64,
    /// Whole shapes of inputs with other axes that vary, by the input's name.
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// Inputs of models whose metadata the server need not be asked for, by model.
    pub inputs: BTreeMap<String, Vec<InputMetadata>>,
    /// Connections at most: over HTTP requests beyond it wait in the client, over gRPC all share them.
    pub connections: usize,
    /// How long after it was due a request without an answer is given up.
    pub patience: Duration,
}

impl Plan {
    /// A run with the settings that `punctual-bench run` has by default.
    #[must_use]
    pub fn new(target: Target, mix: Mix, load: Load, duration: Duration) -> Self {
        let connections = match (target.protocol, &load) {
            (Protocol::Http, Load::Closed(in_flight)) => *in_flight,
            (Protocol::Http, Load::Open(_)) => 256,
            (Protocol::Grpc, Load::Open(_) | Load::Closed(_)) => 1,
        };
        let patience = Duration::from_secs(10);
        let (shapes, inputs) = (BTreeMap::new(), BTreeMap::new());
        Self {
            target,
            mix,
            load,
            duration,
            seed: 1,
            rows: 1,
            shapes,
            inputs,
            connections,
            patience,
        }
    }

    /// Plays the run on this thread.
    ///
    /// # Errors
    /// The server cannot be reached, does not know a model, or does not answer one first request of each model.
    pub fn run(&self) -> Result<Played, Error> {
        runtime()?.block_on(async {
            let wire = Wire::open(self).await?;
            let shared = Arc::new(Shared {
                wire,
                start: now(),
                patience: self.patience,
                deadlines: self.deadlines_ns(),
            });
            let start = shared.start;
            let records = match &self.load {
                Load::Open(due) => self.open(shared, due).await?,
                Load::Closed(in_flight) => self.closed(shared, *in_flight).await,
            };
            Ok(Played { start, records })
        })
    }

    fn deadlines_ns(&self) -> Vec<u64> {
        let deadline =
            |share: &crate::Share| share.slo.map_or(u64::MAX, |slo| nanoseconds(slo.latency));
        self.mix.shares().iter().map(deadline).collect()
    }

    async fn open(&self, shared: Arc<Shared>, due: &[u64]) -> Result<Vec<Record>, Error> {
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed);
        let mut pacer = pace::Pacer::new().map_err(|error| Error::Start(error.to_string()))?;
        let (ends, mut ended) = mpsc::unbounded_channel();
        let end_ns = nanoseconds(self.duration);
        let mut sent = 0;
        for intended_ns in due.iter().copied().take_while(|at| *at < end_ns) {
            let share = self.mix.draw(&mut rng);
            pacer.until(shared.start + Duration::from_nanos(intended_ns)).await;
            let (shared, ends) = (Arc::clone(&shared), ends.clone());
            tokio::spawn(async move {
                let record = shared.request(share, intended_ns).await;
                ends.send(record).expect("the receiver outlives all senders");
            });
            sent += 1;
        }
        drop(ends);
        let mut records = Vec::with_capacity(sent);
        while let Some(record) = ended.recv().await {
            records.push(record);
        }
        assert_eq!(records.len(), sent, "a request ended twice or never");
        Ok(records)
    }

    async fn closed(&self, shared: Arc<Shared>, in_flight: usize) -> Vec<Record> {
        let end_ns = nanoseconds(self.duration);
        let mut seeds = Pcg64Mcg::seed_from_u64(self.seed);
        let workers = (0..in_flight).map(|_| {
            let (shared, mix) = (Arc::clone(&shared), self.mix.clone());
            let mut rng = Pcg64Mcg::from_rng(&mut seeds);
            tokio::spawn(async move {
                let mut records = Vec::new();
                loop {
                    let intended_ns = shared.elapsed_ns();
                    if intended_ns >= end_ns {
                        return records;
                    }
                    let record = shared.request(mix.draw(&mut rng), intended_ns).await;
                    // A server that is gone would be asked as fast as the system can refuse.
                    if record.outcome == Outcome::ConnectionLost {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    records.push(record);
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        let mut records = Vec::new();
        for worker in workers {
            records.extend(worker.await.expect("a worker neither panics nor is aborted"));
        }
        records
    }
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Played {
    /// From when the records' times count.
    pub start: Instant,
    /// Every request once: in the open loop in the order of their ends.
    pub records: Vec<Record>,
}

/// Sends one HTTP request, such as a model's load or its profile, and returns the status and the body of the answer.
///
/// # Errors
/// The server cannot be reached, or the connection ends without an answer.
pub fn fetch(
    target: &Target,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes), Error> {
    runtime()?.block_on(http::fetch(target, method, path, body))
}

/// The clock of the load generator and of the benches.
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock file")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    // The interval between looks at the sockets and the pacer's timer bounds the client's own lag under load.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(16)
        .build()
        .map_err(|error| Error::Start(error.to_string()))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the server said to one request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(Box<str>),
    Error(Box<str>),
    ConnectionLost,
}

/// The connections of a run with its requests ready to send.
enum Wire {
    Http(http::Pool),
    Grpc(grpc::Channels),
}

impl Wire {
    async fn open(plan: &Plan) -> Result<Self, Error> {
        let wire = match plan.target.protocol {
            Protocol::Http => Self::Http(http::Pool::open(plan).await?),
            Protocol::Grpc => Self::Grpc(grpc::Channels::open(plan).await?),
        };
        Ok(wire)
    }

    async fn call(&self, share: usize) -> Answer {
        match self {
            Self::Http(pool) => pool.call(share).await,
            Self::Grpc(channels) => channels.call(share).await,
        }
    }
}

/// What all requests of a run share.
struct Shared {
    wire: Wire,
    start: Instant,
    patience: Duration,
    deadlines: Vec<u64>,
}

impl Shared {
    fn elapsed_ns(&self) -> u64 {
        nanoseconds(now().saturating_duration_since(self.start))
    }

    async fn request(&self, share: usize, intended_ns: u64) -> Record {
        let lag_ns = self.elapsed_ns().saturating_sub(intended_ns);
        let give_up = self.start + Duration::from_nanos(intended_ns) + self.patience;
        let answer = tokio::time::timeout_at(give_up.into(), self.wire.call(share)).await;
        let latency_ns = self.elapsed_ns().saturating_sub(intended_ns);
        let outcome = match answer {
            Ok(Answer::Done) if latency_ns <= self.deadlines[share] => Outcome::InTime,
            Ok(Answer::Done) => Outcome::Late,
            Ok(Answer::Refused(reason)) => Outcome::Refused(reason),
            Ok(Answer::Error(text)) => Outcome::Error(text),
            Ok(Answer::ConnectionLost) => Outcome::ConnectionLost,
            Err(_) => Outcome::Timeout,
        };
        Record { share, intended_ns, lag_ns, latency_ns, outcome }
    }
}
