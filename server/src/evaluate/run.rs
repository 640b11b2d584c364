//! Runs labelled rows through a loaded model, in batches like those it is served with.

use std::sync::Arc;
use std::time::Duration;

use gpu::{Batch, InputPart, LoadedModel, Output, Timing};
use models::{Adapter, BatchId, DataType, VariantId};

use super::example::Example;
use crate::answer;
use crate::service::Loaded;

/// Rows of one run at most, however many pay: the table's times are those of usual batches.
const BATCH_MAX: usize = 32;

/// What a model made of all rows.
#[derive(Clone, Debug)]
pub struct Answers<T> {
    /// In the order of the rows.
    pub answers: Vec<T>,
    /// The median over runs of the time of a run divided by its rows.
    pub per_row: Duration,
}

/// Runs all rows, and reads of each the output's type, shape and elements. Neighbours of equal shape share a run where the
/// model is served so. Rows and the output are those of the task, for a variant that is adapted.
///
/// # Errors
/// A sentence with the first row concerned.
pub fn run<T>(
    loaded: &mut Loaded,
    examples: &[Example],
    (output, adapter): (usize, Option<&Adapter>),
    read: impl Fn(DataType, &[i64], &[u8]) -> Result<T, String>,
) -> Result<Answers<T>, String> {
    let adapter = adapter.cloned().map(Arc::new);
    let together = (loaded.batch_max as usize).clamp(1, BATCH_MAX);
    let batched = loaded.description.signature.batched;
    let (_, model) = loaded.executors.first_mut().ok_or("there is no executor")?;
    let mut answers = Vec::new();
    let mut times = Vec::new();
    let mut rest = examples;
    while let Some(first) = rest.first() {
        let equal = rest.iter().take_while(|example| example.inner == first.inner);
        let (now, later) = rest.split_at(equal.take(together).count());
        let at = |reason: String| format!("row {} cannot be answered: {reason}", answers.len() + 1);
        let (outputs, time) = run_batch(&mut **model, now, adapter.as_ref()).map_err(at)?;
        let found = scored(&outputs, output, adapter.as_deref(), batched)?;
        let found = take(&found, now.len(), batched, &read);
        times.push(time / u32::try_from(now.len()).unwrap_or(1));
        let found = found.map_err(|reason| format!("row {}: {reason}", answers.len() + 1))?;
        answers.extend(found);
        rest = later;
    }
    times.sort();
    Ok(Answers { answers, per_row: times.get(times.len() / 2).copied().unwrap_or_default() })
}

fn run_batch(
    model: &mut dyn LoadedModel,
    examples: &[Example],
    adapter: Option<&Arc<Adapter>>,
) -> Result<(Vec<Output>, Duration), String> {
    let rows = u32::try_from(examples.len()).map_err(|_| "there are too many rows")?;
    let asked = &examples[0].inner;
    let part = |example: &Example| {
        let adapter = adapter.cloned();
        let mut part = InputPart { adapter, ..InputPart::new(1, example.tensors.clone()) };
        part.adapt();
        part
    };
    let batch = Batch {
        id: BatchId(0),
        variant: VariantId(0),
        rows,
        inner_shapes: adapter.map_or_else(|| asked.clone(), |adapter| adapter.inner_shapes(asked)),
        parts: examples.iter().map(part).collect(),
    };
    let mut timing = Timing::default();
    let outputs = model.run(&batch, &mut timing).map_err(|error| error.to_string())?;
    Ok((outputs, timing.total()))
}

/// The output that is scored, in the task's form.
fn scored(
    outputs: &[Output],
    output: usize,
    adapter: Option<&Adapter>,
    batched: bool,
) -> Result<Output, String> {
    let step = adapter.map(|adapter| &adapter.outputs[output]);
    let own = outputs.get(step.map_or(output, |step| step.from));
    let own = own.ok_or("the model gave too few outputs")?.clone();
    match step {
        None => Ok(own),
        Some(step) => answer::adapted(own, step, batched)
            .map_err(|reason| format!("the output that is scored {reason}")),
    }
}

/// An answer for each row of an output.
fn take<T>(
    output: &Output,
    rows: usize,
    batched: bool,
    read: impl Fn(DataType, &[i64], &[u8]) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let inner = output.shape.get(usize::from(batched)..).unwrap_or_default();
    let size = output.data.len() / rows;
    (0..rows)
        .map(|row| read(output.datatype, inner, &output.data[row * size..(row + 1) * size]))
        .collect()
}
