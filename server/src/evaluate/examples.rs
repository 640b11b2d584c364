//! Rows with the answer that is right for them, from a file or a folder, as tensors of a model.

use std::path::Path;

use bytes::Bytes;
use models::TensorSpec;

use super::example::{Example, Form, Label, fit};
use super::npz::{Array, Elements};
use super::{folder, npz, sheet};

/// Rows beyond this are a mistake: all of them are held in memory.
const ROWS_MAX: usize = 1_000_000;

/// What ends with these can be read.
const ALLOWED: &str = "a .npz, .csv or .jsonl file, or a folder with a sub-folder for each class";

/// Reads labelled rows.
///
/// # Errors
/// A sentence with the file, what is wrong in it and what is allowed.
pub fn read(path: &Path, form: Form<'_>) -> Result<Vec<Example>, String> {
    let file = path.display();
    let examples = if path.is_dir() {
        folder::read(path, form)
    } else {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let read = match extension {
            Some("npz") => npz_rows,
            Some("csv") => sheet::read,
            Some("jsonl" | "ndjson") => folder::read_lines,
            Some(_) | None => {
                return Err(format!("{file}: its kind is not known; allowed is {ALLOWED}"));
            }
        };
        let bytes = std::fs::read(path).map_err(|error| format!("cannot read {file}: {error}"))?;
        read(&file.to_string(), &bytes, form)
    }?;
    match examples.len() {
        0 => Err(format!("{file}: there are no rows in it")),
        rows if rows > ROWS_MAX => {
            Err(format!("{file}: {rows} rows are too many, at most {ROWS_MAX} are held"))
        }
        _ => Ok(examples),
    }
}

/// Arrays by name: one for each input with a row for each example, and the labels.
fn npz_rows(file: &str, bytes: &[u8], form: Form<'_>) -> Result<Vec<Example>, String> {
    let arrays = npz::read(bytes).map_err(|reason| format!("{file}: {reason}"))?;
    let names = || arrays.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut inputs = Vec::new();
    for spec in &form.signature.inputs {
        let array = arrays.get(&spec.name).ok_or_else(|| {
            format!(
                "{file}: no array has the name of the input '{}'; there are {}",
                spec.name,
                names()
            )
        })?;
        inputs.push(
            split(array, spec, form.signature.batched)
                .map_err(|reason| format!("{file}: the array '{}' {reason}", spec.name))?,
        );
    }
    let rows = inputs.first().map_or(0, Vec::len);
    if let Some((spec, other)) =
        form.signature.inputs.iter().zip(&inputs).find(|(_, other)| other.len() != rows)
    {
        let first = &form.signature.inputs[0].name;
        return Err(format!(
            "{file}: '{first}' has {rows} rows and '{}' has {}; both must have one for each example",
            spec.name,
            other.len()
        ));
    }
    let labels = match label_array(&arrays, form) {
        Some((name, array)) => {
            let labels =
                labels(array).map_err(|reason| format!("{file}: the array '{name}' {reason}"))?;
            if labels.len() != rows {
                let found = labels.len();
                return Err(format!(
                    "{file}: '{name}' has {found} labels for {rows} rows; allowed is one a row"
                ));
            }
            labels.into_iter().map(Some).collect()
        }
        None if form.label.is_some() => {
            let asked = form.label.unwrap_or_default();
            return Err(format!("{file}: no array has the name '{asked}'; there are {}", names()));
        }
        None => vec![None; rows],
    };
    let mut examples: Vec<_> = labels
        .into_iter()
        .map(|label| Example { inner: Vec::new(), tensors: Vec::new(), label })
        .collect();
    for input in inputs {
        for (example, (inner, tensor)) in examples.iter_mut().zip(input) {
            example.inner.push(inner);
            example.tensors.push(tensor);
        }
    }
    Ok(examples)
}

fn label_array<'a>(arrays: &'a npz::Arrays, form: Form<'_>) -> Option<(&'a str, &'a Array)> {
    let outputs = form.signature.outputs.iter().map(|output| output.name.as_str());
    let is_input = |name: &str| form.signature.input(name).is_some();
    let mut names = match form.label {
        Some(name) => vec![name],
        None => ["label", "labels"].into_iter().chain(outputs).collect(),
    };
    names.retain(|name| !is_input(name));
    let found = names.into_iter().find_map(|name| arrays.get_key_value(name));
    found.map(|(name, array)| (name.as_str(), array))
}

/// Shape without the batch axis, and the elements.
type Row = (Vec<i64>, Bytes);

/// Cuts an array along its first axis into rows of an input.
fn split(array: &Array, spec: &TensorSpec, batched: bool) -> Result<Vec<Row>, String> {
    let Elements::Numbers { datatype, bytes } = &array.elements else {
        return Err(format!("holds text; allowed are numbers of type {}", spec.datatype));
    };
    if *datatype != spec.datatype {
        return Err(format!(
            "is of type {datatype}; allowed is {}, as the model wants",
            spec.datatype
        ));
    }
    let Some((&rows, inner)) = array.shape.split_first() else {
        return Err("is a single number; allowed is an array with a row for each example".into());
    };
    let inner = fit(inner, spec, batched)?;
    let rows = usize::try_from(rows).unwrap_or(0);
    let size = bytes.len().checked_div(rows).unwrap_or(0);
    Ok((0..rows).map(|row| (inner.clone(), bytes.slice(row * size..(row + 1) * size))).collect())
}

fn labels(array: &Array) -> Result<Vec<Label>, String> {
    let rows = array.shape.first().copied().unwrap_or(0);
    let rows = usize::try_from(rows).unwrap_or(0);
    match &array.elements {
        Elements::Text(text) if text.len() == rows => {
            Ok(text.iter().cloned().map(Label::Text).collect())
        }
        Elements::Text(_) => Err("has several texts a row; allowed is one".into()),
        Elements::Numbers { .. } => {
            let numbers = array
                .whole_numbers()
                .ok_or_else(|| "holds no labels; allowed are whole numbers and text".to_owned())?;
            let each = numbers.len().checked_div(rows).unwrap_or(0);
            Ok(match each {
                0 => Vec::new(),
                1 => numbers.into_iter().map(Label::Class).collect(),
                // Shorter sequences are filled up with 0.
                each => numbers
                    .chunks(each)
                    .map(|row| {
                        Label::Sequence(row.iter().copied().filter(|&code| code != 0).collect())
                    })
                    .collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use models::{DataType, Dim, Signature};

    use super::*;
    use crate::evaluate::npz::tests::{npy, zip};

    fn signature() -> Signature {
        let spec = |name: &str, datatype, dims| TensorSpec { name: name.into(), datatype, dims };
        Signature {
            inputs: vec![spec("x", DataType::Fp32, vec![Dim::Any(None), Dim::Fixed(2)])],
            outputs: vec![spec("digit", DataType::Int64, vec![Dim::Any(None)])],
            batched: true,
        }
    }

    fn rows(files: &[(&str, Vec<u8>)], label: Option<&str>) -> Result<Vec<Example>, String> {
        let signature = signature();
        npz_rows("a.npz", &zip(files), Form { signature: &signature, label })
    }

    fn floats(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn classes(numbers: &[i64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn an_npz_has_an_array_for_each_input_and_labels_named_like_an_output() {
        let x = npy("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, 4.0]));
        let digit = npy("<i8", "(2,)", &classes(&[7, 9]));
        let found = rows(&[("x.npy", x), ("digit.npy", digit)], None).unwrap();
        let labels: Vec<_> = found.iter().map(|example| example.label.clone()).collect();
        assert_eq!(labels, [Some(Label::Class(7)), Some(Label::Class(9))]);
        assert_eq!(found[1].inner, [[2]]);
        assert_eq!(found[1].tensors[0], floats(&[3.0, 4.0]));
    }

    #[test]
    fn wrong_arrays_are_refused_with_what_is_allowed() {
        let x = || ("x.npy", npy("<f4", "(1, 2)", &floats(&[1.0, 2.0])));
        let cases = [
            (
                vec![("y.npy", x().1)],
                None,
                "a.npz: no array has the name of the input 'x'; there are y",
            ),
            (
                vec![("x.npy", npy("<f8", "(1, 2)", &[0; 16]))],
                None,
                "a.npz: the array 'x' is of type FP64; allowed is FP32, as the model wants",
            ),
            (
                vec![("x.npy", npy("<f4", "(1, 3)", &[0; 12]))],
                None,
                "a.npz: the array 'x' has rows of shape [3]; allowed is [2], where -1 stands for any length",
            ),
            (
                vec![x(), ("label.npy", npy("<i8", "(2,)", &classes(&[1, 2])))],
                None,
                "a.npz: 'label' has 2 labels for 1 rows; allowed is one a row",
            ),
            (
                vec![x(), ("label.npy", npy("<f4", "(1,)", &floats(&[0.5])))],
                None,
                "a.npz: the array 'label' holds no labels; allowed are whole numbers and text",
            ),
            (vec![x()], Some("kind"), "a.npz: no array has the name 'kind'; there are x"),
        ];
        for (files, label, sentence) in cases {
            assert_eq!(rows(&files, label).unwrap_err(), sentence);
        }
    }

    #[test]
    fn a_file_of_no_known_kind_is_refused() {
        let signature = signature();
        let form = Form { signature: &signature, label: None };
        let error = read(Path::new("rows.parquet"), form).unwrap_err();
        assert!(
            error.starts_with("rows.parquet: its kind is not known; allowed is a .npz"),
            "{error}"
        );
    }
}
