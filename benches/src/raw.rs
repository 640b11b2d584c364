//! A model run by ONNX Runtime without any server: what batches could give at best.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use gpu::{Batch, Executor, InputPart, LoadedModel, ModelSource, OnnxCpu, Timing};
use loadgen::client::{InputMetadata, Target, fetch, now};
use models::{BatchId, DataType, Dim, Signature, TensorSpec, VariantId};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use crate::Error;

/// A model loaded on the core that this thread is pinned to.
pub struct Raw {
    model: Box<dyn LoadedModel>,
    inner_shapes: Vec<Vec<i64>>,
    row: InputPart,
}

/// Inputs and outputs of a model as the server describes them.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    /// In the model's order.
    pub inputs: Vec<InputMetadata>,
    /// In the model's order.
    pub outputs: Vec<InputMetadata>,
}

impl Metadata {
    /// Asks a server for them, over HTTP.
    ///
    /// # Errors
    /// The server does not know the model.
    pub fn of(target: &Target, model: &str) -> Result<Self, Error> {
        let (status, body) = fetch(target, "GET", &format!("/v2/models/{model}"), Bytes::new())?;
        let unknown =
            |why: String| Error::Server(format!("the server's metadata of '{model}': {why}"));
        if status != 200 {
            return Err(unknown(format!("status {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| unknown(error.to_string()))
    }

    fn signature(&self) -> Result<Signature, Error> {
        let spec = |tensor: &InputMetadata| {
            let datatype = DataType::from_name(&tensor.datatype)
                .ok_or_else(|| Error::Raw(format!("unknown type '{}'", tensor.datatype)))?;
            let dim = |axis: &i64| u64::try_from(*axis).map_or(Dim::Any(None), Dim::Fixed);
            let dims = tensor.shape.iter().map(dim).collect();
            Ok(TensorSpec { name: tensor.name.clone(), datatype, dims })
        };
        let specs =
            |tensors: &[InputMetadata]| tensors.iter().map(spec).collect::<Result<_, Error>>();
        Ok(Signature {
            inputs: specs(&self.inputs)?,
            outputs: specs(&self.outputs)?,
            batched: true,
        })
    }
}

impl Raw {
    /// Loads `<repository>/<model>/1/model.onnx`, whose first axis must be a batch and all others fixed, on one core.
    ///
    /// # Errors
    /// There is no runtime, no such model, or its shapes vary otherwise.
    pub fn load(
        repository: &Path,
        model: &str,
        metadata: &Metadata,
        rows_max: u32,
        core: usize,
    ) -> Result<Self, Error> {
        let failed = |error: gpu::LoadError| Error::Raw(error.to_string());
        let signature = metadata.signature()?;
        let mut inner_shapes = Vec::new();
        let mut tensors = Vec::new();
        for (spec, input) in signature.inputs.iter().zip(&metadata.inputs) {
            let inner = input.shape.get(1..).unwrap_or_default().to_vec();
            let elements = usize::try_from(inner.iter().product::<i64>()).ok();
            let (Some(elements), Some(size)) = (elements, spec.datatype.size()) else {
                return Err(Error::Raw(format!("{model}: {} has no fixed size", spec.name)));
            };
            inner_shapes.push(inner);
            tensors.push(Bytes::from(vec![0; elements * size]));
        }
        let source = ModelSource {
            name: model.to_owned(),
            path: repository.join(model).join("1/model.onnx"),
            signature,
            rows_max,
            threads: 1,
        };
        let executor = OnnxCpu::new(gpu::onnx::runtime(None).map_err(failed)?, vec![core]);
        let model = executor.load(&source).map_err(failed)?;
        Ok(Self { model, inner_shapes, row: InputPart::new(1, tensors) })
    }

    /// Runs batches of that size over about that long.
    ///
    /// # Errors
    /// The runtime fails.
    pub fn rate(&mut self, rows: u32, duration: Duration) -> Result<Rate, Error> {
        let batch = Batch {
            id: BatchId(0),
            variant: VariantId(0),
            rows,
            inner_shapes: self.inner_shapes.clone(),
            parts: vec![self.row.clone(); rows as usize],
        };
        let mut run = || {
            let done = self.model.run(&batch, &mut Timing::default());
            done.map_err(|error| Error::Raw(error.to_string()))
        };
        run()?;
        let (start, cpu, mut runs) = (now(), thread_cpu(), 0u32);
        while start.elapsed() < duration {
            run()?;
            runs += 1;
        }
        let rows = f64::from(runs) * f64::from(rows);
        Ok(Rate::new(rows, start.elapsed(), thread_cpu() - cpu))
    }
}

/// How fast rows were done: neighbours on the machine lower the first, idle gaps only show in the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Rows in a second of the clock on the wall.
    pub wall: f64,
    /// Rows in a second on a core.
    pub cpu: f64,
}

impl Rate {
    /// The rates of that many rows.
    #[must_use]
    pub fn new(rows: f64, wall: Duration, cpu: Duration) -> Self {
        Self { wall: rows / wall.as_secs_f64(), cpu: rows / cpu.as_secs_f64() }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("a thread's CPU time is positive");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below 1e9"))
}
