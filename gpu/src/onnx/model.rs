//! A model in ONNX Runtime, on whatever provider its session has: gathers a batch, runs it, takes the outputs out.

use std::sync::Arc;

use bytes::Bytes;
use models::{DataType, Signature, TensorSpec};
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::value::{Outlet, ValueType};

use super::raw::{Feed, Runner};
use crate::executor::byte_length;
use crate::stream::Stream;
use crate::{Batch, InputPart, LoadedModel, Output, RunError, Timing, clock, gather};

/// Where the runtime likes its tensors to start: a cache line, the widest vector register.
const ALIGNMENT: usize = 64;

/// A session with a buffer for each input, reused by every run.
pub(super) struct OnnxModel {
    runner: Runner,
    signature: Signature,
    memory: MemoryInfo<'static>,
    buffers: Vec<Buffer>,
}

impl OnnxModel {
    /// Takes over a session that has the inputs and outputs of `signature`; keeps the stream it runs on.
    pub(super) fn new(
        session: &Session,
        signature: Signature,
        stream: Option<Arc<Stream>>,
    ) -> Result<Self, String> {
        agree("input", &signature.inputs, session.inputs())?;
        agree("output", &signature.outputs, session.outputs())?;
        if let Some(missing) =
            session.inputs().iter().find(|found| signature.input(found.name()).is_none())
        {
            return Err(format!("its input {:?} is not in the signature", missing.name()));
        }
        let inputs = signature.inputs.iter().map(|spec| spec.name.as_str());
        let outputs = signature.outputs.iter().map(|spec| spec.name.as_str());
        let runner = Runner::new(session, stream, inputs, outputs)?;
        let buffers = signature.inputs.iter().map(|_| Buffer::default()).collect();
        Ok(Self { runner, signature, memory: MemoryInfo::default(), buffers })
    }
}

impl LoadedModel for OnnxModel {
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        let start = clock::now();
        check_parts(&self.signature, batch)?;
        let mut feeds = Vec::with_capacity(self.buffers.len());
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            let spec = &self.signature.inputs[index];
            let input = Input { spec, index, batch, batched: self.signature.batched };
            let feed = input.gather(&self.memory, buffer);
            feeds.push(
                feed.map_err(|reason| RunError::Failed(format!("input {}: {reason}", spec.name)))?,
            );
        }
        let gathered = clock::now();
        timing.input = gathered - start;
        let values = self.runner.run(&feeds);
        let ran = clock::now();
        timing.infer = ran - gathered;
        let values = values.map_err(RunError::Failed)?;
        let mut outputs = Vec::with_capacity(values.len());
        for (value, spec) in values.into_iter().zip(&self.signature.outputs) {
            let failed =
                |reason: String| RunError::Failed(format!("output {}: {reason}", spec.name));
            let output = self.runner.output(value).map_err(failed)?;
            if self.signature.batched && output.shape.first() != Some(&batch.rows.into()) {
                let reason = format!(
                    "shape {:?} has not {} rows as the batch has",
                    output.shape, batch.rows
                );
                return Err(failed(reason));
            }
            outputs.push(output);
        }
        timing.output = clock::now() - ran;
        Ok(outputs)
    }
}

/// Refuses a batch whose parts are not what the signature says, before anything reads their bytes.
fn check_parts(signature: &Signature, batch: &Batch) -> Result<(), RunError> {
    let failed = |reason: &str| Err(RunError::Failed(reason.into()));
    let rows: u64 = batch.parts.iter().map(|part| u64::from(part.rows)).sum();
    if rows != u64::from(batch.rows) || rows == 0 {
        return failed("the rows of the requests are not those of the batch");
    }
    if !signature.batched && batch.parts.len() != 1 {
        return failed("a model without a batch axis runs one request at a time");
    }
    let inputs = signature.inputs.len();
    if batch.inner_shapes.len() != inputs
        || batch.parts.iter().any(|part| part.tensors.len() != inputs)
    {
        return failed("the requests have not as many inputs as the model");
    }
    Ok(())
}

/// One input of a batch.
struct Input<'b> {
    spec: &'b TensorSpec,
    index: usize,
    batch: &'b Batch,
    batched: bool,
}

impl Input<'_> {
    /// Copies the tensors of all parts one after the other into `buffer` and views them as one.
    fn gather<'a>(
        &self,
        memory: &MemoryInfo<'static>,
        buffer: &'a mut Buffer,
    ) -> Result<Feed<'a>, String> {
        let inner = &self.batch.inner_shapes[self.index];
        let mut shape = Vec::with_capacity(inner.len() + 1);
        if self.batched {
            shape.push(i64::from(self.batch.rows));
        }
        shape.extend_from_slice(inner);
        let Some(size) = self.spec.datatype.size() else { return self.strings(&shape) };
        let impossible = || format!("impossible shape {shape:?}");
        let row = byte_length(inner, size).ok_or_else(impossible)?;
        let length = byte_length(&shape, size).ok_or_else(impossible)?;
        let room = buffer.room(length);
        gather(&self.batch.parts, self.index, (self.spec.datatype, row), room)?;
        Feed::view(memory, self.spec.datatype, &shape, room)
    }

    fn strings<'a>(&self, shape: &[i64]) -> Result<Feed<'a>, String> {
        let mut strings = Vec::new();
        for part in &self.batch.parts {
            let mut rest = self.tensor(part).as_ref();
            while !rest.is_empty() {
                let (length, after) =
                    rest.split_first_chunk().ok_or("a string's length is cut off")?;
                let length = u32::from_le_bytes(*length) as usize;
                let (string, after) =
                    after.split_at_checked(length).ok_or("a string is cut off")?;
                strings.push(string);
                rest = after;
            }
        }
        Feed::strings(shape, &strings)
    }

    fn tensor<'p>(&self, part: &'p InputPart) -> &'p Bytes {
        &part.tensors[self.index]
    }
}

/// Memory that grows to the largest batch and starts on a cache line.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn room(&mut self, length: usize) -> &mut [u8] {
        if self.0.len() < length + ALIGNMENT {
            // Not grown in place: the old bytes need no copy.
            self.0 = vec![0; length + ALIGNMENT];
        }
        let start = self.0.as_ptr().align_offset(ALIGNMENT);
        &mut self.0[start..start + length]
    }
}

/// Refuses a signature that names what the session does not have, or has with another element type.
fn agree(what: &str, specs: &[TensorSpec], found: &[Outlet]) -> Result<(), String> {
    for spec in specs {
        let name = &spec.name;
        let outlet = found.iter().find(|outlet| outlet.name() == name);
        let outlet = outlet.ok_or_else(|| format!("it has no {what} {name:?}"))?;
        match datatype(outlet.dtype()) {
            Some(datatype) if datatype == spec.datatype => {}
            Some(datatype) => {
                return Err(format!("its {what} {name:?} is {datatype}, not {}", spec.datatype));
            }
            None => {
                return Err(format!(
                    "its {what} {name:?} is {}, which is not served",
                    outlet.dtype()
                ));
            }
        }
    }
    Ok(())
}

fn datatype(found: &ValueType) -> Option<DataType> {
    match found {
        ValueType::Tensor { ty, .. } => {
            DataType::from_onnx(ort::sys::ONNXTensorElementDataType::from(*ty) as i32)
        }
        ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused_by_smaller_batches() {
        let mut buffer = Buffer::default();
        let large = buffer.room(1000).as_ptr();
        assert!(large.addr().is_multiple_of(ALIGNMENT));
        assert_eq!(buffer.room(10).as_ptr(), large);
        assert_eq!(buffer.room(5000).len(), 5000);
    }
}
