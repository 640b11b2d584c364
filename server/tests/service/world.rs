//! A service to test: its models, requests for them, and what became of those.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gpu::{Emulated, Executor, LoadedModel, ModelSource, Noise};
use models::{
    BatchingMode, DataType, Dim, ExecutorId, LatencyProfile, ModelConfig, ModelDescription,
    Signature, Slo, TensorSpec,
};
use router::{Router, RouterSettings};
use server::infer::{InferRequest, InferResponse, InputTensor};
use server::record::Recorder;
use server::service::{Loaded, Service, ServiceOptions};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// No test takes so long; one that does has lost something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A service with so many executors and no models.
pub(crate) fn service(executors: usize, recorder: Option<Recorder>) -> Arc<Service> {
    let router = Router::new(RouterSettings::default()).unwrap();
    let cores = vec![Vec::new(); executors];
    Service::start(ServiceOptions::default(), router, &cores, recorder).unwrap()
}

/// Integers of [rows, any] in, the same out.
fn signature() -> Signature {
    let dims = vec![Dim::Any(None), Dim::Any(None)];
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        datatype: DataType::Int64,
        dims: dims.clone(),
    };
    Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batched: true }
}

/// A model to be installed: `linear(fixed, per_item)` time, batches of at most 8.
pub(crate) fn loaded(name: &str, fixed: Duration, per_item: Duration) -> Loaded {
    let description = ModelDescription {
        name: name.into(),
        signature: signature(),
        rows_max: 8,
        batch_max: 8,
        batching: BatchingMode::Auto,
        slo: None,
        priority: 2,
        priority_levels: 3,
        queue_max: 1000,
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
    };
    Loaded {
        description,
        version: 1,
        profile: LatencyProfile::linear(fixed, per_item, 8),
        profiled_elements: 2,
        batch_max: 8,
        alone_because: String::new(),
        executors: Vec::new(),
        weights: None,
    }
}

/// The same, with what its clients want.
pub(crate) fn with_slo(mut loaded: Loaded, latency: Duration) -> Loaded {
    loaded.description.slo = Some(Slo { latency });
    loaded
}

/// Puts `model` on executor 0 and into service.
pub(crate) fn install(service: &Service, mut loaded: Loaded, model: impl LoadedModel + 'static) {
    loaded.executors = vec![(ExecutorId(0), Box::new(model))];
    service.install(loaded);
}

/// A model of emulated time, which answers zeros.
pub(crate) fn emulated(loaded: &Loaded) -> Box<dyn LoadedModel> {
    let noise = Noise { sigma: 0.05, seed: 1 };
    let source = ModelSource {
        name: loaded.description.name.clone(),
        path: std::path::PathBuf::new(),
        signature: loaded.description.signature.clone(),
        rows_max: 8,
        threads: 1,
    };
    Emulated::new("test", loaded.profile.clone(), noise).load(&source).unwrap()
}

/// Puts a model of emulated time on so many executors and into service.
pub(crate) fn install_emulated(service: &Service, mut loaded: Loaded, executors: u32) {
    let models = (0..executors).map(|id| (ExecutorId(id), emulated(&loaded)));
    loaded.executors = models.collect();
    service.install(loaded);
}

/// A request of one row.
pub(crate) fn request(model: &str, row: &[i64]) -> InferRequest {
    let input = InputTensor {
        name: "x".into(),
        datatype: Some(DataType::Int64),
        shape: vec![1, i64::try_from(row.len()).unwrap()],
        data: bytes_of(row),
    };
    InferRequest { model: model.into(), inputs: vec![input], ..InferRequest::default() }
}

/// The same, wanted within so long.
pub(crate) fn request_within(model: &str, row: &[i64], within: Duration) -> InferRequest {
    InferRequest { timeout: Some(within), ..request(model, row) }
}

pub(crate) fn bytes_of(row: &[i64]) -> Bytes {
    row.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn row_of(data: &[u8]) -> Vec<i64> {
    let (values, rest) = data.as_chunks::<8>();
    assert!(rest.is_empty());
    values.iter().map(|value| i64::from_le_bytes(*value)).collect()
}

/// The one row of an answer.
pub(crate) fn answer(response: &InferResponse) -> Vec<i64> {
    let [output] = &response.outputs[..] else { panic!("{response:?}") };
    let row = row_of(&output.data);
    assert_eq!(output.shape, [1, i64::try_from(row.len()).unwrap()]);
    row
}

/// Requests of that model that wait.
pub(crate) fn waiting(service: &Service, model: &str) -> u64 {
    service.profile_json(model, None).unwrap()["waiting"].as_u64().unwrap()
}

/// Lets other tasks and threads go on until `holds`.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("it comes to hold");
}

/// The sum of a metric's samples that have all those labels.
pub(crate) fn metric(service: &Service, name: &str, labels: &[&str]) -> u64 {
    let page = service.render_metrics();
    let samples = page.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with('{'));
    let samples = samples.filter(|rest| labels.iter().all(|label| rest.contains(label)));
    samples.map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// A generator that gives the same numbers for the same seed (splitmix64, Steele et al., OOPSLA'14).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(end)).unwrap()
    }
}
