//! Made-up inputs that a model accepts: the same row number always gives the same row.

use bytes::Bytes;
use models::{DataType, Dim, Signature, TensorSpec};
use rand_distr::{Distribution, StandardUniform};
use rand_pcg::Pcg32;

/// Side of an image in most vision models.
const IMAGE: i64 = 224;

/// Tokens of a short sentence.
const SEQUENCE: i64 = 32;

/// The seed of all made-up inputs; any would do.
const SEED: u64 = 0x0070_756e_6374_7561;

/// Makes rows of fixed shapes.
pub(super) struct Inputs {
    pub(super) signature: Signature,
    /// Of each input, without the batch axis where the model has one.
    pub(super) inner_shapes: Vec<Vec<i64>>,
}

impl Inputs {
    /// The tensors of row number `row`, one for each input.
    pub(super) fn row(&self, row: u64) -> Vec<Bytes> {
        let mut random = Pcg32::new(SEED, row);
        // Rows differ in range too: models that scale by the whole batch's range must show it.
        let scale = 1.0 / (1.0 + f32::from(u8::try_from(row % 3).expect("below 3")));
        let specs = self.signature.inputs.iter().zip(&self.inner_shapes);
        specs.map(|(spec, shape)| tensor(spec.datatype, shape, scale, &mut random)).collect()
    }
}

/// Inner shapes to try, likeliest first: a guess for each free axis, then one length for all of them.
pub(super) fn shapes_to_try(signature: &Signature, lengths: &[i64]) -> Vec<Vec<Vec<i64>>> {
    let shapes = |length: Option<i64>| {
        let shape = |spec| inner_shape(spec, signature.batched, length);
        signature.inputs.iter().map(shape).collect::<Vec<_>>()
    };
    let mut tries = vec![shapes(None)];
    for &length in lengths {
        let next = shapes(Some(length));
        if !tries.contains(&next) {
            tries.push(next);
        }
    }
    tries
}

/// One input's shape without its batch axis; free axes are `length` long or, without it, as its type and rank
/// suggest: images 224, anything else 32, an axis that means a batch 1.
fn inner_shape(spec: &TensorSpec, batched: bool, length: Option<i64>) -> Vec<i64> {
    let batch_axes = usize::from(batched);
    let inner = spec.dims.iter().enumerate().skip(batch_axes);
    let rank = spec.dims.len();
    inner
        .map(|(axis, dim)| match dim {
            Dim::Fixed(length) => i64::try_from(*length).unwrap_or(i64::MAX),
            Dim::Any(name) if axis == 0 || name.as_deref().is_some_and(means_batch) => 1,
            Dim::Any(_) => length.unwrap_or(if rank >= 4 { IMAGE } else { SEQUENCE }),
        })
        .collect()
}

fn means_batch(name: &str) -> bool {
    name.eq_ignore_ascii_case("n") || name.to_ascii_lowercase().contains("batch")
}

fn tensor(datatype: DataType, shape: &[i64], scale: f32, random: &mut Pcg32) -> Bytes {
    let count: i64 = shape.iter().product();
    let mut bytes = Vec::new();
    for _ in 0..count {
        element(datatype, scale, random, &mut bytes);
    }
    bytes.into()
}

fn element(datatype: DataType, scale: f32, random: &mut Pcg32, bytes: &mut Vec<u8>) {
    let word: u32 = StandardUniform.sample(random);
    let bit = u8::try_from(word >> 31).expect("one bit");
    // 24 bits are what an f32 in [0, 1) holds; lossless.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    let unit = (word >> 8) as f32 / 16_777_216.0 * scale;
    match datatype {
        DataType::Fp32 => bytes.extend(unit.to_le_bytes()),
        DataType::Fp64 => bytes.extend(f64::from(unit).to_le_bytes()),
        DataType::Bf16 => bytes.extend(&unit.to_le_bytes()[2..]),
        // Half precision in [1/16, 1): one of four exponents from 11 (bias 15) and ten random bits.
        DataType::Fp16 => {
            bytes.extend((u16::try_from(word & 0xfff).expect("12 bits") + (11 << 10)).to_le_bytes())
        }
        DataType::Bytes => {
            bytes.extend(4_u32.to_le_bytes());
            bytes.extend(b"word");
        }
        DataType::Bool
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64 => {
            bytes.push(bit);
            bytes.resize(bytes.len() + datatype.size().expect("integers have a size") - 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: DataType, dims: Vec<Dim>) -> TensorSpec {
        TensorSpec { name: String::new(), datatype, dims }
    }

    fn free(name: &str) -> Dim {
        Dim::Any(Some(name.into()))
    }

    #[test]
    fn free_axes_are_guessed_by_meaning_then_all_of_one_length() {
        let tokens = spec(DataType::Int64, vec![free("batch"), free("tokens")]);
        let image = spec(DataType::Fp32, vec![free("batch"), Dim::Fixed(3), free("h"), free("w")]);
        let state = spec(DataType::Fp32, vec![free("batch"), Dim::Fixed(2), free("batch_2")]);
        let signature =
            Signature { inputs: vec![tokens, image, state], outputs: vec![], batched: true };
        let tries = shapes_to_try(&signature, &[1, 8]);
        assert_eq!(tries[0], [vec![32], vec![3, 224, 224], vec![2, 1]]);
        assert_eq!(tries[2], [vec![8], vec![3, 8, 8], vec![2, 1]]);
    }

    #[test]
    fn fixed_shapes_are_tried_once() {
        let inputs = vec![spec(DataType::Fp32, vec![Dim::Fixed(3), Dim::Fixed(2)])];
        let signature = Signature { inputs, outputs: vec![], batched: false };
        assert_eq!(shapes_to_try(&signature, &[1, 8]), [[[3, 2]]]);
    }

    #[test]
    fn rows_repeat_by_number_and_differ_from_each_other_in_valid_values() {
        let inputs = DataType::ALL.map(|datatype| spec(datatype, vec![Dim::Fixed(64)])).to_vec();
        let signature = Signature { inputs, outputs: vec![], batched: false };
        let inputs = Inputs { signature, inner_shapes: vec![vec![64]; 14] };
        let row = inputs.row(1);
        assert_eq!(row, inputs.row(1));
        for ((datatype, tensor), other) in DataType::ALL.into_iter().zip(row).zip(inputs.row(2)) {
            assert_eq!(tensor.len(), 64 * datatype.size().unwrap_or(8), "{datatype}");
            assert_eq!(tensor != other, datatype != DataType::Bytes, "{datatype}");
            let size = datatype.size().unwrap_or(8);
            let small =
                |element: &[u8]| element[0] < 2 && element[1..].iter().all(|&byte| byte == 0);
            let half = |element: &[u8]| element[size - 1] < 0x40;
            match datatype {
                DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => {
                    assert!(tensor.chunks(size).all(half), "{datatype}");
                }
                DataType::Bytes => {}
                DataType::Bool
                | DataType::Uint8
                | DataType::Uint16
                | DataType::Uint32
                | DataType::Uint64
                | DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64 => assert!(tensor.chunks(size).all(small), "{datatype}"),
            }
        }
    }
}
