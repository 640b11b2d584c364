//! A folder with a sub-folder for each class, whose files are rows; and requests of the protocol, a file or a line each.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use models::{Dim, TensorSpec};
use serde::Deserialize;

use super::example::{Example, Form, Label, fit};
use super::npz::{Elements, read_npy};
use super::sheet::label_of;
use crate::http::decode::{Envelope, decode};
use crate::infer::InputTensor;

/// Reads the rows of a folder: those of a sub-folder have its name as their class, those beside have none.
///
/// # Errors
/// A sentence with the file and what is allowed.
pub fn read(folder: &Path, form: Form<'_>) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    for path in entries(folder)? {
        if !path.is_dir() {
            examples.extend(row(&path, form, None)?);
            continue;
        }
        let class = path.file_name().map(|name| name.to_string_lossy().into_owned());
        for file in entries(&path)? {
            if file.is_dir() {
                return Err(format!(
                    "{}: a folder in the folder of a class; allowed are .npy, .bin and .json files",
                    file.display()
                ));
            }
            examples.extend(row(&file, form, class.as_deref().map(label_of))?);
        }
    }
    Ok(examples)
}

/// In order of their names; hidden ones are left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn row(path: &Path, form: Form<'_>, label: Option<Label>) -> Result<Vec<Example>, String> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {file}: {error}"))?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let wrong = |reason: String| format!("{file}: {reason}");
    let one = || match &form.signature.inputs[..] {
        [spec] => Ok(spec),
        inputs => Err(format!(
            "{file}: a model of {} inputs needs .json files, each a request",
            inputs.len()
        )),
    };
    let tensor = match extension {
        Some("npy") => npy(&bytes, one()?, form.signature.batched).map_err(wrong)?,
        Some("bin") => raw(bytes, one()?, form.signature.batched).map_err(wrong)?,
        Some("json") => {
            let mut found = request(&bytes, form).map_err(wrong)?;
            if label.is_some() {
                found.iter_mut().for_each(|example| example.label.clone_from(&label));
            }
            return Ok(found);
        }
        Some(_) | None => {
            return Err(format!("{file}: its kind is not known; allowed are .npy, .bin and .json"));
        }
    };
    Ok(vec![Example { inner: vec![tensor.0], tensors: vec![tensor.1], label }])
}

fn npy(bytes: &[u8], spec: &TensorSpec, batched: bool) -> Result<(Vec<i64>, Bytes), String> {
    let array = read_npy(bytes)?;
    let Elements::Numbers { datatype, bytes } = array.elements else {
        return Err(format!("holds text; allowed are numbers of type {}", spec.datatype));
    };
    if datatype != spec.datatype {
        return Err(format!(
            "is of type {datatype}; allowed is {}, as the model wants",
            spec.datatype
        ));
    }
    // One row, with or without its batch axis.
    let alone = array.shape.strip_prefix(&[1]).filter(|_| batched);
    let inner = fit(&array.shape, spec, batched);
    Ok((inner.or_else(|error| fit(alone.ok_or(error)?, spec, batched))?, bytes))
}

/// The elements of one row and nothing else.
fn raw(bytes: Vec<u8>, spec: &TensorSpec, batched: bool) -> Result<(Vec<i64>, Bytes), String> {
    let length = |dim: &Dim| match dim {
        Dim::Fixed(_) => Some(dim.protocol()),
        Dim::Any(_) => None,
    };
    let inner: Option<Vec<i64>> = spec.dims[usize::from(batched)..].iter().map(length).collect();
    let size = spec.datatype.size();
    let (Some(inner), Some(size)) = (inner, size) else {
        return Err(
            "a .bin file says no shape, and the model leaves it open; allowed are .npy and .json"
                .into(),
        );
    };
    let wanted = inner.iter().fold(size as u64, |all, dim| all.saturating_mul(dim.unsigned_abs()));
    if bytes.len() as u64 != wanted {
        let (found, datatype) = (bytes.len(), spec.datatype);
        return Err(format!(
            "has {found} bytes; allowed are {wanted}, a row {inner:?} of {datatype}"
        ));
    }
    Ok((inner, bytes.into()))
}

/// Reads a file with a request of the protocol in each line, with one more key: `label`.
///
/// # Errors
/// A sentence with the file, the line and what is allowed.
pub fn read_lines(file: &str, bytes: &[u8], form: Form<'_>) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            let wrong = |reason| format!("{file}: line {}: {reason}", index + 1);
            examples.extend(request(line, form).map_err(wrong)?);
        }
    }
    Ok(examples)
}

/// What a request says beyond the protocol.
#[derive(Deserialize)]
struct Labelled {
    #[serde(default)]
    label: Option<Words>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Class(i64),
    Text(String),
    Sequence(Vec<i64>),
}

/// The rows of one request; where it has a label it has one row.
fn request(json: &[u8], form: Form<'_>) -> Result<Vec<Example>, String> {
    let body = Bytes::copy_from_slice(json);
    let (request, _) = decode(Envelope::default(), &body).map_err(|failure| failure.to_string())?;
    let said: Labelled = serde_json::from_slice(json).map_err(|_| {
        "`label` is none; allowed are a whole number, a text and a list of whole numbers".to_owned()
    })?;
    let label = said.label.map(|words| match words {
        Words::Class(class) => Label::Class(class),
        Words::Text(text) => Label::Text(text),
        Words::Sequence(codes) => Label::Sequence(codes),
    });
    let mut rows: Option<i64> = None;
    let mut inputs = Vec::new();
    for spec in &form.signature.inputs {
        let input = request.inputs.iter().find(|input| input.name == spec.name);
        let input = input.ok_or_else(|| format!("the request has no input '{}'", spec.name))?;
        let found =
            if form.signature.batched { input.shape.first().copied().unwrap_or(0) } else { 1 };
        if *rows.get_or_insert(found) != found {
            return Err("its inputs differ in their numbers of rows".into());
        }
        inputs.push(cut(input, spec, form.signature.batched)?);
    }
    let rows = usize::try_from(rows.unwrap_or(0)).unwrap_or(0);
    if label.is_some() && rows != 1 {
        return Err(format!("it has a label and {rows} rows; allowed is one row"));
    }
    Ok((0..rows)
        .map(|row| Example {
            inner: inputs.iter().map(|(inner, _)| inner.clone()).collect(),
            tensors: inputs
                .iter()
                .map(|(_, bytes)| {
                    bytes.slice(row * bytes.len() / rows..(row + 1) * bytes.len() / rows)
                })
                .collect(),
            label: label.clone(),
        })
        .collect())
}

fn cut(input: &InputTensor, spec: &TensorSpec, batched: bool) -> Result<(Vec<i64>, Bytes), String> {
    let name = &spec.name;
    if input.datatype != Some(spec.datatype) {
        let found = input.datatype.map(|datatype| datatype.name()).unwrap_or_default();
        return Err(format!("the input '{name}' is of type {found}; allowed is {}", spec.datatype));
    }
    if spec.datatype.size().is_none() {
        return Err(format!("the input '{name}' is BYTES; allowed are numbers"));
    }
    let inner = input.shape.get(usize::from(batched)..).unwrap_or_default();
    let inner =
        fit(inner, spec, batched).map_err(|reason| format!("the input '{name}' {reason}"))?;
    Ok((inner, input.data.clone()))
}

#[cfg(test)]
mod tests {
    use models::{DataType, Signature};

    use super::*;
    use crate::evaluate::npz::tests::npy as npy_file;

    fn signature() -> Signature {
        let dims = vec![Dim::Any(None), Dim::Fixed(2)];
        let input = TensorSpec { name: "x".into(), datatype: DataType::Uint8, dims };
        Signature { inputs: vec![input], outputs: Vec::new(), batched: true }
    }

    const REQUEST: &str =
        r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"UINT8","data":[5,6]}]"#;

    #[test]
    fn files_of_each_kind_are_rows_of_the_class_that_their_folder_names() {
        let root = tempfile::tempdir().unwrap();
        for class in ["cat", "7"] {
            std::fs::create_dir(root.path().join(class)).unwrap();
        }
        let write =
            |path: &str, bytes: &[u8]| std::fs::write(root.path().join(path), bytes).unwrap();
        write("7/a.npy", &npy_file("|u1", "(1, 2)", &[1, 2]));
        write("7/b.bin", &[3, 4]);
        write("cat/c.json", format!("{REQUEST}}}").as_bytes());
        let signature = signature();
        let found = read(root.path(), Form { signature: &signature, label: None }).unwrap();
        let found: Vec<_> =
            found.iter().map(|row| (row.label.clone().unwrap(), row.tensors[0].to_vec())).collect();
        let cat = Label::Text("cat".into());
        assert_eq!(
            found,
            [(Label::Class(7), vec![1, 2]), (Label::Class(7), vec![3, 4]), (cat, vec![5, 6])]
        );
        write("7/d.bin", &[3]);
        let error = read(root.path(), Form { signature: &signature, label: None }).unwrap_err();
        assert!(
            error.ends_with("7/d.bin: has 1 bytes; allowed are 2, a row [2] of UINT8"),
            "{error}"
        );
    }

    #[test]
    fn each_line_is_a_request_and_may_have_a_label() {
        let signature = signature();
        let form = Form { signature: &signature, label: None };
        let text = format!("{REQUEST},\"label\":[3,1]}}\n{REQUEST}}}\n");
        let found = read_lines("a.jsonl", text.as_bytes(), form).unwrap();
        assert_eq!(found[0].label, Some(Label::Sequence(vec![3, 1])));
        assert_eq!(found[1].label, None);
        let wrong = read_lines("a.jsonl", format!("{REQUEST},\"label\":{{}}}}").as_bytes(), form);
        assert_eq!(
            wrong.unwrap_err(),
            "a.jsonl: line 1: `label` is none; allowed are a whole number, a text and a list of whole numbers"
        );
        let other = REQUEST.replace("UINT8", "INT8");
        let wrong = read_lines("a.jsonl", format!("{other}}}").as_bytes(), form).unwrap_err();
        assert_eq!(wrong, "a.jsonl: line 1: the input 'x' is of type INT8; allowed is UINT8");
    }
}
