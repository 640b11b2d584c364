//! Whether a row that ran among others came out as it does alone.

use models::DataType;

use crate::Output;

/// Largest difference of two floats as a share of the row's largest value: what a reordered 32-bit sum may cost.
const SHARE: f64 = 1e-5;

/// Below this nothing counts, so that rows of zeros compare.
const NOTHING: f64 = 1e-7;

/// Says how row `position` of `together`, which has `rows` rows, differs from the only row of `alone`.
pub(super) fn difference(
    alone: &Output,
    together: &Output,
    position: usize,
    rows: usize,
) -> Option<String> {
    if alone.shape.get(1..) != together.shape.get(1..) || alone.datatype != together.datatype {
        return Some(format!(
            "its shape is {:?} alone and {:?} together",
            alone.shape, together.shape
        ));
    }
    let Some(size) = alone.datatype.size() else {
        let strings = split_strings(&together.data, rows)?;
        return (strings[position] != alone.data).then(|| "its strings are others".into());
    };
    let row = together.data.len() / rows;
    let found = &together.data[position * row..(position + 1) * row];
    if found == alone.data {
        return None;
    }
    let Some(share) = share(alone.datatype) else { return Some("its values are others".into()) };
    let pairs = || {
        let expected = alone.data.chunks_exact(size).map(|bytes| float(alone.datatype, bytes));
        expected.zip(found.chunks_exact(size).map(|bytes| float(alone.datatype, bytes)))
    };
    let scale = pairs()
        .map(|(expected, _)| expected.abs())
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max);
    let allowed = scale * share + NOTHING;
    // Infinities and NaNs agree with their like only.
    let agree = |expected: f64, found: f64| {
        expected.total_cmp(&found).is_eq()
            || (expected.is_nan() && found.is_nan())
            || (expected - found).abs() <= allowed
    };
    let (expected, found) = pairs().find(|&(expected, found)| !agree(expected, found))?;
    Some(format!("{expected} alone and {found} together"))
}

/// The allowed difference of a floating type; a few steps of the 16-bit ones. `None` for types that compare exactly.
fn share(datatype: DataType) -> Option<f64> {
    match datatype {
        DataType::Fp32 | DataType::Fp64 => Some(SHARE),
        DataType::Fp16 => Some(4.0 / 1024.0),
        DataType::Bf16 => Some(4.0 / 128.0),
        DataType::Bool
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Bytes => None,
    }
}

/// The number in the little-endian bytes of a floating type.
fn float(datatype: DataType, bytes: &[u8]) -> f64 {
    match *bytes {
        [a, b] if datatype == DataType::Fp16 => half(u16::from_le_bytes([a, b])),
        [a, b] => f32::from_le_bytes([0, 0, a, b]).into(),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    }
}

/// IEEE half precision: a sign, 5 bits of exponent with bias 15, 10 of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = ((bits >> 10) & 0x1f, f64::from(bits & 0x3ff) / 1024.0);
    sign * match exponent {
        0 => fraction * 2.0_f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2.0_f64.powi(i32::from(exponent) - 15),
    }
}

/// Cuts length-prefixed strings into `rows` equal counts; `None` where they are not so.
fn split_strings(data: &[u8], rows: usize) -> Option<Vec<&[u8]>> {
    let mut ends = vec![0];
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk() {
        rest = after.get(u32::from_le_bytes(*length) as usize..)?;
        ends.push(data.len() - rest.len());
    }
    let each = (ends.len() - 1) / rows;
    Some((0..rows).map(|row| &data[ends[row * each]..ends[(row + 1) * each]]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(datatype: DataType, shape: &[i64], data: Vec<u8>) -> Output {
        Output { datatype, shape: shape.to_vec(), data: data.into() }
    }

    fn floats(values: &[f32], rows: i64) -> Output {
        let columns = i64::try_from(values.len()).unwrap() / rows;
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        output(DataType::Fp32, &[rows, columns], data)
    }

    #[test]
    fn floats_may_differ_by_rounding_of_the_rows_largest_value_only() {
        let alone = floats(&[100.0, 0.001, f32::NAN], 1);
        let together = floats(&[7.0, 7.0, 7.0, 100.0005, 0.0015, f32::NAN], 2);
        assert_eq!(difference(&alone, &together, 1, 2), None);
        assert!(difference(&alone, &together, 0, 2).unwrap().contains("100 alone and 7 together"));
        let infinite = floats(&[f32::INFINITY, 0.0, f32::NAN], 1);
        assert!(difference(&infinite, &together, 1, 2).is_some());
    }

    #[test]
    fn other_types_and_shapes_compare_exactly() {
        let alone = output(DataType::Int8, &[1, 1], vec![5]);
        let together = output(DataType::Int8, &[2, 1], vec![5, 6]);
        assert_eq!(difference(&alone, &together, 0, 2), None);
        assert!(difference(&alone, &together, 1, 2).is_some());
        let longer = output(DataType::Int8, &[2, 2], vec![5, 6, 5, 6]);
        assert!(difference(&alone, &longer, 0, 2).unwrap().contains("shape"));
        let text = output(DataType::Bytes, &[1], b"\x01\0\0\0a".to_vec());
        let texts = output(DataType::Bytes, &[2], b"\x02\0\0\0bb\x01\0\0\0a".to_vec());
        assert_eq!(difference(&text, &texts, 1, 2), None);
        assert!(difference(&text, &texts, 0, 2).is_some());
    }

    #[test]
    fn halves_are_read_as_the_standard_says() {
        assert_eq!([half(0x3c00), half(0xc000), half(0x7bff)], [1.0, -2.0, 65504.0]);
        assert_eq!(half(0x0001), 2.0_f64.powi(-24));
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
        assert_eq!(float(DataType::Bf16, &0x3f80_u16.to_le_bytes()), 1.0);
    }
}
