//! Backends, the small models of tests/models and batches for them.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its part"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gpu::stream::Stream;
use gpu::{
    Batch, Emulated, Executor, InputPart, LoadedModel, ModelSource, Noise, OnnxCpu, OnnxCuda,
    Output, RunError, Timing,
};
use models::{BatchId, DataType, Dim, LatencyProfile, Signature, TensorSpec, VariantId};

/// What a backend's outputs hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// What the model computes.
    Answers,
    /// Zeros of the right shapes.
    Zeros,
}

/// One backend under test.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) filled: Filled,
}

pub(crate) fn emulated() -> Backend {
    let profile = LatencyProfile::linear(Duration::from_micros(100), Duration::from_micros(10), 8);
    let executor = Box::new(Emulated::new("test", profile, Noise::default()));
    Backend { name: "emulated", executor, filled: Filled::Zeros }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// Where `make test-gpu` puts the runtime's build for GPUs.
pub(crate) fn for_gpu() -> PathBuf {
    target().join("onnxruntime-gpu/lib")
}

#[expect(clippy::print_stdout, reason = "a skipped backend says why")]
/// The runtime in `target/onnxruntime-gpu/lib`, else in `target/onnxruntime/lib`, or the reason why there is none.
pub(crate) fn runtime() -> Option<&'static gpu::onnx::Runtime> {
    let made = if for_gpu().is_dir() { for_gpu() } else { target().join("onnxruntime/lib") };
    gpu::onnx::runtime(Some(&made)).inspect_err(|error| println!("skipped: {error}")).ok()
}

#[expect(clippy::print_stdout, reason = "a skipped backend says why")]
/// Every backend that computes, where its library and device are here.
pub(crate) fn onnx_backends() -> Vec<Backend> {
    let Some(runtime) = runtime() else { return vec![] };
    let cpu = Box::new(OnnxCpu::new(runtime, vec![]));
    let mut backends = vec![Backend { name: "onnx cpu", executor: cpu, filled: Filled::Answers }];
    match Stream::whole(0, 0).and_then(|stream| OnnxCuda::new(runtime, Arc::new(stream), None)) {
        Ok(cuda) => backends.push(Backend {
            name: "onnx cuda",
            executor: Box::new(cuda),
            filled: Filled::Answers,
        }),
        Err(error) => println!("skipped: {error}"),
    }
    backends
}

pub(crate) fn backends() -> Vec<Backend> {
    let mut backends = vec![emulated()];
    backends.extend(onnx_backends());
    backends
}

/// `None` is an axis of any length.
pub(crate) fn spec(name: &str, datatype: DataType, dims: &[Option<u64>]) -> TensorSpec {
    let dims = dims.iter().map(|dim| dim.map_or(Dim::Any(None), Dim::Fixed)).collect();
    TensorSpec { name: name.into(), datatype, dims }
}

pub(crate) fn source(
    name: &str,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    batched: bool,
) -> ModelSource {
    let path = PathBuf::from(format!("{}/tests/models/{name}.onnx", env!("CARGO_MANIFEST_DIR")));
    let signature = Signature { inputs, outputs, batched };
    ModelSource { name: name.into(), path, signature, rows_max: 8, threads: 1 }
}

/// Rows of `from` floats to rows of `to` floats.
pub(crate) fn float_rows(name: &str, from: u64, to: u64) -> ModelSource {
    let spec = |name, width| vec![spec(name, DataType::Fp32, &[None, Some(width)])];
    source(name, spec("x", from), spec("y", to), true)
}

pub(crate) fn mlp() -> ModelSource {
    float_rows("mlp", 4, 3)
}

pub(crate) fn lookup() -> ModelSource {
    let ids = vec![spec("ids", DataType::Int64, &[None, None])];
    source("lookup", ids, vec![spec("mean", DataType::Fp32, &[None, Some(4)])], true)
}

pub(crate) fn eights() -> ModelSource {
    let free = |name| vec![spec(name, DataType::Fp32, &[None, None])];
    source("eights", free("x"), free("y"), true)
}

pub(crate) fn fixed() -> ModelSource {
    let six = |name| spec(name, DataType::Fp32, &[Some(3), Some(2)]);
    source(
        "fixed",
        vec![six("a"), six("b")],
        vec![six("sum"), spec("max", DataType::Fp32, &[])],
        false,
    )
}

pub(crate) fn every_type() -> ModelSource {
    let names = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float double string";
    let specs = |side: &str| {
        let named = names.split(' ').zip(DataType::ALL);
        named
            .map(|(name, datatype)| spec(&format!("{side}_{name}"), datatype, &[None, Some(2)]))
            .collect()
    };
    source("every_type", specs("in"), specs("out"), true)
}

pub(crate) fn batch(inner_shapes: &[&[i64]], parts: Vec<(u32, Vec<Bytes>)>) -> Batch {
    let rows = parts.iter().map(|(rows, _)| rows).sum();
    let parts = parts.into_iter().map(|(rows, tensors)| InputPart::new(rows, tensors)).collect();
    let inner_shapes = inner_shapes.iter().map(|shape| shape.to_vec()).collect();
    Batch { id: BatchId(0), variant: VariantId(0), rows, inner_shapes, parts }
}

pub(crate) fn run(model: &mut dyn LoadedModel, batch: &Batch) -> Result<Vec<Output>, RunError> {
    model.run(batch, &mut Timing::default())
}

pub(crate) fn floats(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn rows_of(output: &Output) -> Vec<f32> {
    let (chunks, rest) = output.data.as_chunks();
    assert!(rest.is_empty());
    chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
