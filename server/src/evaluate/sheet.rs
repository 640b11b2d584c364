//! CSV: a line of column names, then a line for each row; every column but the label is an element of the one input.

use bytes::Bytes;
use models::{DataType, TensorSpec};
use serde_json::value::RawValue;

use super::example::{Example, Form, Label, fit};
use crate::tensor;

/// Reads the rows of a CSV file.
///
/// # Errors
/// A sentence with the file, the line and what is allowed.
pub fn read(file: &str, bytes: &[u8], form: Form<'_>) -> Result<Vec<Example>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{file}: it is not UTF-8 text"))?;
    let [spec] = &form.signature.inputs[..] else {
        let inputs = form.signature.inputs.len();
        return Err(format!(
            "{file}: a CSV file has rows for a model of one input, and this one has {inputs}; allowed are .npz and .jsonl"
        ));
    };
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, head) = lines.next().ok_or_else(|| format!("{file}: it is empty"))?;
    let columns: Vec<&str> = cells(head).collect();
    let wanted = form.label.map_or_else(|| vec!["label", "labels", "class"], |name| vec![name]);
    let label = columns.iter().position(|column| wanted.contains(column));
    if label.is_none() && form.label.is_some() {
        return Err(format!(
            "{file}: no column has the name '{}'; there are {}",
            wanted[0],
            columns.join(", ")
        ));
    }
    let sheet =
        Sheet { file, spec, batched: form.signature.batched, columns: columns.len(), label };
    lines.map(|(index, line)| sheet.row(index + 1, line)).collect()
}

struct Sheet<'a> {
    file: &'a str,
    spec: &'a TensorSpec,
    batched: bool,
    columns: usize,
    label: Option<usize>,
}

impl Sheet<'_> {
    fn row(&self, number: usize, line: &str) -> Result<Example, String> {
        let wrong = |reason: String| format!("{}: line {number}: {reason}", self.file);
        let mut values: Vec<&str> = cells(line).collect();
        if values.len() != self.columns {
            let (found, columns) = (values.len(), self.columns);
            return Err(wrong(format!(
                "{found} cells, and the first line names {columns} columns"
            )));
        }
        let label = self.label.map(|label| values.remove(label));
        let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
        let inner = fit(&[count], self.spec, self.batched).map_err(|reason| {
            wrong(format!("{reason}; columns that are not the label are elements"))
        })?;
        let tensor = elements(self.spec, &values).map_err(wrong)?;
        Ok(Example { inner: vec![inner], tensors: vec![tensor], label: label.map(label_of) })
    }
}

/// Cells without the quotes around them; a comma inside of quotes is not known, numbers have none.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"'))
}

/// Numbers in the protocol's JSON: the same readers, the same limits.
fn elements(spec: &TensorSpec, values: &[&str]) -> Result<Bytes, String> {
    let text = match spec.datatype {
        DataType::Bytes => {
            values.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(",")
        }
        DataType::Bool
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Fp16
        | DataType::Bf16
        | DataType::Fp32
        | DataType::Fp64 => values.join(","),
    };
    let allowed = || format!("a cell is no number; allowed are numbers of type {}", spec.datatype);
    let raw = RawValue::from_string(format!("[{text}]")).map_err(|_| allowed())?;
    let read = tensor::json::read(&spec.name, spec.datatype, values.len(), &raw);
    read.map_err(|failure| failure.to_string())
}

/// A class is a whole number or a name.
pub(super) fn label_of(text: &str) -> Label {
    text.parse().map_or_else(|_| Label::Text(text.to_owned()), Label::Class)
}

#[cfg(test)]
mod tests {
    use models::{Dim, Signature};

    use super::*;

    fn rows(text: &str) -> Result<Vec<Example>, String> {
        let dims = vec![Dim::Any(None), Dim::Fixed(2)];
        let input = TensorSpec { name: "x".into(), datatype: DataType::Fp32, dims };
        let signature = Signature { inputs: vec![input], outputs: Vec::new(), batched: true };
        read("a.csv", text.as_bytes(), Form { signature: &signature, label: None })
    }

    #[test]
    fn the_label_may_be_any_column() {
        let found = rows("a,label,b\n1,7,2.5\n\n3,cat,-4\n").unwrap();
        assert_eq!(found[0].label, Some(Label::Class(7)));
        assert_eq!(found[1].label, Some(Label::Text("cat".into())));
        assert_eq!(found[1].tensors[0], [3_f32.to_le_bytes(), (-4_f32).to_le_bytes()].concat());
    }

    #[test]
    fn wrong_lines_are_refused_by_number() {
        let cases = [
            ("a,b,label\n1,2\n", "a.csv: line 2: 2 cells, and the first line names 3 columns"),
            (
                "a,b,label\n1,x,2\n",
                "a.csv: line 2: a cell is no number; allowed are numbers of type FP32",
            ),
            (
                "a,label\n1,2\n",
                "a.csv: line 2: has rows of shape [1]; allowed is [2], where -1 stands for any length; columns that are not the label are elements",
            ),
            ("", "a.csv: it is empty"),
        ];
        for (text, sentence) in cases {
            assert_eq!(rows(text).unwrap_err(), sentence);
        }
    }
}
