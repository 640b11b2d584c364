//! How the tensors of one signature become those of another: by name, shape and element type.

use crate::DataType;

/// What makes a variant answer requests of another form: steps for what goes in and for what comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// By the variant's input: how it is made of one of the request's.
    pub inputs: Vec<AdapterStep>,
    /// By the output asked for: how it is made of one of the variant's.
    pub outputs: Vec<AdapterStep>,
}

/// How one tensor is made of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterStep {
    /// The position of the other.
    pub from: usize,
    /// Its shape without the batch axis from then on, of as many elements; as it was, where there is none.
    pub shape: Option<Vec<i64>>,
    /// From which type to which its elements are cast, where they are.
    pub cast: Option<(DataType, DataType)>,
}

impl Adapter {
    /// The shapes of the variant's inputs without their batch axes, from those of the request.
    #[must_use]
    pub fn inner_shapes(&self, asked: &[Vec<i64>]) -> Vec<Vec<i64>> {
        let shape = |step: &AdapterStep| {
            let stated = step.shape.as_ref().or_else(|| asked.get(step.from));
            stated.cloned().unwrap_or_default()
        };
        self.inputs.iter().map(shape).collect()
    }
}

/// What a cast can do to numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// At most digits: numbers become the nearest, those beyond a float's range infinite.
    Digits,
    /// What they say: fractions go, and numbers beyond the range become the last in it.
    Numbers,
    /// `BOOL` and `BYTES` are no numbers.
    Impossible,
}

/// Whether a type holds whole numbers, with the least and the greatest of them; `None` for what holds no numbers.
enum Range {
    Whole(i128, i128),
    Float,
}

fn range(datatype: DataType) -> Option<Range> {
    let whole = |least: i128, greatest: i128| Some(Range::Whole(least, greatest));
    match datatype {
        DataType::Bool | DataType::Bytes => None,
        DataType::Uint8 => whole(0, u8::MAX.into()),
        DataType::Uint16 => whole(0, u16::MAX.into()),
        DataType::Uint32 => whole(0, u32::MAX.into()),
        DataType::Uint64 => whole(0, u64::MAX.into()),
        DataType::Int8 => whole(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => whole(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => whole(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => whole(i64::MIN.into(), i64::MAX.into()),
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => Some(Range::Float),
    }
}

/// What a cast from one type to the other, different one can lose.
pub(crate) fn loss(from: DataType, to: DataType) -> Loss {
    match (range(from), range(to)) {
        (None, _) | (_, None) => Loss::Impossible,
        (_, Some(Range::Float)) => Loss::Digits,
        (Some(Range::Whole(least, greatest)), Some(Range::Whole(low, high)))
            if low <= least && greatest <= high =>
        {
            Loss::Digits
        }
        (Some(Range::Whole(..) | Range::Float), Some(Range::Whole(..))) => Loss::Numbers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_to_floats_and_to_wider_integers_lose_digits_at_most() {
        let text = |from: &str, to: &str| {
            loss(DataType::from_name(from).unwrap(), DataType::from_name(to).unwrap())
        };
        for (from, to) in [
            ("FP32", "FP64"),
            ("FP64", "BF16"),
            ("FP16", "BF16"),
            ("INT64", "FP32"),
            ("UINT8", "INT16"),
            ("UINT8", "UINT64"),
            ("INT8", "INT64"),
        ] {
            assert_eq!(text(from, to), Loss::Digits, "{from} {to}");
        }
        for (from, to) in [
            ("FP32", "INT64"),
            ("FP16", "UINT8"),
            ("INT64", "INT32"),
            ("UINT8", "INT8"),
            ("INT8", "UINT64"),
            ("UINT64", "INT64"),
        ] {
            assert_eq!(text(from, to), Loss::Numbers, "{from} {to}");
        }
        for (from, to) in
            [("BOOL", "UINT8"), ("FP32", "BOOL"), ("BYTES", "FP32"), ("INT8", "BYTES")]
        {
            assert_eq!(text(from, to), Loss::Impossible, "{from} {to}");
        }
    }

    #[test]
    fn inner_shapes_come_from_the_tensors_named_or_from_the_shapes_stated() {
        let step = |from, shape: Option<&[i64]>| AdapterStep {
            from,
            shape: shape.map(<[i64]>::to_vec),
            cast: None,
        };
        let inputs = vec![step(1, None), step(0, Some(&[1, 8, 8]))];
        let adapter = Adapter { inputs, outputs: Vec::new() };
        assert_eq!(adapter.inner_shapes(&[vec![64], vec![7]]), [vec![7], vec![1, 8, 8]]);
    }
}
