//! Reads names, types and shapes of inputs and outputs from the head of an ONNX file, without its weights.

use prost::Message;

use crate::{CatalogError, DataType, Dim, Signature, TensorSpec};

/// Ranks above this are a broken file, not a model.
const RANK_MAX: usize = 32;

/// The subset of `onnx.proto` that is read; prost skips the rest, weights included. (Field numbers: ONNX IR.)
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Named>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

/// A weight, of which only the name is kept.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "8")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}

/// The signature of the model in that file; `file` is for messages.
///
/// The first axis is a batch if it varies in every input and every output, and the inputs that name it give it one
/// name. Exporters rename the axis between inputs and outputs, so that output names are not compared.
///
/// # Errors
/// What the file lacks or has too much of.
pub fn read_signature(file: &str, bytes: &[u8]) -> Result<Signature, CatalogError> {
    let wrong = |reason: String| CatalogError::Onnx { file: file.to_owned(), reason };
    let model =
        Model::decode(bytes).map_err(|error| wrong(format!("not an ONNX model: {error}")))?;
    let graph = model.graph.ok_or_else(|| wrong("not an ONNX model: it has no graph".into()))?;
    let is_weight =
        |value: &ValueInfo| graph.initializer.iter().any(|weight| weight.name == value.name);
    let inputs = graph.input.iter().filter(|input| !is_weight(input)).map(spec);
    let inputs = inputs.collect::<Result<Vec<_>, _>>().map_err(&wrong)?;
    let outputs = graph.output.iter().map(spec).collect::<Result<Vec<_>, _>>().map_err(&wrong)?;
    if outputs.is_empty() {
        return Err(wrong("the graph has no output".into()));
    }
    let batched = !inputs.is_empty() && first_axis_counts_rows(&inputs, &outputs);
    Ok(Signature { inputs, outputs, batched })
}

fn first_axis_counts_rows(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> bool {
    let varies = |spec: &TensorSpec| matches!(spec.dims.first(), Some(Dim::Any(_)));
    let mut names = inputs.iter().filter_map(|spec| match spec.dims.first() {
        Some(Dim::Any(name)) => name.as_deref(),
        Some(Dim::Fixed(_)) | None => None,
    });
    let first = names.next();
    inputs.iter().chain(outputs).all(varies) && names.all(|name| Some(name) == first)
}

fn spec(value: &ValueInfo) -> Result<TensorSpec, String> {
    let name = value.name.clone();
    if name.is_empty() {
        return Err("an input or output has no name".into());
    }
    let tensor = value.value.as_ref().and_then(|value| value.tensor.as_ref());
    let tensor =
        tensor.ok_or_else(|| format!("{name:?} is not a tensor; only tensors are served"))?;
    let datatype = DataType::from_onnx(tensor.element).ok_or_else(|| {
        format!("{name:?} has ONNX element type {}, which is not served", tensor.element)
    })?;
    let shape = tensor
        .shape
        .as_ref()
        .ok_or_else(|| format!("{name:?} has no shape; export the model with one"))?;
    if shape.dim.len() > RANK_MAX {
        return Err(format!(
            "{name:?} has {} dimensions; at most {RANK_MAX} are served",
            shape.dim.len()
        ));
    }
    // Exporters write unknown dimensions as -1 or 0.
    let dim = |dim: &Dimension| match dim.value.map(u64::try_from) {
        Some(Ok(length)) if length > 0 => Dim::Fixed(length),
        Some(_) => Dim::Any(None),
        None => Dim::Any(dim.name.clone().filter(|name| !name.is_empty() && name != "?")),
    };
    Ok(TensorSpec { name, datatype, dims: shape.dim.iter().map(dim).collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(name: &str, element: i32, dims: &[&str]) -> ValueInfo {
        let dim = |text: &&str| match text.parse() {
            Ok(value) => Dimension { value: Some(value), name: None },
            Err(_) => Dimension { value: None, name: Some((*text).to_owned()) },
        };
        let shape = Some(Shape { dim: dims.iter().map(dim).collect() });
        ValueInfo {
            name: name.into(),
            value: Some(Type { tensor: Some(Tensor { element, shape }) }),
        }
    }

    fn signature(input: Vec<ValueInfo>, output: Vec<ValueInfo>) -> Result<Signature, String> {
        let initializer = vec![Named { name: "weight".into() }];
        let bytes = Model { graph: Some(Graph { initializer, input, output }) }.encode_to_vec();
        read_signature("m.onnx", &bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn the_batch_axis_is_the_first_that_varies_everywhere_under_one_name() {
        let batched = |input: &[&[&str]], output: &[&str]| {
            let inputs =
                input.iter().enumerate().map(|(index, dims)| value(&format!("i{index}"), 1, dims));
            signature(inputs.collect(), vec![value("o", 1, output)]).unwrap().batched
        };
        assert!(batched(&[&["batch", "3"]], &["renamed", "2"]));
        assert!(batched(&[&["-1", "3"], &["N"]], &["0"]));
        assert!(!batched(&[&["1", "3"]], &["1", "2"]));
        assert!(!batched(&[&["batch", "seq"], &["seq"]], &["batch"]));
        assert!(!batched(&[&["batch", "512"], &["2", "batch", "128"], &[]], &["batch", "1"]));
        assert!(!batched(&[&["N", "3"]], &[]));
    }

    #[test]
    fn weights_are_not_inputs_and_types_are_told() {
        let input = vec![value("x", 7, &["N", "4"]), value("weight", 1, &["4"])];
        let signature = signature(input, vec![value("y", 16, &["N"])]).unwrap();
        assert_eq!(signature.inputs.len(), 1);
        assert_eq!(
            (signature.inputs[0].datatype, signature.outputs[0].datatype),
            (DataType::Int64, DataType::Bf16)
        );
        assert_eq!(signature.inputs[0].dims, [Dim::Any(Some("N".into())), Dim::Fixed(4)]);
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_name() {
        let sequence = ValueInfo { name: "s".into(), value: Some(Type { tensor: None }) };
        let table = [
            (
                signature(vec![sequence], vec![value("y", 1, &["1"])]),
                "m.onnx: \"s\" is not a tensor; only tensors are served",
            ),
            (signature(vec![], vec![]), "m.onnx: the graph has no output"),
            (
                signature(vec![], vec![value("y", 14, &["1"])]),
                "m.onnx: \"y\" has ONNX element type 14, which is not served",
            ),
            (
                read_signature("m.onnx", b"").map_err(|error| error.to_string()),
                "m.onnx: not an ONNX model: it has no graph",
            ),
        ];
        for (result, text) in table {
            assert_eq!(result.unwrap_err(), text);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..100) {
            let _ = read_signature("m.onnx", &bytes);
            let input = vec![value("x", 1, &["N", "4"])];
            let good = Model { graph: Some(Graph { initializer: vec![], input, output: vec![value("y", 1, &["N"])] }) };
            let good = good.encode_to_vec();
            let _ = read_signature("m.onnx", &good[..cut.min(good.len())]);
        }
    }
}
