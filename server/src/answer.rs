//! Cuts a request's own rows out of its batch's outputs, and applies the classification extension.

use bytes::Bytes;
use gpu::Output;
use models::{Adapter, AdapterStep, DataType};

use crate::infer::{OutputTensor, RequestedOutput};
use crate::outcome::Answer;
use crate::pad::Cut;
use crate::served::Served;
use crate::status::Failure;

/// Who gave an answer, and how it becomes one of the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The version that ran.
    pub served: &'a Served,
    /// Where its outputs are of another form.
    pub adapter: Option<&'a Adapter>,
}

impl<'a> From<&'a Served> for Author<'a> {
    fn from(served: &'a Served) -> Self {
        Self { served, adapter: None }
    }
}

impl<'a> Author<'a> {
    fn step(self, index: usize) -> Option<&'a AdapterStep> {
        self.adapter.and_then(|adapter| adapter.outputs.get(index))
    }

    /// Which of its own outputs becomes the one at that position.
    #[must_use]
    pub fn output(self, index: usize) -> usize {
        self.step(index).map_or(index, |step| step.from)
    }
}

/// The tensors that a client asked for.
///
/// # Errors
/// When the model gave outputs that cannot be cut among the requests of a batch, or classes are asked of a tensor
/// that has none.
pub fn outputs(
    answer: &Answer,
    wanted: Vec<(usize, RequestedOutput)>,
    cuts: &[Cut],
    author: Author<'_>,
) -> Result<Vec<OutputTensor>, Failure> {
    let cut = |(index, asked): (usize, RequestedOutput)| {
        let mut tensor = own_rows(answer, index, &asked.name, author)?;
        cuts.iter().filter(|cut| cut.output == index).for_each(|cut| cut.apply(&mut tensor));
        match asked.classification {
            None | Some(0) => Ok(tensor),
            Some(classes) => classify(&tensor, classes, author, index),
        }
    };
    wanted.into_iter().map(cut).collect()
}

/// An answer's own rows of one output, in the form that was asked for.
///
/// # Errors
/// When the model gave outputs that cannot be cut among the requests of a batch, or of another form than it states.
pub(crate) fn own_rows(
    answer: &Answer,
    index: usize,
    name: &str,
    author: Author<'_>,
) -> Result<OutputTensor, Failure> {
    let tensor = cut_rows(answer, author.output(index), name, author.served)?;
    let Some(step) = author.step(index) else { return Ok(tensor) };
    let OutputTensor { name, datatype, shape, data } = tensor;
    let Served { model, signature, .. } = author.served;
    let own = Output { datatype, shape, data };
    let Output { datatype, shape, data } =
        adapted(own, step, signature.batched).map_err(|reason| {
            Failure::Internal(format!("output '{name}' of model '{model}' {reason}"))
        })?;
    Ok(OutputTensor { name, datatype, shape, data })
}

/// The same numbers in the shape and type that were asked for.
///
/// # Errors
/// Where the output is of another form than its model states, what it is.
pub(crate) fn adapted(own: Output, step: &AdapterStep, batched: bool) -> Result<Output, String> {
    let Output { mut datatype, mut shape, mut data } = own;
    let elements = |shape: &[i64]| shape.iter().product::<i64>();
    if let Some((from, to)) = step.cast {
        let cast = gpu::cast(&data, (from, to)).filter(|_| datatype == from);
        data = cast.ok_or_else(|| format!("is {datatype}, not {from}"))?;
        datatype = to;
    }
    if let Some(inner) = &step.shape {
        let rows = shape.first().filter(|_| batched);
        let wanted: Vec<i64> = rows.into_iter().chain(inner).copied().collect();
        if elements(&wanted) != elements(&shape) {
            return Err(format!("is {shape:?}, which cannot become {wanted:?}"));
        }
        shape = wanted;
    }
    Ok(Output { datatype, shape, data })
}

fn cut_rows(
    answer: &Answer,
    index: usize,
    name: &str,
    served: &Served,
) -> Result<OutputTensor, Failure> {
    let model = &served.model;
    let missing = || Failure::Internal(format!("model '{model}' gave no output '{name}'"));
    let output = answer.outputs.get(index).ok_or_else(missing)?;
    let (datatype, mut shape, name) = (output.datatype, output.shape.clone(), name.to_owned());
    // Alone in its batch: all of it is ours, whatever its shape.
    if answer.rows == answer.batch {
        return Ok(OutputTensor { name, datatype, shape, data: output.data.clone() });
    }
    if shape.first() != Some(&i64::from(answer.batch)) {
        return Err(Failure::Internal(format!(
            "output '{name}' of model '{model}' has shape {shape:?} for a batch of {}: it is not row per row, set batching = \"never\"",
            answer.batch
        )));
    }
    shape[0] = i64::from(answer.rows);
    let data = match datatype.size() {
        Some(_) => {
            let row = output.data.len() / answer.batch as usize;
            output.data.slice(answer.row as usize * row..(answer.row + answer.rows) as usize * row)
        }
        None => {
            let per_row: i64 = shape[1..].iter().product();
            let per_row = usize::try_from(per_row).unwrap_or(0);
            elements(&output.data, answer.row as usize * per_row, answer.rows as usize * per_row)
        }
    };
    Ok(OutputTensor { name, datatype, shape, data })
}

/// The bytes of `count` length-prefixed elements after the first `skip`.
fn elements(data: &Bytes, skip: usize, count: usize) -> Bytes {
    let walk = |from: usize, elements: usize| {
        (0..elements).fold(from, |at, _| {
            let length = data
                .get(at..at + 4)
                .and_then(|length| length.try_into().ok())
                .map_or(0, u32::from_le_bytes);
            (at + 4 + length as usize).min(data.len())
        })
    };
    let from = walk(0, skip);
    data.slice(from..walk(from, count))
}

/// Triton's classification extension: the top classes of each row as `value:index[:label]`, a `BYTES` tensor.
fn classify(
    tensor: &OutputTensor,
    classes: u32,
    author: Author<'_>,
    index: usize,
) -> Result<OutputTensor, Failure> {
    let Some(values) = numbers(tensor.datatype, &tensor.data) else {
        return Err(Failure::Invalid(format!(
            "class result not available for output '{}' due to unsupported type '{}'",
            tensor.name, tensor.datatype
        )));
    };
    let batched = author.served.signature.batched;
    let rows = if batched { usize::try_from(tensor.shape[0]).unwrap_or(0) } else { 1 };
    let per_row = values.len().checked_div(rows).unwrap_or(0);
    let top = per_row.min(classes as usize);
    let labels =
        author.served.labels.get(author.output(index)).map(Vec::as_slice).unwrap_or_default();
    let whole = !matches!(
        tensor.datatype,
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64
    );
    let mut data = Vec::new();
    for row in values.chunks_exact(per_row.max(1)).take(rows) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        // NaN goes last, equal values keep the order of their classes.
        order.sort_by(|&a, &b| {
            row[a].is_nan().cmp(&row[b].is_nan()).then_with(|| row[b].total_cmp(&row[a]))
        });
        for &class in &order[..top] {
            let value =
                if whole { format!("{:.0}", row[class]) } else { format!("{:.6}", row[class]) };
            let text = match labels.get(class) {
                Some(label) => format!("{value}:{class}:{label}"),
                None => format!("{value}:{class}"),
            };
            data.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            data.extend(text.as_bytes());
        }
    }
    let dim = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let shape = if batched { vec![dim(rows), dim(top)] } else { vec![dim(top)] };
    Ok(OutputTensor {
        name: tensor.name.clone(),
        datatype: DataType::Bytes,
        shape,
        data: data.into(),
    })
}

/// The elements as numbers; `None` for types without an order of classes.
#[expect(clippy::cast_precision_loss, reason = "64-bit scores are printed rounded at worst")]
pub(crate) fn numbers(datatype: DataType, data: &[u8]) -> Option<Vec<f64>> {
    fn all<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (chunks, _) = data.as_chunks::<N>();
        chunks.iter().map(|chunk| number(*chunk)).collect()
    }
    Some(match datatype {
        DataType::Bool | DataType::Bytes => return None,
        DataType::Uint8 => all(data, |[byte]| f64::from(byte)),
        DataType::Uint16 => all(data, |bytes| f64::from(u16::from_le_bytes(bytes))),
        DataType::Uint32 => all(data, |bytes| f64::from(u32::from_le_bytes(bytes))),
        DataType::Uint64 => all(data, |bytes| u64::from_le_bytes(bytes) as f64),
        DataType::Int8 => all(data, |bytes| f64::from(i8::from_le_bytes(bytes))),
        DataType::Int16 => all(data, |bytes| f64::from(i16::from_le_bytes(bytes))),
        DataType::Int32 => all(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        DataType::Int64 => all(data, |bytes| i64::from_le_bytes(bytes) as f64),
        DataType::Fp16 => all(data, |bytes| half::f16::from_le_bytes(bytes).to_f64()),
        DataType::Bf16 => all(data, |bytes| half::bf16::from_le_bytes(bytes).to_f64()),
        DataType::Fp32 => all(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        DataType::Fp64 => all(data, f64::from_le_bytes),
    })
}
