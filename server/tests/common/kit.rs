//! A service on executors without a runtime: models that echo, fail, panic or wait at a gate.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};
use gpu::{Batch, LoadedModel, Output, RunError, Timing};
use models::{
    BatchingMode, DataType, Dim, ExecutorId, LatencyProfile, ModelConfig, ModelDescription,
    Signature, Slo, TensorSpec,
};
use router::{Router, RouterSettings};
use server::infer::{InferRequest, InferResponse, InputTensor};
use server::record::Recorder;
use server::service::{Loaded, Service, ServiceOptions};
use server::status::Failure;

pub(crate) fn service(executors: usize, recorder: Option<Recorder>) -> Arc<Service> {
    let router = Router::new(RouterSettings::default()).unwrap();
    Service::start(ServiceOptions::default(), router, &vec![Vec::new(); executors], recorder)
        .unwrap()
}

/// What a model of these tests is told of.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) version: u64,
    pub(crate) executors: u32,
    pub(crate) slo: Option<Duration>,
    pub(crate) batch_max: u32,
    pub(crate) queue_max: usize,
    /// What the profile says of a run of any size.
    pub(crate) takes: Duration,
}

impl Default for Spec {
    fn default() -> Self {
        let takes = Duration::from_millis(5);
        Self {
            name: "m",
            version: 1,
            executors: 1,
            slo: None,
            batch_max: 8,
            queue_max: 1000,
            takes,
        }
    }
}

/// x: UINT32 [N, any] -> y, the same.
fn description(spec: &Spec) -> ModelDescription {
    let tensor = |name: &str| TensorSpec {
        name: name.into(),
        datatype: DataType::Uint32,
        dims: vec![Dim::Any(None), Dim::Any(None)],
    };
    ModelDescription {
        name: spec.name.into(),
        signature: Signature {
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            batched: true,
        },
        rows_max: 8,
        batch_max: spec.batch_max,
        batching: BatchingMode::Auto,
        slo: spec.slo.map(|latency| Slo { latency }),
        priority: 2,
        priority_levels: 3,
        queue_max: spec.queue_max,
        weight: 1.0,
        policy: None,
        preferred: Vec::new(),
        delay: Duration::ZERO,
        threads: None,
        executors: None,
        labels: vec![Vec::new()],
        pads: Vec::new(),
        cache: 0,
        config: ModelConfig::default(),
        warnings: Vec::new(),
    }
}

pub(crate) fn install(service: &Service, spec: &Spec, model: impl Fn() -> Box<dyn LoadedModel>) {
    service.install(Loaded {
        description: description(spec),
        version: spec.version,
        profile: LatencyProfile::linear(spec.takes, Duration::ZERO, 8),
        profiled_elements: 4,
        batch_max: spec.batch_max,
        alone_because: String::new(),
        executors: (0..spec.executors).map(|id| (ExecutorId(id), model())).collect(),
        weights: None,
    });
}

/// A request of rows of `length` numbers that all are `value`.
pub(crate) fn request(model: &str, value: u32, rows: i64, length: i64) -> InferRequest {
    let count = usize::try_from(rows * length).unwrap();
    let data: Bytes = value.to_le_bytes().repeat(count).into();
    let datatype = Some(DataType::Uint32);
    let input = InputTensor { name: "x".into(), datatype, shape: vec![rows, length], data };
    InferRequest { model: model.into(), inputs: vec![input], ..InferRequest::default() }
}

/// Asserts that an answer is the echo of its request.
pub(crate) fn assert_echo(answer: &InferResponse, value: u32, rows: i64, length: i64) {
    let output = &answer.outputs[0];
    assert_eq!(output.shape, [rows, length]);
    assert!(output.data.chunks_exact(4).all(|chunk| chunk == value.to_le_bytes()));
    assert_eq!(output.data.len() as i64, rows * length * 4);
}

/// The refusal's reason, if it is one.
pub(crate) fn reason(result: &Result<InferResponse, Failure>) -> Option<&'static str> {
    match result {
        Err(Failure::Refused(refusal)) => Some(refusal.reason),
        Ok(_) | Err(_) => None,
    }
}

/// Gives back its input after the time it is said to take; checks that rows of one run have one shape.
pub(crate) struct Echo {
    pub(crate) takes: Duration,
}

impl LoadedModel for Echo {
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        // A device that is busy for so long.
        let _ = crossbeam::channel::never::<()>().recv_timeout(self.takes);
        timing.infer = self.takes;
        Ok(vec![echo(batch)])
    }
}

pub(crate) fn echo(batch: &Batch) -> Output {
    let length = batch.inner_shapes[0][0];
    let mut data = Vec::new();
    for part in &batch.parts {
        assert_eq!(
            part.tensors[0].len() as i64,
            i64::from(part.rows) * length * 4,
            "shapes are mixed"
        );
        data.extend_from_slice(&part.tensors[0]);
    }
    Output {
        datatype: DataType::Uint32,
        shape: vec![i64::from(batch.rows), length],
        data: data.into(),
    }
}

/// Fails every run whose first number is 13 and panics where it is 14; else echoes.
pub(crate) struct Moody;

impl LoadedModel for Moody {
    fn run(&mut self, batch: &Batch, _timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        match batch.parts[0].tensors[0][0] {
            13 => Err(RunError::Failed("thirteen".into())),
            14 => panic!("fourteen"),
            _ => Ok(vec![echo(batch)]),
        }
    }
}

/// Runs a batch only when it is let through; tells what it ran.
pub(crate) struct Gated {
    gate: Receiver<()>,
    ran: Sender<Vec<u32>>,
}

/// The other side of a [`Gated`] model.
pub(crate) struct Gate {
    pub(crate) open: Sender<()>,
    pub(crate) ran: Receiver<Vec<u32>>,
}

pub(crate) fn gated() -> (Gated, Gate) {
    let (open, gate) = unbounded();
    let (tell, ran) = unbounded();
    (Gated { gate, ran: tell }, Gate { open, ran })
}

impl LoadedModel for Gated {
    fn run(&mut self, batch: &Batch, _timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        let first =
            |part: &gpu::InputPart| u32::from_le_bytes(part.tensors[0][..4].try_into().unwrap());
        self.ran.send(batch.parts.iter().map(first).collect()).unwrap();
        self.gate.recv().map_err(|_| RunError::Failed("the test is over".into()))?;
        Ok(vec![echo(batch)])
    }
}
