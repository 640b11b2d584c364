//! An [`InferResponse`], to the message and metadata that are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_response::InferOutputTensor;
use super::inference::{InferParameter, ModelInferResponse, ModelStreamInferResponse};
use super::refusal;
use crate::infer::{InferResponse, RequestTiming, Told};
use crate::status::Failure;

/// Set on every response of a stream; ours are all final, as a request has one answer.
const FINAL_RESPONSE: &str = "triton_final_response";

/// The message of an answer, every output raw.
pub(super) fn response(response: InferResponse) -> ModelInferResponse {
    let parameters = told(&response);
    let InferResponse { model, version, id, outputs, .. } = response;
    let mut message = ModelInferResponse {
        model_name: model,
        model_version: version,
        id,
        parameters,
        outputs: Vec::with_capacity(outputs.len()),
        raw_output_contents: Vec::with_capacity(outputs.len()),
    };
    for output in outputs {
        message.outputs.push(InferOutputTensor {
            name: output.name,
            datatype: output.datatype.name().to_owned(),
            shape: output.shape,
            parameters: BTreeMap::new(),
            contents: None,
        });
        message.raw_output_contents.push(output.data);
    }
    message
}

/// The answer of a stream to one request.
pub(super) fn streamed(answer: InferResponse) -> ModelStreamInferResponse {
    let mut message = response(answer);
    message.parameters.extend(final_response());
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(message) }
}

/// Who answered a task's request, and whether the answer was kept.
fn told(response: &InferResponse) -> BTreeMap<String, InferParameter> {
    let parameter = |(name, value): (&str, Told)| {
        let choice = match value {
            Told::Number(number) => ParameterChoice::DoubleParam(number),
            Told::Text(text) => ParameterChoice::StringParam(text),
        };
        (name.to_owned(), InferParameter { parameter_choice: Some(choice) })
    };
    response.told().map(parameter).collect()
}

/// What identifies a request whose answer is an error within a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) id: String,
}

/// The error of a stream to one request; the stream goes on.
pub(super) fn streamed_error(asked: Asked, failure: &Failure) -> ModelStreamInferResponse {
    let mut parameters = final_response();
    if let Failure::Refused(refusal) = failure {
        let json = ParameterChoice::StringParam(refusal.to_json());
        parameters
            .insert(refusal::METADATA.to_owned(), InferParameter { parameter_choice: Some(json) });
    }
    let Asked { model, version, id } = asked;
    let response = ModelInferResponse {
        model_name: model,
        model_version: version,
        id,
        parameters,
        ..ModelInferResponse::default()
    };
    ModelStreamInferResponse { error_message: failure.to_string(), infer_response: Some(response) }
}

fn final_response() -> BTreeMap<String, InferParameter> {
    let value = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    BTreeMap::from([(FINAL_RESPONSE.to_owned(), value)])
}

/// Says in the metadata of an answer where its time went.
pub(super) fn put_timing(metadata: &mut MetadataMap, timing: &RequestTiming) {
    let compute = timing.input + timing.infer + timing.output;
    metadata.insert("x-punctual-queue-us", micros(timing.queue));
    metadata.insert("x-punctual-compute-us", micros(compute));
    metadata.insert("x-punctual-batch", MetadataValue::from(timing.batch));
}

fn micros(time: Duration) -> MetadataValue<tonic::metadata::Ascii> {
    MetadataValue::from(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
