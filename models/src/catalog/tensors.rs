//! What the settings say of single inputs and outputs: the names of classes, and padding.

use std::collections::BTreeMap;

use super::check::{Misfit, unknown};
use super::{Own, wrong};
use crate::config::Fields;
use crate::{CatalogError, DataType, Dim, ModelConfig, PadRule, Signature, TensorSpec};

/// Names of classes by output. Our own settings go before those of the configuration.
pub(super) fn labels(
    (fields, config): (&Fields, (&str, &ModelConfig)),
    own: Own<'_>,
    signature: &Signature,
    files: &BTreeMap<String, String>,
) -> Result<Vec<Vec<String>>, CatalogError> {
    let mut labels = vec![Vec::new(); signature.outputs.len()];
    let absent = |file: &str| {
        let there: Vec<_> = files.keys().map(String::as_str).collect();
        let there = match there.is_empty() {
            true => "which has no text file".to_owned(),
            false => format!("which has {}", there.join(", ")),
        };
        format!("the label file {file:?} is not in the model's folder, {there}")
    };
    let classes = |text: &String| text.lines().map(str::to_owned).collect();
    for (item, output) in fields.output.iter().enumerate() {
        let file = &output.label_filename;
        if file.is_empty() {
            continue;
        }
        let text = files.get(file).ok_or_else(|| {
            let reason = format!("`output.label_filename`: {}", absent(file));
            Misfit::new("output.label_filename", reason).in_item(item).of(config)
        })?;
        let (index, _) = signature.output(&output.name).expect("outputs are checked before");
        labels[index] = classes(text);
    }
    for (output, file) in &own.1.labels {
        let misfit = |reason: String| {
            wrong(own, &["labels", output], format!("`labels.{output}`: {reason}"))
        };
        let (index, _) = signature
            .output(output)
            .ok_or_else(|| misfit(unknown("output", output, &signature.outputs)))?;
        labels[index] = classes(files.get(file).ok_or_else(|| misfit(absent(file)))?);
    }
    Ok(labels)
}

/// How inputs are padded, by their places.
pub(super) fn pads(
    own: Own<'_>,
    signature: &Signature,
) -> Result<Vec<(usize, PadRule)>, CatalogError> {
    let rule = |(name, rule): (&String, &PadRule)| {
        let pad = pad(name, rule, signature);
        pad.map_err(|(path, reason)| {
            let path = [&["pad", name.as_str()], &path[..]].concat();
            wrong(own, &path, format!("`{}`{reason}", path.join(".")))
        })
    };
    own.1.pad.iter().map(rule).collect()
}

/// The error is the rest of the key's path, and what follows the path in the sentence.
fn pad<'a>(
    name: &str,
    rule: &'a PadRule,
    signature: &Signature,
) -> Result<(usize, PadRule), (Vec<&'a str>, String)> {
    let skip = usize::from(signature.batched);
    let varies = |spec: &TensorSpec, axis: usize| {
        axis >= skip && matches!(spec.dims.get(axis), Some(Dim::Any(_)))
    };
    let axes = |spec: &TensorSpec| {
        let axes = (skip..spec.dims.len()).filter(|&axis| varies(spec, axis));
        let axes: Vec<_> = axes.map(|axis| axis.to_string()).collect();
        if axes.is_empty() { "none".to_owned() } else { axes.join(", ") }
    };
    let input = signature.input(name);
    let (index, spec) = input
        .ok_or_else(|| (Vec::new(), format!(": {}", unknown("input", name, &signature.inputs))))?;
    if !varies(spec, rule.axis) {
        let (axis, axes) = (rule.axis, axes(spec));
        let reason = format!(" is {axis}, which is not an axis of that input that varies: {axes}");
        return Err((vec!["axis"], reason));
    }
    if spec.datatype.size().is_none() {
        return Err((Vec::new(), ": BYTES inputs cannot be padded".to_owned()));
    }
    if !holds(spec.datatype, rule.value) {
        let reason = format!(" is {}, which is no {}", rule.value, spec.datatype);
        return Err((vec!["value"], reason));
    }
    for (output, &axis) in &rule.outputs {
        let path = || vec!["outputs", output.as_str()];
        let (_, spec) = signature.output(output).ok_or_else(|| {
            (path(), format!(": {}", unknown("output", output, &signature.outputs)))
        })?;
        if !varies(spec, axis) || spec.datatype.size().is_none() {
            let axes = axes(spec);
            let reason = format!(" is {axis}, which is not an axis that can be cut: {axes}");
            return Err((path(), reason));
        }
    }
    Ok((index, rule.clone()))
}

/// Whether a number is one of that type.
fn holds(datatype: DataType, value: i64) -> bool {
    match datatype {
        DataType::Bool => value == 0 || value == 1,
        DataType::Uint8 => u8::try_from(value).is_ok(),
        DataType::Uint16 => u16::try_from(value).is_ok(),
        DataType::Uint32 => u32::try_from(value).is_ok(),
        DataType::Uint64 => value >= 0,
        DataType::Int8 => i8::try_from(value).is_ok(),
        DataType::Int16 => i16::try_from(value).is_ok(),
        DataType::Int32 => i32::try_from(value).is_ok(),
        DataType::Int64 | DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => true,
        DataType::Bytes => false,
    }
}
