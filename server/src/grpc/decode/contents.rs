//! Elements sent as numbers of the message, to raw little-endian elements.

use bytes::Bytes;
use models::DataType;

use crate::grpc::inference::InferTensorContents;
use crate::status::Failure;
use crate::tensor;

/// The elements of an input of that type. How many they should be is for the caller to check.
///
/// # Errors
/// Elements in a list of another type, or too large for their type.
pub(super) fn to_raw(
    contents: &InferTensorContents,
    datatype: DataType,
    name: &str,
    model: &str,
) -> Result<Bytes, Failure> {
    if let Some(other) = other_list(contents, datatype) {
        return Err(Failure::Invalid(format!(
            "unexpected explicit tensor data for input tensor '{name}' for model '{model}' of type '{other}', expected datatype \
             '{datatype}'"
        )));
    }
    let raw = match datatype {
        DataType::Bool => raw(&contents.bool_contents, |value| [u8::from(value)]),
        DataType::Int8 => narrow(&contents.int_contents, i8::to_le_bytes, name)?,
        DataType::Int16 => narrow(&contents.int_contents, i16::to_le_bytes, name)?,
        DataType::Int32 => raw(&contents.int_contents, i32::to_le_bytes),
        DataType::Int64 => raw(&contents.int64_contents, i64::to_le_bytes),
        DataType::Uint8 => narrow(&contents.uint_contents, u8::to_le_bytes, name)?,
        DataType::Uint16 => narrow(&contents.uint_contents, u16::to_le_bytes, name)?,
        DataType::Uint32 => raw(&contents.uint_contents, u32::to_le_bytes),
        DataType::Uint64 => raw(&contents.uint64_contents, u64::to_le_bytes),
        DataType::Fp32 => raw(&contents.fp32_contents, f32::to_le_bytes),
        DataType::Fp64 => raw(&contents.fp64_contents, f64::to_le_bytes),
        DataType::Bytes => strings(&contents.bytes_contents)?,
        DataType::Fp16 | DataType::Bf16 => {
            return Err(Failure::Invalid(format!(
                "{datatype} has no contents field: send input '{name}' for model '{model}' in raw_input_contents"
            )));
        }
    };
    Ok(raw.into())
}

/// The name of a list that holds elements and is not the one of that type.
fn other_list(contents: &InferTensorContents, datatype: DataType) -> Option<&'static str> {
    use DataType::{
        Bool, Bytes, Fp32, Fp64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64,
    };
    let lists: [(bool, &str, &[DataType]); 8] = [
        (contents.bool_contents.is_empty(), "BOOL", &[Bool]),
        (contents.int_contents.is_empty(), "INT32", &[Int8, Int16, Int32]),
        (contents.int64_contents.is_empty(), "INT64", &[Int64]),
        (contents.uint_contents.is_empty(), "UINT32", &[Uint8, Uint16, Uint32]),
        (contents.uint64_contents.is_empty(), "UINT64", &[Uint64]),
        (contents.fp32_contents.is_empty(), "FP32", &[Fp32]),
        (contents.fp64_contents.is_empty(), "FP64", &[Fp64]),
        (contents.bytes_contents.is_empty(), "BYTES", &[Bytes]),
    ];
    lists
        .into_iter()
        .find(|(empty, _, types)| !empty && !types.contains(&datatype))
        .map(|(_, name, _)| name)
}

fn raw<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(values.len() * N);
    for value in values {
        raw.extend_from_slice(&bytes(*value));
    }
    raw
}

fn narrow<W, T, const N: usize>(
    values: &[W],
    bytes: fn(T) -> [u8; N],
    name: &str,
) -> Result<Vec<u8>, Failure>
where
    W: Copy + std::fmt::Display,
    T: TryFrom<W>,
{
    let mut raw = Vec::with_capacity(values.len() * N);
    for value in values {
        let fit = T::try_from(*value).map_err(|_| {
            Failure::Invalid(format!(
                "{value} of input '{name}' is out of the range of its data-type"
            ))
        })?;
        raw.extend_from_slice(&bytes(fit));
    }
    Ok(raw)
}

fn strings(elements: &[Bytes]) -> Result<Vec<u8>, Failure> {
    let mut raw = Vec::with_capacity(elements.iter().map(|element| element.len() + 4).sum());
    for element in elements {
        tensor::push_element(&mut raw, element)?;
    }
    Ok(raw)
}
