//! ONNX Runtime on a set of CPU cores.

use models::DeviceKind;
use ort::session::builder::SessionBuilder;

use super::Runtime;
use crate::{Executor, LoadError, LoadedModel, ModelSource};

/// An executor of one or more cores. Its sessions compute on the thread that runs them and, where a model asks for
/// more threads, on threads pinned to the other cores.
pub struct OnnxCpu {
    runtime: &'static Runtime,
    cores: Vec<usize>,
}

impl OnnxCpu {
    /// Makes the executor of `cores`; the worker that runs its models must be pinned to the same.
    #[must_use]
    pub fn new(runtime: &'static Runtime, cores: Vec<usize>) -> Self {
        Self { runtime, cores }
    }

    fn options(&self, builder: SessionBuilder, threads: u32) -> ort::Result<SessionBuilder> {
        let threads = threads.max(1);
        // Spinning threads take cores from other executors and from the server.
        let builder = builder.with_intra_threads(threads as usize)?.with_inter_threads(1)?;
        let builder = builder.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?;
        match affinities(&self.cores, threads) {
            Some(cores) => {
                Ok(builder.with_config_entry("session.intra_op_thread_affinities", cores)?)
            }
            None => Ok(builder),
        }
    }
}

impl Executor for OnnxCpu {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn LoadedModel>, LoadError> {
        super::load(self.runtime, source, None, |builder| self.options(builder, source.threads))
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu {
            threads: u32::try_from(self.cores.len().max(1)).expect("a machine has few cores"),
        }
    }
}

/// The runtime's setting for the threads that it starts itself: all but one, which is the caller's. It counts logical
/// processors from 1. `None` where there is no such thread, or fewer cores than threads.
fn affinities(cores: &[usize], threads: u32) -> Option<String> {
    let threads = threads as usize;
    if threads < 2 || cores.len() < threads {
        return None;
    }
    let cores = cores[1..threads].iter().map(|core| (core + 1).to_string());
    Some(cores.collect::<Vec<_>>().join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_beside_the_callers_are_pinned_to_the_other_cores() {
        assert_eq!(affinities(&[4, 5, 7], 3).as_deref(), Some("6;8"));
        assert_eq!(affinities(&[4, 5, 7], 2).as_deref(), Some("6"));
        assert_eq!(affinities(&[4], 1), None);
        assert_eq!(affinities(&[4], 2), None);
    }
}
