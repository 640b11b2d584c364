//! Inputs from files: a whole request as JSON, or the elements of a model's only input.

use std::path::{Path, PathBuf};

use models::DataType;
use serde::Deserialize;
use serde_json::Value;

use super::tensor::{self, InputMetadata, Tensor};
use super::{Source, npy};
use crate::Error;

/// Files of a folder that are read at most.
const FILES_MAX: usize = 10_000;

/// The requests of a file or of all files of a folder, by name. `inputs` are the model's, where they are known.
pub(super) fn requests(
    path: &Path,
    inputs: Option<&[InputMetadata]>,
    source: &Source,
) -> Result<Vec<Vec<Tensor>>, Error> {
    let wrong =
        |path: &Path, reason: String| Error::File { file: path.display().to_string(), reason };
    let unreadable = |error: std::io::Error| wrong(path, error.to_string());
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(unreadable)?;
        let paths: Result<Vec<PathBuf>, _> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect();
        files = paths.map_err(unreadable)?;
        files.retain(|file| kind(file).is_some());
        files.sort();
        if files.is_empty() || files.len() > FILES_MAX {
            let problem = "files that end in .json, .npy or .bin; allowed are 1 to";
            return Err(wrong(path, format!("has {} {problem} {FILES_MAX}", files.len())));
        }
    }
    let read = |file: &PathBuf| {
        let bytes = std::fs::read(file).map_err(|error| wrong(file, error.to_string()))?;
        let tensors = match kind(file) {
            Some(Kind::Json) => json(&bytes),
            Some(Kind::Npy) => only(inputs).and_then(|input| array(&bytes, input)),
            Some(Kind::Raw) => only(inputs).and_then(|input| raw(bytes, input, source)),
            None => Err("must end in .json, .npy or .bin".to_owned()),
        };
        tensors.map_err(|reason| wrong(file, reason))
    };
    files.iter().map(read).collect()
}

/// Whether a model's metadata is needed to read that file or folder.
pub(super) fn needs_metadata(path: &Path) -> bool {
    !matches!(kind(path), Some(Kind::Json))
}

enum Kind {
    Json,
    Npy,
    Raw,
}

fn kind(file: &Path) -> Option<Kind> {
    match file.extension()?.to_str()? {
        "json" => Some(Kind::Json),
        "npy" => Some(Kind::Npy),
        "bin" => Some(Kind::Raw),
        _ => None,
    }
}

fn only(inputs: Option<&[InputMetadata]>) -> Result<&InputMetadata, String> {
    match inputs {
        Some([input]) => Ok(input),
        Some(inputs) => Err(format!(
            "holds one array, and the model has {} inputs: write a request as JSON",
            inputs.len()
        )),
        None => Err("the inputs of the model are not known".into()),
    }
}

fn array(bytes: &[u8], input: &InputMetadata) -> Result<Vec<Tensor>, String> {
    let (datatype, shape, start) = npy::head(bytes)?;
    if datatype.name() != input.datatype {
        return Err(format!(
            "has the type {}, and '{}' is {}",
            datatype.name(),
            input.name,
            input.datatype
        ));
    }
    tensor(&input.name, datatype, shape, bytes[start..].to_vec()).map(|tensor| vec![tensor])
}

fn raw(bytes: Vec<u8>, input: &InputMetadata, source: &Source) -> Result<Vec<Tensor>, String> {
    let datatype = DataType::from_name(&input.datatype)
        .ok_or_else(|| format!("'{}' has the unknown type '{}'", input.name, input.datatype))?;
    let shape = tensor::shape(input, source.rows.unwrap_or(1), &source.shapes)
        .map_err(|problem| format!("input '{}' {problem}", input.name))?;
    tensor(&input.name, datatype, shape, bytes).map(|tensor| vec![tensor])
}

fn tensor(name: &str, datatype: DataType, shape: Vec<i64>, raw: Vec<u8>) -> Result<Tensor, String> {
    let elements =
        tensor::elements(&shape).ok_or_else(|| format!("cannot have the shape {shape:?}"))?;
    let wanted = datatype.size().map(|size| size * elements);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != raw.len()) {
        return Err(format!(
            "has {} bytes, and '{name}' of the shape {shape:?} and the type {} has {wanted}",
            raw.len(),
            datatype.name()
        ));
    }
    Ok(Tensor { name: name.to_owned(), datatype, shape, raw })
}

/// An inference request in the protocol's JSON form.
#[derive(Deserialize)]
struct Request {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    data: Value,
}

fn json(bytes: &[u8]) -> Result<Vec<Tensor>, String> {
    let request: Request = serde_json::from_slice(bytes)
        .map_err(|error| format!("is not an inference request in JSON: {error}"))?;
    let one = |input: Input| {
        let name = &input.name;
        let datatype = DataType::from_name(&input.datatype)
            .ok_or_else(|| format!("input '{name}' has the unknown type '{}'", input.datatype))?;
        let (mut raw, mut count) = (Vec::new(), 0);
        flatten(&input.data, &mut |element| {
            count += 1;
            push(&mut raw, datatype, element).ok_or_else(|| {
                format!("input '{name}': {element} is not of the type {}", datatype.name())
            })
        })?;
        if tensor::elements(&input.shape) != Some(count) {
            return Err(format!(
                "input '{name}' has {count} elements and the shape {:?}",
                input.shape
            ));
        }
        tensor(name, datatype, input.shape, raw)
    };
    request.inputs.into_iter().map(one).collect()
}

fn flatten(
    value: &Value,
    each: &mut impl FnMut(&Value) -> Result<(), String>,
) -> Result<(), String> {
    if let Value::Array(values) = value {
        return values.iter().try_for_each(|value| flatten(value, each));
    }
    each(value)
}

#[expect(clippy::cast_possible_truncation, reason = "FP32 holds what it can of a JSON number")]
fn push(raw: &mut Vec<u8>, datatype: DataType, element: &Value) -> Option<()> {
    let (signed, unsigned) = (element.as_i64(), element.as_u64());
    match datatype {
        DataType::Bool => raw.push(element.as_bool().or(unsigned.map(|bit| bit != 0))?.into()),
        DataType::Uint8 => raw.extend(u8::try_from(unsigned?).ok()?.to_le_bytes()),
        DataType::Uint16 => raw.extend(u16::try_from(unsigned?).ok()?.to_le_bytes()),
        DataType::Uint32 => raw.extend(u32::try_from(unsigned?).ok()?.to_le_bytes()),
        DataType::Uint64 => raw.extend(unsigned?.to_le_bytes()),
        DataType::Int8 => raw.extend(i8::try_from(signed?).ok()?.to_le_bytes()),
        DataType::Int16 => raw.extend(i16::try_from(signed?).ok()?.to_le_bytes()),
        DataType::Int32 => raw.extend(i32::try_from(signed?).ok()?.to_le_bytes()),
        DataType::Int64 => raw.extend(signed?.to_le_bytes()),
        DataType::Fp32 => raw.extend((element.as_f64()? as f32).to_le_bytes()),
        DataType::Fp64 => raw.extend(element.as_f64()?.to_le_bytes()),
        DataType::Bytes => {
            let text = element.as_str()?;
            raw.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
            raw.extend(text.as_bytes());
        }
        // The protocol's JSON form has no such elements.
        DataType::Fp16 | DataType::Bf16 => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_request_is_read_with_nested_or_flat_elements() {
        let text = br#"{"id":"1","inputs":[
            {"name":"x","datatype":"FP32","shape":[1,2],"data":[[0.5,2]]},
            {"name":"s","datatype":"BYTES","shape":[2],"data":["a","bc"]}]}"#;
        let tensors = json(text).unwrap();
        assert_eq!(tensors[0].raw, [0.5_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat());
        assert_eq!(tensors[1].raw, b"\x01\0\0\0a\x02\0\0\0bc");
        let wrong = |from: &str, to: &str| {
            let text = std::str::from_utf8(text).unwrap().replace(from, to);
            json(text.as_bytes()).unwrap_err()
        };
        assert!(wrong("[1,2]", "[1,3]").contains("2 elements and the shape [1, 3]"));
        assert!(wrong("FP32", "INT8").contains("0.5 is not of the type INT8"));
        assert!(wrong("FP32", "FP33").contains("unknown type 'FP33'"));
        assert!(wrong("inputs", "outputs").contains("missing field `inputs`"));
    }

    #[test]
    fn raw_elements_must_fill_the_shape() {
        let input = InputMetadata { name: "x".into(), datatype: "FP32".into(), shape: vec![-1, 4] };
        let source = Source { rows: Some(2), ..Source::default() };
        let tensors = raw(vec![0; 32], &input, &source).unwrap();
        assert_eq!(tensors[0].shape, [2, 4]);
        let error = raw(vec![0; 30], &input, &source).unwrap_err();
        assert!(error.contains("30 bytes") && error.contains("has 32"), "{error}");
    }
}
