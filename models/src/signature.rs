//! The inputs and outputs of a model: names, types, shapes, and whether the first axis is a batch.

use serde::{Deserialize, Serialize};

use crate::DataType;

/// One axis of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dim {
    /// Always that long.
    Fixed(u64),
    /// As long as the request says; ONNX may name it.
    Any(Option<String>),
}

impl Dim {
    /// The length in the protocol's notation: -1 where it varies.
    #[must_use]
    pub fn protocol(&self) -> i64 {
        match self {
            Self::Fixed(length) => i64::try_from(*length).unwrap_or(i64::MAX),
            Self::Any(_) => -1,
        }
    }
}

/// Name, element type and shape of one input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// The name in the model file.
    pub name: String,
    /// The element type.
    pub datatype: DataType,
    /// Every axis as the model file has it, the batch axis (where there is one) included and first.
    pub dims: Vec<Dim>,
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// In the model's order.
    pub inputs: Vec<TensorSpec>,
    /// In the model's order.
    pub outputs: Vec<TensorSpec>,
    /// Whether axis 0 of every input and output counts independent rows, so that requests may share a run.
    pub batched: bool,
}

impl TensorSpec {
    pub(crate) fn form(&self) -> String {
        let dims: Vec<_> = self.dims.iter().map(|dim| dim.protocol().to_string()).collect();
        format!("{} [{}]", self.datatype, dims.join(", "))
    }
}

impl Signature {
    /// What a client would notice if the other answered in place of this, as a sentence; `None` for nothing. What
    /// ONNX calls an axis is no difference.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let kinds =
            [("input", &self.inputs, &other.inputs), ("output", &self.outputs, &other.outputs)];
        for (kind, there, here) in kinds {
            let mut pairs = there.iter().zip(here.iter());
            if let Some((there, here)) = pairs.find(|(there, here)| there.name != here.name) {
                return Some(format!("{kind} '{}' there is '{}' here", there.name, here.name));
            }
            if there.len() != here.len() {
                return Some(format!("{} {kind}s there and {} here", there.len(), here.len()));
            }
            let forms = there.iter().map(|spec| (&spec.name, spec.form()));
            let mut forms = forms.zip(here.iter().map(TensorSpec::form));
            if let Some(((name, there), here)) = forms.find(|((_, there), here)| there != here) {
                return Some(format!("{kind} '{name}' is {there} there and {here} here"));
            }
        }
        (self.batched != other.batched)
            .then(|| "only one of them takes several rows at once".to_owned())
    }

    /// The input of that name and its position.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.inputs.iter().enumerate().find(|(_, spec)| spec.name == name)
    }

    /// The output of that name and its position.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.outputs.iter().enumerate().find(|(_, spec)| spec.name == name)
    }
}
