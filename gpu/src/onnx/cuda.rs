//! ONNX Runtime's CUDA provider, on a stream of ours.

use std::sync::Arc;

use models::DeviceKind;
use ort::ep::CUDA;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::Runtime;
use crate::stream::Stream;
use crate::{Executor, LoadError, LoadedModel, ModelSource};

/// An executor on a GPU, or on a partition of one.
pub struct OnnxCuda {
    runtime: &'static Runtime,
    stream: Arc<Stream>,
    memory_bytes_max: Option<usize>,
}

impl OnnxCuda {
    /// Makes the executor of a stream. `memory_bytes_max` bounds what each model may take of the GPU's memory.
    ///
    /// # Errors
    /// Where the runtime's library has no CUDA provider, or the libraries that it needs are missing.
    pub fn new(
        runtime: &'static Runtime,
        stream: Arc<Stream>,
        memory_bytes_max: Option<usize>,
    ) -> Result<Self, LoadError> {
        let executor = Self { runtime, stream, memory_bytes_max };
        let unusable = |error: ort::Error| {
            LoadError::Runtime(format!(
                "cannot use CUDA with {}: {error}; it needs the GPU build of ONNX Runtime (onnxruntime-gpu), CUDA's \
                 runtime libraries and cuDNN",
                runtime.library.display()
            ))
        };
        let builder = Session::builder(&runtime.environment).map_err(unusable)?;
        executor.options(builder).map_err(unusable)?;
        Ok(executor)
    }

    #[expect(unsafe_code, reason = "the provider takes the stream as a pointer")]
    fn options(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let device = i32::try_from(self.stream.ordinal()).unwrap_or(i32::MAX);
        let provider = CUDA::default().with_device_id(device);
        // The default tries every algorithm of every convolution at each shape: seconds.
        let mut provider = provider.with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
        if let Some(bytes) = self.memory_bytes_max {
            provider = provider.with_memory_limit(bytes);
        }
        // SAFETY: the loaded model and its outputs hold the stream for as long as they hold the session.
        let provider = unsafe { provider.with_compute_stream(self.stream.raw()) };
        let builder = builder.with_intra_threads(1)?.with_inter_threads(1)?;
        // Without this a provider that cannot start is replaced by the CPU in silence.
        Ok(builder.with_execution_providers([provider.build().error_on_failure()])?)
    }
}

impl Executor for OnnxCuda {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn LoadedModel>, LoadError> {
        super::load(self.runtime, source, Some(Arc::clone(&self.stream)), |builder| {
            self.options(builder)
        })
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Cuda { ordinal: self.stream.ordinal() }
    }
}
