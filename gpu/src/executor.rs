//! The seam between the scheduler's shell and the devices: what an executor is given and what it sends back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use models::{Adapter, AdapterStep, BatchId, DataType, ExecutorId, Signature, VariantId};

use crate::cast;

/// Where models can be loaded and batches run, one at a time. Three backends: ONNX Runtime on CPU cores, ONNX
/// Runtime's CUDA provider on a stream, and emulated time.
///
/// `load` is called on a loader's thread, never on the thread that runs batches, so that loading disturbs no one.
pub trait Executor: Send + Sync {
    /// Makes a model ready to run here, weights in place.
    ///
    /// # Errors
    /// Where the file or the device does not allow it; the text says what to do.
    fn load(&self, source: &ModelSource) -> Result<Box<dyn LoadedModel>, LoadError>;

    /// The kind of device, for the key of a latency profile.
    fn kind(&self) -> models::DeviceKind;
}

/// A model in place on one executor. Owned by the executor's thread once installed.
pub trait LoadedModel: Send {
    /// Runs the rows of all parts as one batch and returns the model's outputs in the model's order; fills in how
    /// long each phase took (a backend that does not is timed as a whole).
    ///
    /// # Errors
    /// When the runtime refuses or fails; other batches are not concerned.
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError>;
}

/// What a backend needs to know of a model to load it.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// Name and version, for messages.
    pub name: String,
    /// The `model.onnx` file.
    pub path: PathBuf,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The largest number of rows that one run will ever have.
    pub rows_max: u32,
    /// Threads of one run on a CPU.
    pub threads: u32,
}

/// Requests to run together. All parts have equal inner shapes.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which batch, for the completion.
    pub id: BatchId,
    /// Which model.
    pub variant: VariantId,
    /// Rows of all parts together; 1 for a model without a batch axis.
    pub rows: u32,
    /// Shape of each input without its batch axis (the whole shape for a model that has none), in the model's order.
    pub inner_shapes: Vec<Vec<i64>>,
    /// The requests, in the order of their rows. A model without a batch axis gets exactly one.
    pub parts: Vec<InputPart>,
}

/// One request's share of a batch.
#[derive(Clone, Debug)]
pub struct InputPart {
    /// Rows of this request.
    pub rows: u32,
    /// Raw little-endian tensors in the model's order of inputs; `BYTES` elements each after a u32 length.
    pub tensors: Vec<Bytes>,
    /// Makes the tensors those of the model just before the run, where they are of another form until then.
    pub adapter: Option<Arc<Adapter>>,
}

impl InputPart {
    /// Tensors that are the model's own.
    #[must_use]
    pub fn new(rows: u32, tensors: Vec<Bytes>) -> Self {
        Self { rows, tensors, adapter: None }
    }

    /// Makes the tensors those of the model, where they are not.
    ///
    /// # Panics
    /// If the adapter was made for other tensors.
    pub fn adapt(&mut self) {
        let Some(adapter) = self.adapter.take() else { return };
        let tensor = |step: &AdapterStep| {
            let tensor = &self.tensors[step.from];
            let made =
                step.cast.map(|types| cast(tensor, types).expect("an adapter casts numbers"));
            made.unwrap_or_else(|| tensor.clone())
        };
        self.tensors = adapter.inputs.iter().map(tensor).collect();
    }
}

/// One output tensor of a whole batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// The element type.
    pub datatype: DataType,
    /// The shape, batch axis included.
    pub shape: Vec<i64>,
    /// Raw little-endian elements, in the encoding of [`InputPart::tensors`]; a slice for each request is cut from it.
    pub data: Bytes,
}

/// How long the phases of a run took, on the executor's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Gathering the inputs (and copying them to the device).
    pub input: Duration,
    /// The run itself.
    pub infer: Duration,
    /// Taking the outputs out.
    pub output: Duration,
}

impl Timing {
    /// All phases together: the time that the executor was taken.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.input + self.infer + self.output
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct Completion {
    /// Where it ran.
    pub executor: ExecutorId,
    /// Which batch.
    pub batch: BatchId,
    /// The outputs in the model's order, or why there are none.
    pub outputs: Result<Vec<Output>, RunError>,
    /// How long it took.
    pub timing: Timing,
}

/// Why a model could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The runtime library is not there.
    #[error("{0}")]
    Runtime(String),
    /// The device cannot be used.
    #[error("{0}")]
    Device(String),
    /// The runtime refused the model.
    #[error("cannot load {model}: {reason}")]
    Model {
        /// Which file.
        model: String,
        /// The runtime's own words.
        reason: String,
    },
}

/// Why a batch gave no outputs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The runtime reported an error.
    #[error("the model failed: {0}")]
    Failed(String),
    /// The backend panicked; the executor came back.
    #[error("the model's run panicked: {0}")]
    Panicked(String),
    /// No such model is installed on this executor.
    #[error("variant {} is not loaded on this executor", .0.0)]
    NotLoaded(VariantId),
}

/// Bytes of a tensor; `None` where a dimension is negative or the product does not fit.
pub(crate) fn byte_length(shape: &[i64], size: usize) -> Option<usize> {
    let length =
        shape.iter().try_fold(size, |length, &dim| length.checked_mul(usize::try_from(dim).ok()?));
    length.filter(|&length| isize::try_from(length).is_ok())
}
