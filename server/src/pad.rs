//! Pads inputs up to a multiple where a model's settings say so, and cuts the outputs back: requests of different
//! lengths then share a run.

use bytes::Bytes;
use models::{DataType, PadRule};

use crate::infer::{InputTensor, OutputTensor};
use crate::served::Served;

/// An axis of an output that is cut back to the request's own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which output, by position in the signature.
    pub output: usize,
    /// Which axis, counted with the batch axis as 0.
    pub axis: usize,
    /// The request's own length.
    pub length: i64,
}

/// Pads the inputs, which are in the model's order; says what must be cut from the outputs.
///
/// # Errors
/// A length too large to be padded.
pub fn pad(inputs: &mut [InputTensor], served: &Served) -> Result<Vec<Cut>, String> {
    let mut cuts = Vec::new();
    for (index, rule) in &served.pads {
        let input = &mut inputs[*index];
        let length = input.shape[rule.axis];
        let multiple = i64::try_from(rule.to_multiple_of).unwrap_or(i64::MAX);
        let padded = length.checked_add(multiple - 1).map(|length| length / multiple * multiple);
        let padded =
            padded.ok_or_else(|| format!("input '{}' is too long to be padded", input.name))?;
        if padded == length {
            continue;
        }
        pad_axis(input, rule, padded);
        for (output, &axis) in &rule.outputs {
            let cut =
                served.signature.output(output).map(|(output, _)| Cut { output, axis, length });
            cuts.extend(cut);
        }
    }
    Ok(cuts)
}

fn pad_axis(input: &mut InputTensor, rule: &PadRule, padded: i64) {
    let element = input.datatype.and_then(DataType::size).unwrap_or(1);
    let after = count(&input.shape[rule.axis + 1..]);
    let bytes = |length: i64| usize::try_from(length.saturating_mul(after)).unwrap_or(0) * element;
    let (own, full) = (bytes(input.shape[rule.axis]), bytes(padded));
    let filling = filling(input.datatype, rule.value);
    let rows = count(&input.shape[..rule.axis]);
    let mut data = Vec::with_capacity(usize::try_from(rows).unwrap_or(0) * full);
    for row in 0..usize::try_from(rows).unwrap_or(0) {
        data.extend_from_slice(&input.data[row * own..(row + 1) * own]);
        data.extend(filling.iter().cycle().take(full - own));
    }
    input.shape[rule.axis] = padded;
    input.data = data.into();
}

/// Elements of those axes; an axis of 0 makes the others irrelevant, however long.
fn count(axes: &[i64]) -> i64 {
    if axes.contains(&0) {
        0
    } else {
        axes.iter().fold(1, |count, &axis| count.saturating_mul(axis))
    }
}

/// One element of that value; integers keep their low bytes.
fn filling(datatype: Option<DataType>, value: i64) -> Vec<u8> {
    #[expect(clippy::cast_precision_loss, reason = "a filling is a small number")]
    let float = value as f64;
    match datatype {
        Some(DataType::Fp16) => half::f16::from_f64(float).to_le_bytes().to_vec(),
        Some(DataType::Bf16) => half::bf16::from_f64(float).to_le_bytes().to_vec(),
        #[expect(clippy::cast_possible_truncation, reason = "a filling is a small number")]
        Some(DataType::Fp32) => (float as f32).to_le_bytes().to_vec(),
        Some(DataType::Fp64) => float.to_le_bytes().to_vec(),
        other => value.to_le_bytes()[..other.and_then(DataType::size).unwrap_or(1)].to_vec(),
    }
}

impl Cut {
    /// Cuts the axis of that output, if it is longer than the request's own length.
    pub fn apply(&self, tensor: &mut OutputTensor) {
        let Some(&full) = tensor.shape.get(self.axis) else { return };
        let Some(element) = tensor.datatype.size() else { return };
        if full <= self.length {
            return;
        }
        let after = count(&tensor.shape[self.axis + 1..]);
        let bytes =
            |length: i64| usize::try_from(length.saturating_mul(after)).unwrap_or(0) * element;
        let (own, full) = (bytes(self.length), bytes(full));
        tensor.data = match tensor.data.len() / full.max(1) {
            1 => tensor.data.slice(..own),
            _ => tensor
                .data
                .chunks_exact(full.max(1))
                .flat_map(|row| &row[..own])
                .copied()
                .collect::<Bytes>(),
        };
        tensor.shape[self.axis] = self.length;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use models::{Dim, Signature, TensorSpec};

    use super::*;
    use crate::served::for_test;

    fn spec(name: &str) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            datatype: DataType::Uint16,
            dims: vec![Dim::Any(None), Dim::Any(None)],
        }
    }

    #[test]
    fn rows_are_filled_up_and_outputs_cut_back() {
        let signature =
            Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batched: true };
        let outputs = BTreeMap::from([("y".to_owned(), 1)]);
        let rule = PadRule { axis: 1, to_multiple_of: 4, value: 7, outputs };
        let mut served = for_test(1, signature);
        served.pads = vec![(0, rule)];
        let data: Bytes =
            [1_u16, 2, 3, 4, 5, 6].iter().flat_map(|value| value.to_le_bytes()).collect();
        let datatype = Some(DataType::Uint16);
        let mut inputs =
            [InputTensor { name: "x".into(), datatype, shape: vec![2, 3], data: data.clone() }];
        let cuts = pad(&mut inputs, &served).unwrap();
        let padded: Vec<u16> = inputs[0]
            .data
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(padded, [1, 2, 3, 7, 4, 5, 6, 7]);
        assert_eq!(
            (inputs[0].shape.as_slice(), cuts.as_slice()),
            (&[2, 4][..], &[Cut { output: 0, axis: 1, length: 3 }][..])
        );
        let [input] = inputs;
        let mut output = OutputTensor {
            name: "y".into(),
            datatype: DataType::Uint16,
            shape: input.shape,
            data: input.data,
        };
        cuts[0].apply(&mut output);
        assert_eq!((output.shape.as_slice(), output.data), (&[2, 3][..], data));
    }
}
