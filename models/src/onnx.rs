//! Reads names, types and shapes of inputs and outputs from the head of an ONNX file, without its weights.

mod chance;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use crate::{CatalogError, DataType, Dim, Signature, TensorSpec};

pub(crate) use chance::drawing_operator;

/// Ranks above this are a broken file, not a model.
const RANK_MAX: usize = 32;

/// More inputs, or more outputs, are a broken file. Weights that old models list as inputs do not count.
const TENSORS_MAX: usize = 10_000;

/// A name, a type and a shape of [`RANK_MAX`] axes need a small part of this; it bounds what decoding them may take.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Elements of a tensor whose open axes have length 1: more than any machine holds, and far from overflowing.
const ELEMENTS_MAX: u64 = 1 << 40;

/// Field numbers of the ONNX IR.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const GRAPH_INPUT: u32 = 11;
const GRAPH_OUTPUT: u32 = 12;
const TENSOR_NAME: u32 = 8;

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
    head(bytes).map_err(|reason| CatalogError::Onnx { file: file.to_owned(), reason })
}

/// Reads in two passes, since weights may stand behind the inputs that they fill.
fn head(bytes: &[u8]) -> Result<Signature, String> {
    let mut graph = None;
    each_field(bytes, |number, content| {
        if number == MODEL_GRAPH && graph.replace(content).is_some() {
            return Err("not an ONNX model: it has two graphs".into());
        }
        Ok(())
    })?;
    let graph: &[u8] = graph.ok_or("not an ONNX model: it has no graph")?;
    let weights = weights(graph)?;
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    each_field(graph, |number, content| {
        let list = match number {
            GRAPH_INPUT => &mut inputs,
            GRAPH_OUTPUT => &mut outputs,
            _ => return Ok(()),
        };
        let value = value(content)?;
        if number == GRAPH_OUTPUT || weights.binary_search(&value.name.as_bytes()).is_err() {
            list.push(spec(value)?);
        }
        match list.len() > TENSORS_MAX {
            true => Err(format!("the graph has more than {TENSORS_MAX} inputs or outputs")),
            false => Ok(()),
        }
    })?;
    if outputs.is_empty() {
        return Err("the graph has no output".into());
    }
    let batched = !inputs.is_empty() && first_axis_counts_rows(&inputs, &outputs);
    Ok(Signature { inputs, outputs, batched })
}

/// The names of the weights, sorted, borrowed from the file.
fn weights(graph: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut names = Vec::new();
    each_field(graph, |number, tensor| match number {
        GRAPH_INITIALIZER => each_field(tensor, |number, name| {
            if number == TENSOR_NAME {
                names.push(name);
            }
            Ok(())
        }),
        _ => Ok(()),
    })?;
    names.sort_unstable();
    Ok(names)
}

fn value(bytes: &[u8]) -> Result<ValueInfo, String> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(format!(
            "an input or output is described by {} bytes; at most {VALUE_BYTES_MAX} are read",
            bytes.len()
        ));
    }
    ValueInfo::decode(bytes).map_err(broken)
}

fn broken(error: DecodeError) -> String {
    format!("not an ONNX model: {error}")
}

/// Calls `field` with the number and the content of each length-delimited field; others are skipped.
fn each_field<'a>(
    mut bytes: &'a [u8],
    mut field: impl FnMut(u32, &'a [u8]) -> Result<(), String>,
) -> Result<(), String> {
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).map_err(broken)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, number, &mut bytes, DecodeContext::default()).map_err(broken)?;
            continue;
        }
        let length = decode_varint(&mut bytes).map_err(broken)?;
        let content =
            usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
        let (content, rest) = content.ok_or("not an ONNX model: the file is cut short")?;
        bytes = rest;
        field(number, content)?;
    }
    Ok(())
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

fn spec(value: ValueInfo) -> Result<TensorSpec, String> {
    let name = value.name;
    if name.is_empty() {
        return Err("an input or output has no name".into());
    }
    let tensor = value.value.and_then(|value| value.tensor);
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
    let dims: Vec<_> = shape.dim.iter().map(dim).collect();
    match can_be_held(&dims) {
        true => Ok(TensorSpec { name, datatype, dims }),
        false => Err(format!("{name:?} has more than {ELEMENTS_MAX} elements")),
    }
}

/// Whether a tensor whose open axes have length 1 is one that a machine could hold.
pub(crate) fn can_be_held(dims: &[Dim]) -> bool {
    let elements = dims.iter().try_fold(1_u64, |elements, dim| match dim {
        Dim::Fixed(length) => elements.checked_mul(*length),
        Dim::Any(_) => Some(elements),
    });
    elements.is_some_and(|elements| elements <= ELEMENTS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts of a model file that are read, to be written.
    #[derive(Clone, PartialEq, Message)]
    struct Model {
        #[prost(string, tag = "2")]
        producer: String,
        #[prost(int64, tag = "1")]
        ir_version: i64,
        #[prost(message, optional, tag = "7")]
        graph: Option<Graph>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Graph {
        #[prost(message, repeated, tag = "5")]
        initializer: Vec<Weight>,
        #[prost(message, repeated, tag = "11")]
        input: Vec<ValueInfo>,
        #[prost(message, repeated, tag = "12")]
        output: Vec<ValueInfo>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Weight {
        #[prost(string, tag = "8")]
        name: String,
        #[prost(bytes = "vec", tag = "9")]
        raw: Vec<u8>,
    }

    fn tensor(name: &str, element: i32, dims: &[&str]) -> ValueInfo {
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
        read_signature("m.onnx", &file(input, output)).map_err(|error| error.to_string())
    }

    fn file(input: Vec<ValueInfo>, output: Vec<ValueInfo>) -> Vec<u8> {
        let initializer = vec![Weight { name: "weight".into(), raw: vec![0x7a; 300] }];
        let graph = Some(Graph { initializer, input, output });
        Model { producer: "a test".into(), ir_version: 8, graph }.encode_to_vec()
    }

    #[test]
    fn the_batch_axis_is_the_first_that_varies_everywhere_under_one_name() {
        let batched = |input: &[&[&str]], output: &[&str]| {
            let inputs =
                input.iter().enumerate().map(|(index, dims)| tensor(&format!("i{index}"), 1, dims));
            signature(inputs.collect(), vec![tensor("o", 1, output)]).unwrap().batched
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
        let input = vec![tensor("x", 7, &["N", "4"]), tensor("weight", 1, &["4"])];
        let signature = signature(input, vec![tensor("y", 16, &["N"])]).unwrap();
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
        let open = Tensor { element: 1, shape: None };
        let shapeless = ValueInfo { name: "x".into(), value: Some(Type { tensor: Some(open) }) };
        let bytes =
            |bytes: &[u8]| read_signature("m.onnx", bytes).map_err(|error| error.to_string());
        let table = [
            (
                signature(vec![sequence], vec![tensor("y", 1, &["1"])]),
                "m.onnx: \"s\" is not a tensor; only tensors are served",
            ),
            (signature(vec![], vec![]), "m.onnx: the graph has no output"),
            (
                signature(vec![], vec![tensor("y", 14, &["1"])]),
                "m.onnx: \"y\" has ONNX element type 14, which is not served",
            ),
            (
                signature(vec![tensor("", 1, &["1"])], vec![]),
                "m.onnx: an input or output has no name",
            ),
            (
                signature(vec![tensor("x", 1, &["1"; 33])], vec![]),
                "m.onnx: \"x\" has 33 dimensions; at most 32 are served",
            ),
            (
                signature(vec![tensor("x", 1, &["N", "9223372036854775807", "3"])], vec![]),
                "m.onnx: \"x\" has more than 1099511627776 elements",
            ),
            (
                signature(vec![tensor("x", 1, &["1"]); TENSORS_MAX + 1], vec![]),
                "m.onnx: the graph has more than 10000 inputs or outputs",
            ),
            (
                signature(vec![tensor(&"x".repeat(VALUE_BYTES_MAX), 1, &[])], vec![]),
                "m.onnx: an input or output is described by 1048588 bytes; at most 1048576 are read",
            ),
            (
                signature(vec![shapeless], vec![]),
                "m.onnx: \"x\" has no shape; export the model with one",
            ),
            (bytes(b""), "m.onnx: not an ONNX model: it has no graph"),
            (bytes(&[0x3a, 0, 0x3a, 0]), "m.onnx: not an ONNX model: it has two graphs"),
            (bytes(&[0x3a, 5, 1]), "m.onnx: not an ONNX model: the file is cut short"),
            (
                bytes(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
                "m.onnx: not an ONNX model: the file is cut short",
            ),
            (
                bytes(b"<html>"),
                "m.onnx: not an ONNX model: failed to decode Protobuf message: unexpected end group tag",
            ),
        ];
        for (result, text) in table {
            assert_eq!(result.unwrap_err(), text);
        }
    }

    #[test]
    fn weights_may_stand_behind_the_inputs_that_they_fill() {
        let inputs = Graph {
            input: vec![tensor("x", 1, &["N"]), tensor("weight", 1, &["4"])],
            output: vec![tensor("y", 1, &["N"])],
            ..Graph::default()
        };
        let weights = Graph {
            initializer: vec![Weight { name: "weight".into(), raw: vec![] }],
            ..Graph::default()
        };
        let graph = [inputs.encode_to_vec(), weights.encode_to_vec()].concat();
        let length = u8::try_from(graph.len()).unwrap();
        let bytes = [vec![0x3a, length], graph].concat();
        assert_eq!(read_signature("m.onnx", &bytes).unwrap().inputs.len(), 1);
    }

    fn any_tensor() -> impl Strategy<Value = TensorSpec> {
        let length = prop_oneof![
            (1_u64..99).prop_map(Dim::Fixed),
            Just(Dim::Any(None)),
            "[a-z]{1,3}".prop_map(|name| Dim::Any(Some(name)))
        ];
        let datatype = prop::sample::select(DataType::ALL.to_vec());
        ("[a-z]{1,8}", datatype, prop::collection::vec(length, 0..5))
            .prop_map(|(name, datatype, dims)| TensorSpec { name, datatype, dims })
    }

    /// The file entry that says the same.
    fn written(spec: &TensorSpec) -> ValueInfo {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed(length) => Dimension { value: i64::try_from(*length).ok(), name: None },
            Dim::Any(name) => Dimension { value: None, name: name.clone() },
        };
        let shape = Some(Shape { dim: spec.dims.iter().map(dim).collect() });
        let element = (0..99).find(|&n| DataType::from_onnx(n) == Some(spec.datatype)).unwrap();
        let tensor = Some(Tensor { element, shape });
        ValueInfo { name: spec.name.clone(), value: Some(Type { tensor }) }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            inputs in prop::collection::vec(any_tensor(), 0..4),
            outputs in prop::collection::vec(any_tensor(), 1..4),
        ) {
            let bytes = file(inputs.iter().map(written).collect(), outputs.iter().map(written).collect());
            let read = read_signature("m.onnx", &bytes).unwrap();
            prop_assert_eq!((read.inputs, read.outputs), (inputs, outputs));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_signature("m.onnx", &bytes);
        }

        #[test]
        fn a_file_cut_short_or_bent_is_read_or_refused(cut in 0_usize..400, at in 0_usize..400, byte: u8) {
            let mut good = file(vec![tensor("x", 1, &["N", "4"])], vec![tensor("y", 1, &["N"])]);
            let end = good.len() - 1;
            prop_assert!(cut > end || read_signature("m.onnx", &good[..cut]).is_err());
            good[at.min(end)] = byte;
            let _ = read_signature("m.onnx", &good);
        }
    }
}
