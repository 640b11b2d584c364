//! Casts raw tensors from one type of numbers to another, for requests that were made for a variant of another form.

use bytes::Bytes;
use half::{bf16, f16};
use models::DataType;

/// The same numbers in another type: the nearest where it does not hold them. Integers end at their range, NaN is 0 in
/// them; beyond a float's range there is infinity. `None` for `BOOL` and `BYTES`, which are no numbers.
#[must_use]
pub fn cast(data: &[u8], (from, to): (DataType, DataType)) -> Option<Bytes> {
    match from {
        DataType::Bool | DataType::Bytes => None,
        DataType::Uint8 => whole(data, to, |[byte]| byte.into()),
        DataType::Uint16 => whole(data, to, |bytes| u16::from_le_bytes(bytes).into()),
        DataType::Uint32 => whole(data, to, |bytes| u32::from_le_bytes(bytes).into()),
        DataType::Uint64 => whole(data, to, |bytes| u64::from_le_bytes(bytes).into()),
        DataType::Int8 => whole(data, to, |bytes| i8::from_le_bytes(bytes).into()),
        DataType::Int16 => whole(data, to, |bytes| i16::from_le_bytes(bytes).into()),
        DataType::Int32 => whole(data, to, |bytes| i32::from_le_bytes(bytes).into()),
        DataType::Int64 => whole(data, to, |bytes| i64::from_le_bytes(bytes).into()),
        DataType::Fp16 => real(data, to, |bytes| f16::from_le_bytes(bytes).to_f64()),
        DataType::Bf16 => real(data, to, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        DataType::Fp32 => real(data, to, |bytes| f32::from_le_bytes(bytes).into()),
        DataType::Fp64 => real(data, to, f64::from_le_bytes),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "held to the range before, or the nearest float"
)]
fn whole<const N: usize>(
    data: &[u8],
    to: DataType,
    read: impl Fn([u8; N]) -> i128,
) -> Option<Bytes> {
    fn held(value: i128, least: impl Into<i128>, greatest: impl Into<i128>) -> i128 {
        value.clamp(least.into(), greatest.into())
    }
    Some(match to {
        DataType::Bool | DataType::Bytes => return None,
        DataType::Uint8 => each(data, |x| (held(read(x), 0, u8::MAX) as u8).to_le_bytes()),
        DataType::Uint16 => each(data, |x| (held(read(x), 0, u16::MAX) as u16).to_le_bytes()),
        DataType::Uint32 => each(data, |x| (held(read(x), 0, u32::MAX) as u32).to_le_bytes()),
        DataType::Uint64 => each(data, |x| (held(read(x), 0, u64::MAX) as u64).to_le_bytes()),
        DataType::Int8 => each(data, |x| (held(read(x), i8::MIN, i8::MAX) as i8).to_le_bytes()),
        DataType::Int16 => each(data, |x| (held(read(x), i16::MIN, i16::MAX) as i16).to_le_bytes()),
        DataType::Int32 => each(data, |x| (held(read(x), i32::MIN, i32::MAX) as i32).to_le_bytes()),
        DataType::Int64 => each(data, |x| (held(read(x), i64::MIN, i64::MAX) as i64).to_le_bytes()),
        DataType::Fp16 => each(data, |x| f16::from_f64(read(x) as f64).to_le_bytes()),
        DataType::Bf16 => each(data, |x| bf16::from_f64(read(x) as f64).to_le_bytes()),
        DataType::Fp32 => each(data, |x| (read(x) as f32).to_le_bytes()),
        DataType::Fp64 => each(data, |x| (read(x) as f64).to_le_bytes()),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float ends at the integer's range"
)]
fn real<const N: usize>(data: &[u8], to: DataType, read: impl Fn([u8; N]) -> f64) -> Option<Bytes> {
    let near = |x: [u8; N]| read(x).round_ties_even();
    Some(match to {
        DataType::Bool | DataType::Bytes => return None,
        DataType::Uint8 => each(data, |x| (near(x) as u8).to_le_bytes()),
        DataType::Uint16 => each(data, |x| (near(x) as u16).to_le_bytes()),
        DataType::Uint32 => each(data, |x| (near(x) as u32).to_le_bytes()),
        DataType::Uint64 => each(data, |x| (near(x) as u64).to_le_bytes()),
        DataType::Int8 => each(data, |x| (near(x) as i8).to_le_bytes()),
        DataType::Int16 => each(data, |x| (near(x) as i16).to_le_bytes()),
        DataType::Int32 => each(data, |x| (near(x) as i32).to_le_bytes()),
        DataType::Int64 => each(data, |x| (near(x) as i64).to_le_bytes()),
        DataType::Fp16 => each(data, |x| f16::from_f64(read(x)).to_le_bytes()),
        DataType::Bf16 => each(data, |x| bf16::from_f64(read(x)).to_le_bytes()),
        DataType::Fp32 => each(data, |x| (read(x) as f32).to_le_bytes()),
        DataType::Fp64 => each(data, |x| read(x).to_le_bytes()),
    })
}

fn each<const N: usize, const M: usize>(data: &[u8], make: impl Fn([u8; N]) -> [u8; M]) -> Bytes {
    let (elements, _) = data.as_chunks::<N>();
    let mut made = Vec::with_capacity(elements.len() * M);
    elements.iter().for_each(|element| made.extend_from_slice(&make(*element)));
    made.into()
}

#[cfg(test)]
mod tests {
    use DataType::{
        Bf16, Bool, Bytes as Text, Fp16, Fp32, Fp64, Int8, Int32, Int64, Uint8, Uint64,
    };

    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn to_f64(data: &[u8], from: DataType) -> Vec<f64> {
        let wide = cast(data, (from, Fp64)).unwrap();
        wide.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn floats_become_the_nearest_integers_and_end_at_their_range() {
        let data = floats(&[0.5, 1.5, -1.4, 300.0, -300.0, f32::NAN, f32::INFINITY]);
        let bytes = cast(&data, (Fp32, Int8)).unwrap();
        assert_eq!(to_f64(&bytes, Int8), [0.0, 2.0, -1.0, 127.0, -128.0, 0.0, 127.0]);
        let bytes = cast(&data, (Fp32, Uint8)).unwrap();
        assert_eq!(bytes[..], [0, 2, 0, 255, 0, 0, 255]);
    }

    #[test]
    fn integers_end_at_the_range_of_others_and_are_the_nearest_floats() {
        let data: Vec<u8> = [-1_i64, 7, i64::MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = cast(&data, (Int64, Int32)).unwrap();
        assert_eq!(to_f64(&bytes, Int32), [-1.0, 7.0, f64::from(i32::MAX)]);
        let bytes = cast(&data, (Int64, Uint64)).unwrap();
        assert_eq!(bytes[..8], 0_u64.to_le_bytes());
        assert_eq!(bytes[16..], i64::MAX.unsigned_abs().to_le_bytes());
        let single = cast(&((1_i64 << 24) + 1).to_le_bytes(), (Int64, Fp32)).unwrap();
        assert_eq!(to_f64(&single, Fp32), [16_777_216.0]);
    }

    #[test]
    fn narrower_floats_are_the_nearest_or_infinite() {
        let data = floats(&[1.0, 65504.0, 1e6, 1.0 / 3.0]);
        let half = to_f64(&cast(&data, (Fp32, Fp16)).unwrap(), Fp16);
        assert_eq!(half[..3], [1.0, 65504.0, f64::INFINITY]);
        assert!((half[3] - 1.0 / 3.0).abs() < 1e-3);
        let brain = to_f64(&cast(&data, (Fp32, Bf16)).unwrap(), Bf16);
        assert!((brain[2] / 1e6 - 1.0).abs() < 1e-2);
    }

    #[test]
    fn every_number_comes_back_from_a_type_that_holds_it() {
        let numbers = DataType::ALL.into_iter().filter(|kind| ![Bool, Text].contains(kind));
        for datatype in numbers {
            let there = cast(&[0, 1, 2, 100], (Uint8, datatype)).unwrap();
            assert_eq!(there.len(), 4 * datatype.size().unwrap());
            assert_eq!(cast(&there, (datatype, Uint8)).unwrap()[..], [0, 1, 2, 100], "{datatype}");
            assert_eq!(to_f64(&there, datatype), [0.0, 1.0, 2.0, 100.0], "{datatype}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_cast() {
        for pair in [(Bool, Uint8), (Uint8, Bool), (Fp32, Text), (Text, Fp32)] {
            assert_eq!(cast(&[1, 0, 0, 0], pair), None);
        }
    }
}
