//! Tensors between JSON and raw elements, without a value tree between.
//!
//! Inward: flat or nested arrays, row-major; how they are nested is not compared with the shape, their number of
//! elements is. Integers are whole numbers within the type's range, `BYTES` are strings. Outward: flat arrays, numbers
//! in the shortest form that reads back the same. FP16 and BF16 travel in binary only, both ways, as with Triton.
//! NaN and infinity are not JSON: an output that holds one is refused with the advice to ask for it in binary.

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use models::DataType;
use serde::ser::{Error as _, SerializeSeq as _};
use serde_json::value::RawValue;

use super::{RANK_MAX, elements, push_element};
use crate::infer::OutputTensor;
use crate::status::Failure;

/// Reads the `data` of an input into raw elements, exactly `count` of them.
///
/// # Errors
/// Wrong number of elements, an element that is not of the type, a type that JSON does not carry.
pub fn read(
    name: &str,
    datatype: DataType,
    count: usize,
    data: &RawValue,
) -> Result<Bytes, Failure> {
    let source = Source { name, datatype, count, text: data.get() };
    match datatype {
        DataType::Bool => source.elements(1, push_bool),
        DataType::Uint8 => source.numbers(u8::to_le_bytes, |_| true),
        DataType::Uint16 => source.numbers(u16::to_le_bytes, |_| true),
        DataType::Uint32 => source.numbers(u32::to_le_bytes, |_| true),
        DataType::Uint64 => source.numbers(u64::to_le_bytes, |_| true),
        DataType::Int8 => source.numbers(i8::to_le_bytes, |_| true),
        DataType::Int16 => source.numbers(i16::to_le_bytes, |_| true),
        DataType::Int32 => source.numbers(i32::to_le_bytes, |_| true),
        DataType::Int64 => source.numbers(i64::to_le_bytes, |_| true),
        DataType::Fp32 => source.numbers(f32::to_le_bytes, |number| number.is_finite()),
        DataType::Fp64 => source.numbers(f64::to_le_bytes, |number| number.is_finite()),
        DataType::Bytes => source.elements(super::LENGTH_BYTES, push_string),
        DataType::Fp16 | DataType::Bf16 => Err(Failure::Invalid(format!(
            "receiving {datatype} data via JSON is not supported. Please use the binary data format for input {name}"
        ))),
    }
}

/// Text of one input's `data`, known to be JSON: serde has walked over it.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    datatype: DataType,
    count: usize,
    text: &'a str,
}

impl Source<'_> {
    fn numbers<T: FromStr, const N: usize>(
        self,
        bytes: fn(T) -> [u8; N],
        allowed: fn(&T) -> bool,
    ) -> Result<Bytes, Failure> {
        self.elements(N, |token, raw| match token.parse::<T>() {
            Ok(number) if allowed(&number) => {
                raw.extend_from_slice(&bytes(number));
                true
            }
            Ok(_) | Err(_) => false,
        })
    }

    /// Hands every element's text to `push`, which says whether it was one.
    fn elements(
        self,
        size: usize,
        push: impl Fn(&str, &mut Vec<u8>) -> bool,
    ) -> Result<Bytes, Failure> {
        // An element takes two bytes of text, itself and a comma: a huge shape alone reserves nothing.
        let mut raw =
            Vec::with_capacity(self.count.min(self.text.len() / 2 + 1).saturating_mul(size));
        let mut found = 0_usize;
        let mut depth = 0_usize;
        let text = self.text.as_bytes();
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
                b'[' => {
                    depth += 1;
                    if depth > RANK_MAX {
                        return Err(
                            self.wrong(&format!("arrays are nested more than {RANK_MAX} deep"))
                        );
                    }
                    at += 1;
                }
                b']' => {
                    depth -= 1;
                    at += 1;
                }
                _ if depth == 0 => return Err(self.wrong("it is not an array")),
                b'{' => return Err(self.wrong("it holds an object")),
                _ => {
                    let end = token_end(text, at);
                    let token = &self.text[at..end];
                    if found == self.count {
                        return Err(mismatch());
                    }
                    if !push(token, &mut raw) {
                        return Err(self.wrong(&format!(
                            "{} is not of type {}",
                            shown(token),
                            self.datatype
                        )));
                    }
                    found += 1;
                    at = end;
                }
            }
        }
        if found == self.count { Ok(raw.into()) } else { Err(mismatch()) }
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::Invalid(format!("Unable to parse 'data' of input '{}': {what}", self.name))
    }
}

fn mismatch() -> Failure {
    Failure::Invalid(
        "Unable to parse 'data': Shape does not match true shape of 'data' field".to_owned(),
    )
}

/// The end of the scalar that starts there: for a string, after its closing quote.
fn token_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    if text[start] == b'"' {
        while text.get(at).is_some_and(|byte| *byte != b'"') {
            at += if text[at] == b'\\' { 2 } else { 1 };
        }
        return (at + 1).min(text.len());
    }
    while text
        .get(at)
        .is_some_and(|byte| !matches!(byte, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
    {
        at += 1;
    }
    at
}

/// Long elements are cut in messages.
fn shown(token: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 40;
    match token.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &token[..end]).into(),
        None => token.into(),
    }
}

fn push_bool(token: &str, raw: &mut Vec<u8>) -> bool {
    let byte = match token {
        "true" => 1,
        "false" => 0,
        _ => return false,
    };
    raw.push(byte);
    true
}

fn push_string(token: &str, raw: &mut Vec<u8>) -> bool {
    let Some(inner) = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    if !inner.contains('\\') {
        return push_element(raw, inner.as_bytes()).is_ok();
    }
    serde_json::from_str::<String>(token)
        .is_ok_and(|text| push_element(raw, text.as_bytes()).is_ok())
}

/// The `data` of an output, to be written as a flat JSON array.
#[derive(Clone, Copy, Debug)]
pub struct JsonData<'a>(pub &'a OutputTensor);

impl serde::Serialize for JsonData<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(OutputTensor { name, datatype, data, .. }) = self;
        match datatype {
            DataType::Bool => write(to, data, |[byte]: [u8; 1]| byte != 0),
            DataType::Uint8 => write(to, data, u8::from_le_bytes),
            DataType::Uint16 => write(to, data, u16::from_le_bytes),
            DataType::Uint32 => write(to, data, u32::from_le_bytes),
            DataType::Uint64 => write(to, data, u64::from_le_bytes),
            DataType::Int8 => write(to, data, i8::from_le_bytes),
            DataType::Int16 => write(to, data, i16::from_le_bytes),
            DataType::Int32 => write(to, data, i32::from_le_bytes),
            DataType::Int64 => write(to, data, i64::from_le_bytes),
            DataType::Fp32
                if data.as_chunks().0.iter().all(|raw| f32::from_le_bytes(*raw).is_finite()) =>
            {
                write(to, data, f32::from_le_bytes)
            }
            DataType::Fp64
                if data.as_chunks().0.iter().all(|raw| f64::from_le_bytes(*raw).is_finite()) =>
            {
                write(to, data, f64::from_le_bytes)
            }
            DataType::Fp32 | DataType::Fp64 => Err(S::Error::custom(format_args!(
                "output '{name}' holds NaN or infinity, which JSON cannot carry: ask for it with binary_data"
            ))),
            DataType::Fp16 | DataType::Bf16 => Err(S::Error::custom(format_args!(
                "sending {datatype} data via JSON is not supported. Please use the binary data format for output {name}"
            ))),
            DataType::Bytes => write_strings(to, name, data),
        }
    }
}

fn write<S: serde::Serializer, T: serde::Serialize, const N: usize>(
    to: S,
    data: &[u8],
    number: fn([u8; N]) -> T,
) -> Result<S::Ok, S::Error> {
    let chunks = data.as_chunks::<N>().0;
    let mut list = to.serialize_seq(Some(chunks.len()))?;
    for raw in chunks {
        list.serialize_element(&number(*raw))?;
    }
    list.end()
}

fn write_strings<S: serde::Serializer>(to: S, name: &str, data: &[u8]) -> Result<S::Ok, S::Error> {
    let mut list = to.serialize_seq(None)?;
    for element in elements(data) {
        let text =
            element.ok().and_then(|element| str::from_utf8(element).ok()).ok_or_else(|| {
                S::Error::custom(format_args!(
                    "output '{name}' holds bytes that are not UTF-8: ask for it with binary_data"
                ))
            })?;
        list.serialize_element(text)?;
    }
    list.end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(datatype: DataType, count: usize, text: &str) -> Result<Bytes, Failure> {
        read("x", datatype, count, &RawValue::from_string(text.to_owned()).unwrap())
    }

    fn write_text(datatype: DataType, data: Bytes) -> Result<String, String> {
        let tensor = OutputTensor { name: "y".into(), datatype, shape: Vec::new(), data };
        serde_json::to_string(&JsonData(&tensor)).map_err(|error| error.to_string())
    }

    #[test]
    fn elements_are_read_into_little_endian_bytes_flat_or_nested() {
        let cases: [(DataType, usize, &str, &[u8]); 9] = [
            (DataType::Int16, 3, "[1, -2 ,3]", &[1, 0, 254, 255, 3, 0]),
            (DataType::Int16, 3, "[[1],[-2],\n[3]]", &[1, 0, 254, 255, 3, 0]),
            (DataType::Uint8, 2, "[0,255]", &[0, 255]),
            (DataType::Bool, 2, "[true,false]", &[1, 0]),
            (DataType::Fp32, 2, "[1,0.5]", &[0, 0, 128, 63, 0, 0, 0, 63]),
            (DataType::Fp64, 1, "[1e0]", &[0, 0, 0, 0, 0, 0, 240, 63]),
            (
                DataType::Bytes,
                2,
                r#"["a]","\"\u00e9"]"#,
                &[2, 0, 0, 0, b'a', b']', 3, 0, 0, 0, b'"', 0xc3, 0xa9],
            ),
            (DataType::Int64, 0, "[]", &[]),
            (DataType::Uint64, 1, "[18446744073709551615]", &[255; 8]),
        ];
        for (datatype, count, text, raw) in cases {
            assert_eq!(read_text(datatype, count, text).as_deref(), Ok(raw), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_refused_with_a_sentence() {
        let deep = "[".repeat(17) + &"]".repeat(17);
        let cases: [(DataType, usize, &str, &str); 14] = [
            (DataType::Int32, 1, "[1.5]", "1.5 is not of type INT32"),
            (DataType::Int32, 1, "[1e3]", "1e3 is not of type INT32"),
            (DataType::Int8, 1, "[128]", "128 is not of type INT8"),
            (DataType::Uint8, 1, "[-1]", "-1 is not of type UINT8"),
            (DataType::Fp32, 1, "[1e39]", "1e39 is not of type FP32"),
            (DataType::Fp32, 1, "[\"NaN\"]", "\"NaN\" is not of type FP32"),
            (DataType::Fp32, 1, "[null]", "null is not of type FP32"),
            (DataType::Bool, 1, "[1]", "1 is not of type BOOL"),
            (DataType::Bytes, 1, "[1]", "1 is not of type BYTES"),
            (DataType::Bytes, 1, r#"["\ud800"]"#, "\"\\ud800\" is not of type BYTES"),
            (DataType::Fp32, 1, "[{\"a\":1}]", "it holds an object"),
            (DataType::Fp32, 1, "1", "it is not an array"),
            (DataType::Fp32, 0, &deep, "arrays are nested more than 16 deep"),
            (DataType::Fp16, 1, "[1]", "receiving FP16 data via JSON is not supported"),
        ];
        for (datatype, count, text, part) in cases {
            let failure = read_text(datatype, count, text).unwrap_err();
            assert!(failure.to_string().contains(part), "{text}: {failure}");
            assert_eq!(failure.http(), 400);
        }
    }

    #[test]
    fn too_few_and_too_many_elements_are_refused_in_tritons_words() {
        for text in ["[1,2]", "[[1,2],[3,4]]"] {
            let failure = read_text(DataType::Int32, 3, text).unwrap_err();
            assert_eq!(
                failure.to_string(),
                "Unable to parse 'data': Shape does not match true shape of 'data' field"
            );
        }
    }

    #[test]
    fn a_huge_shape_reserves_no_more_than_the_text_could_fill() {
        assert!(read_text(DataType::Fp64, usize::MAX, "[1]").is_err());
    }

    #[test]
    fn outputs_that_json_cannot_carry_name_the_output_and_the_way_out() {
        let nan = Bytes::copy_from_slice(&f32::NAN.to_le_bytes());
        let cases = [
            (
                DataType::Fp32,
                nan,
                "output 'y' holds NaN or infinity, which JSON cannot carry: ask for it with binary_data",
            ),
            (
                DataType::Bf16,
                Bytes::from_static(&[0, 0]),
                "sending BF16 data via JSON is not supported. Please use the binary data format for output y",
            ),
            (
                DataType::Bytes,
                Bytes::from_static(&[1, 0, 0, 0, 255]),
                "output 'y' holds bytes that are not UTF-8: ask for it with binary_data",
            ),
        ];
        for (datatype, data, sentence) in cases {
            assert_eq!(write_text(datatype, data), Err(sentence.to_owned()));
        }
    }

    /// Types whose every bit pattern but NaN and infinity is a JSON number.
    fn numeric() -> impl Strategy<Value = DataType> {
        let all = DataType::ALL.into_iter();
        let is_numeric = |datatype: &DataType| {
            !matches!(datatype, DataType::Bool | DataType::Fp16 | DataType::Bf16 | DataType::Bytes)
        };
        prop::sample::select(all.filter(is_numeric).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn numbers_written_are_read_back_bit_for_bit(
            datatype in numeric(),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let size = datatype.size().unwrap();
            let count = bytes.len() / size;
            let raw = Bytes::from(bytes).slice(..count * size);
            if let Ok(text) = write_text(datatype, raw.clone()) {
                prop_assert_eq!(read_text(datatype, count, &text).unwrap(), raw);
            } else {
                prop_assert!(matches!(datatype, DataType::Fp32 | DataType::Fp64));
            }
        }

        #[test]
        fn strings_written_are_read_back(list in prop::collection::vec(any::<String>(), 0..10)) {
            let mut raw = Vec::new();
            for text in &list {
                push_element(&mut raw, text.as_bytes()).unwrap();
            }
            let text = write_text(DataType::Bytes, raw.clone().into()).unwrap();
            prop_assert_eq!(read_text(DataType::Bytes, list.len(), &text).unwrap(), raw);
        }
    }
}
