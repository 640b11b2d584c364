//! Raw tensors, as they travel in both protocols: sizes that cannot overflow, and elements of `BYTES`.

pub mod json;

use models::DataType;

use crate::infer::InputTensor;
use crate::status::Failure;

/// Most axes of a tensor: twice what any served model has been seen to use.
pub const RANK_MAX: usize = 16;

/// The number of elements of that shape.
///
/// # Errors
/// More than [`RANK_MAX`] axes, a negative one, or more elements than can be counted.
pub fn element_count(name: &str, shape: &[i64]) -> Result<usize, Failure> {
    if shape.len() > RANK_MAX {
        let rank = shape.len();
        return Err(Failure::Invalid(format!(
            "the shape of '{name}' has {rank} dimensions, at most {RANK_MAX} are allowed"
        )));
    }
    if let Some(negative) = shape.iter().find(|dim| **dim < 0) {
        return Err(Failure::Invalid(format!(
            "the shape of '{name}' has the negative dimension {negative}"
        )));
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |count, dim| count.checked_mul(usize::try_from(*dim).ok()?))
        .ok_or_else(|| {
            Failure::Invalid(format!("the shape of '{name}' has more elements than can be counted"))
        })
}

/// Verifies that an input's data are as long as its shape and type say, and that every element is a legal one.
///
/// # Errors
/// What does not fit, in Triton's words where it has some.
pub fn check(input: &InputTensor, model: &str) -> Result<(), Failure> {
    let Some(datatype) = input.datatype else { return Ok(()) };
    let name = &input.name;
    let count = element_count(name, &input.shape)?;
    let Some(size) = datatype.size() else { return check_bytes(name, count, &input.data) };
    let expected = count.checked_mul(size);
    if expected != Some(input.data.len()) {
        let expected =
            expected.map_or("more than fits".to_owned(), |expected| expected.to_string());
        return Err(Failure::Invalid(format!(
            "input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {}",
            input.data.len()
        )));
    }
    // Runtimes read these bytes as a C++ `bool`, for which any other value is undefined.
    if datatype == DataType::Bool && input.data.iter().any(|byte| *byte > 1) {
        return Err(Failure::Invalid(format!(
            "BOOL elements of input '{name}' must be the bytes 0 or 1"
        )));
    }
    Ok(())
}

fn check_bytes(name: &str, count: usize, raw: &[u8]) -> Result<(), Failure> {
    let mut found = 0;
    for element in elements(raw) {
        element.map_err(|Truncated { at, wanted, left }| {
            Failure::Invalid(format!(
                "the BYTES data of input '{name}' end inside element {found}: {wanted} bytes wanted at byte {at}, {left} left"
            ))
        })?;
        found += 1;
    }
    if found == count {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "expected {count} string elements for inference input '{name}', got {found}"
    )))
}

/// Where raw `BYTES` data end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The offset in the raw data.
    pub at: usize,
    /// Bytes that should follow.
    pub wanted: usize,
    /// Bytes that do.
    pub left: usize,
}

/// Splits raw `BYTES` data into elements: each a little-endian u32 length and so many bytes. Ends after an error.
pub fn elements(raw: &[u8]) -> impl Iterator<Item = Result<&[u8], Truncated>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == raw.len() {
            return None;
        }
        let element = element(raw, at);
        at = element.map_or(raw.len(), |element| at + LENGTH_BYTES + element.len());
        Some(element)
    })
}

/// Bytes of the length before each element.
const LENGTH_BYTES: usize = 4;

fn element(raw: &[u8], at: usize) -> Result<&[u8], Truncated> {
    let rest = &raw[at..];
    let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(Truncated { at, wanted: LENGTH_BYTES, left: rest.len() });
    };
    let wanted = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    rest.get(..wanted).ok_or(Truncated { at: at + LENGTH_BYTES, wanted, left: rest.len() })
}

/// Appends one element of `BYTES` with its length.
///
/// # Errors
/// The element is longer than a u32 can say.
pub fn push_element(raw: &mut Vec<u8>, element: &[u8]) -> Result<(), Failure> {
    let length = u32::try_from(element.len()).map_err(|_| {
        Failure::Invalid("an element of BYTES has at most 4294967295 bytes".to_owned())
    })?;
    raw.extend_from_slice(&length.to_le_bytes());
    raw.extend_from_slice(element);
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn input(datatype: DataType, shape: &[i64], data: &[u8]) -> InputTensor {
        InputTensor {
            name: "x".into(),
            datatype: Some(datatype),
            shape: shape.to_vec(),
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_a_sentence() {
        let cases: [(InputTensor, &str); 8] = [
            (
                input(DataType::Fp32, &[2], &[0; 7]),
                "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 7",
            ),
            (input(DataType::Fp32, &[-1], &[]), "the shape of 'x' has the negative dimension -1"),
            (
                input(DataType::Fp32, &[i64::MAX, i64::MAX], &[]),
                "the shape of 'x' has more elements than can be counted",
            ),
            (
                input(DataType::Fp64, &[i64::MAX], &[]),
                "input byte size mismatch for input 'x' for model 'm'. Expected more than fits, got 0",
            ),
            (
                input(DataType::Int8, &[1; 17], &[0]),
                "the shape of 'x' has 17 dimensions, at most 16 are allowed",
            ),
            (
                input(DataType::Bool, &[2], &[1, 2]),
                "BOOL elements of input 'x' must be the bytes 0 or 1",
            ),
            (
                input(DataType::Bytes, &[1], &[5, 0, 0, 0, b'a']),
                "the BYTES data of input 'x' end inside element 0: 5 bytes wanted at byte 4, 1 left",
            ),
            (
                input(DataType::Bytes, &[2], &[0, 0, 0, 0]),
                "expected 2 string elements for inference input 'x', got 1",
            ),
        ];
        for (input, sentence) in cases {
            assert_eq!(check(&input, "m"), Err(Failure::Invalid(sentence.to_owned())));
        }
    }

    #[test]
    fn an_axis_of_length_zero_makes_an_empty_tensor_whatever_the_others_are() {
        assert_eq!(check(&input(DataType::Fp32, &[i64::MAX, 0, i64::MAX], &[]), "m"), Ok(()));
    }

    proptest! {
        #[test]
        fn elements_come_back_as_pushed(list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
            let mut raw = Vec::new();
            for element in &list {
                push_element(&mut raw, element).unwrap();
            }
            let split: Vec<_> = elements(&raw).map(|element| element.unwrap().to_vec()).collect();
            prop_assert_eq!(&split, &list);
            prop_assert_eq!(check(&input(DataType::Bytes, &[list.len() as i64], &raw), "m"), Ok(()));
        }

        #[test]
        fn any_bytes_split_without_panic_and_end(raw in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(elements(&raw).count() <= raw.len());
        }
    }
}
