//! A row with the answer that is right for it.

use bytes::Bytes;
use models::{Dim, Signature, TensorSpec};

/// One row to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Shape of each input without its batch axis, in the model's order.
    pub inner: Vec<Vec<i64>>,
    /// Raw elements of each input.
    pub tensors: Vec<Bytes>,
    /// What is right, where it is known.
    pub label: Option<Label>,
}

/// The right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// The number of a class.
    Class(i64),
    /// The name of a class, or a text to be read.
    Text(String),
    /// Codes in order.
    Sequence(Vec<i64>),
}

/// What rows are to look like.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// The model's inputs and outputs.
    pub signature: &'a Signature,
    /// What the labels are called; `label`, `labels` or the name of an output by default.
    pub label: Option<&'a str>,
}

/// The shape that a row of that shape has as an input, without the batch axis. Axes of length 1 that the model has in
/// front may be left out.
///
/// # Errors
/// It is not a row of that input.
pub(super) fn fit(inner: &[i64], spec: &TensorSpec, batched: bool) -> Result<Vec<i64>, String> {
    let wanted = &spec.dims[usize::from(batched)..];
    let is = |dim: &Dim, length: i64| match dim {
        Dim::Fixed(_) => dim.protocol() == length,
        Dim::Any(_) => length >= 0,
    };
    let missing = wanted.len().saturating_sub(inner.len());
    let shape: Vec<i64> = std::iter::repeat_n(1, missing).chain(inner.iter().copied()).collect();
    let fits = shape.len() == wanted.len()
        && wanted.iter().zip(&shape).all(|(dim, &length)| is(dim, length));
    if fits {
        return Ok(shape);
    }
    let wanted: Vec<_> = wanted.iter().map(|dim| dim.protocol().to_string()).collect();
    Err(format!(
        "has rows of shape {inner:?}; allowed is [{}], where -1 stands for any length",
        wanted.join(", ")
    ))
}
