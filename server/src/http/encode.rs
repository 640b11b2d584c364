//! An [`InferResponse`] as JSON, as binary tensors after JSON, or mixed: each output as the client asked.

use bytes::Bytes;
use serde::ser::{Serialize, SerializeSeq as _, SerializeStruct as _, Serializer};

use super::decode::OutputForms;
use crate::infer::{InferResponse, OutputTensor};
use crate::status::Failure;
use crate::tensor::json::JsonData;

/// Binary outputs of up to so many bytes in all are copied behind the JSON: one write is cheaper than several slices.
const COPIED_BYTES_MAX: usize = 4096;

/// An encoded answer, the outputs in binary as slices where they are large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes of the JSON, if binary tensors follow it: `Inference-Header-Content-Length`.
    pub json_length: Option<usize>,
    /// The JSON, and small binary tensors.
    pub head: Bytes,
    /// The binary tensors that `head` does not hold, in order.
    pub tensors: Vec<Bytes>,
}

/// Encodes an answer.
///
/// # Errors
/// An output asked for in JSON that JSON cannot carry.
pub fn encode(response: &InferResponse, forms: &OutputForms) -> Result<Encoded, Failure> {
    let binary: Vec<&Bytes> = response
        .outputs
        .iter()
        .enumerate()
        .filter(|(position, output)| forms.is_binary(*position) && !output.data.is_empty())
        .map(|(_, output)| &output.data)
        .collect();
    let binary_length: usize = binary.iter().map(|data| data.len()).sum();
    let copied = if binary_length <= COPIED_BYTES_MAX { binary_length } else { 0 };

    let mut head = Vec::with_capacity(head_length(response, forms) + copied);
    serde_json::to_writer(&mut head, &Head { response, forms })
        .map_err(|error| Failure::Invalid(error.to_string()))?;
    let json_length = (!binary.is_empty()).then_some(head.len());
    if copied > 0 {
        binary.iter().for_each(|data| head.extend_from_slice(data));
        return Ok(Encoded { json_length, head: head.into(), tensors: Vec::new() });
    }
    Ok(Encoded { json_length, head: head.into(), tensors: binary.into_iter().cloned().collect() })
}

/// About how long the JSON will be, so that it is written into one allocation.
fn head_length(response: &InferResponse, forms: &OutputForms) -> usize {
    // Keys and punctuation; an element in JSON takes about twice its raw bytes.
    const FIXED: usize = 64;
    const OUTPUT: usize = 112;
    let of_output = |(position, output): (usize, &OutputTensor)| {
        let data = if forms.is_binary(position) { 0 } else { output.data.len().saturating_mul(2) };
        OUTPUT + output.name.len() + output.shape.len() * 6 + data
    };
    let outputs: usize = response.outputs.iter().enumerate().map(of_output).sum();
    FIXED + response.model.len() + response.version.len() + response.id.len() + outputs
}

struct Head<'a> {
    response: &'a InferResponse,
    forms: &'a OutputForms,
}

impl Serialize for Head<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let InferResponse { model, version, id, outputs: _, timing: _, choice, cached } =
            self.response;
        let mut head = to.serialize_struct("Head", 4)?;
        if !id.is_empty() {
            head.serialize_field("id", id)?;
        }
        head.serialize_field("model_name", model)?;
        head.serialize_field("model_version", version)?;
        if choice.is_some() || cached.is_some() {
            head.serialize_field("parameters", &Parameters(self.response))?;
        }
        head.serialize_field("outputs", &Outputs(self))?;
        head.end()
    }
}

/// Who answered a task's request, and from where.
struct Parameters<'a>(&'a InferResponse);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.told())
    }
}

struct Outputs<'a>(&'a Head<'a>);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Head { response, forms } = self.0;
        let mut list = to.serialize_seq(Some(response.outputs.len()))?;
        for (position, tensor) in response.outputs.iter().enumerate() {
            list.serialize_element(&Output { tensor, binary: forms.is_binary(position) })?;
        }
        list.end()
    }
}

struct Output<'a> {
    tensor: &'a OutputTensor,
    binary: bool,
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let OutputTensor { name, datatype, shape, data } = self.tensor;
        let mut output = to.serialize_struct("Output", 4)?;
        output.serialize_field("name", name)?;
        output.serialize_field("datatype", datatype.name())?;
        output.serialize_field("shape", shape)?;
        if self.binary {
            output.serialize_field("parameters", &BinarySize { binary_data_size: data.len() })?;
        } else {
            output.serialize_field("data", &JsonData(self.tensor))?;
        }
        output.end()
    }
}

#[derive(serde::Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

#[cfg(test)]
mod tests {
    use models::DataType;

    use super::*;

    fn response(outputs: Vec<OutputTensor>) -> InferResponse {
        InferResponse {
            model: "m".into(),
            version: "1".into(),
            id: "a\"b".into(),
            outputs,
            choice: None,
            cached: None,
            timing: Default::default(),
        }
    }

    fn output(name: &str, datatype: DataType, shape: &[i64], data: &[u8]) -> OutputTensor {
        OutputTensor {
            name: name.into(),
            datatype,
            shape: shape.to_vec(),
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn outputs_go_in_json_or_binary_as_each_was_asked() {
        let outputs = vec![
            output("a", DataType::Fp32, &[1, 2], &[0, 0, 128, 63, 205, 204, 204, 61]),
            output("b", DataType::Int16, &[1, 2], &[1, 0, 2, 0]),
        ];
        let forms = OutputForms { binary_default: true, binary: vec![Some(false), None] };
        let Encoded { json_length, head, tensors } = encode(&response(outputs), &forms).unwrap();
        let json = concat!(
            r#"{"id":"a\"b","model_name":"m","model_version":"1","outputs":["#,
            r#"{"name":"a","datatype":"FP32","shape":[1,2],"data":[1.0,0.1]},"#,
            r#"{"name":"b","datatype":"INT16","shape":[1,2],"parameters":{"binary_data_size":4}}]}"#,
        );
        assert_eq!(json_length, Some(json.len()));
        assert_eq!(head, [json.as_bytes(), &[1, 0, 2, 0]].concat());
        assert!(tensors.is_empty());
    }

    #[test]
    fn an_empty_binary_output_needs_no_header_length() {
        let outputs = vec![output("a", DataType::Fp32, &[0], &[])];
        let forms = OutputForms { binary_default: true, binary: Vec::new() };
        let encoded = encode(&response(outputs), &forms).unwrap();
        assert_eq!(encoded.json_length, None);
        assert!(encoded.head.ends_with(br#""parameters":{"binary_data_size":0}}]}"#));
    }

    #[test]
    fn a_large_binary_output_is_a_slice_of_what_the_executor_gave() {
        let outputs = vec![output("a", DataType::Uint8, &[5000], &[7; 5000])];
        let given = outputs[0].data.clone();
        let forms = OutputForms { binary_default: true, binary: Vec::new() };
        let encoded = encode(&response(outputs), &forms).unwrap();
        assert_eq!(encoded.tensors.len(), 1);
        assert_eq!(encoded.tensors[0].as_ptr(), given.as_ptr());
        assert_eq!(encoded.json_length, Some(encoded.head.len()));
    }

    #[test]
    fn an_id_that_the_client_did_not_give_is_not_answered() {
        let mut response = response(Vec::new());
        response.id.clear();
        let encoded = encode(&response, &OutputForms::default()).unwrap();
        assert_eq!(encoded.head, r#"{"model_name":"m","model_version":"1","outputs":[]}"#);
    }

    #[test]
    fn fp16_in_json_is_refused() {
        let outputs = vec![output("a", DataType::Fp16, &[1], &[0, 0])];
        assert_eq!(encode(&response(outputs), &OutputForms::default()).unwrap_err().http(), 400);
    }
}
