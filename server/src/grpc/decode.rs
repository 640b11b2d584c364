//! A received message, to an [`InferRequest`].
//!
//! `raw_input_contents` are slices of the message and belong, in their order, to the inputs; `contents` become raw
//! little-endian elements. Both in one request are refused, as is shared memory. Parameters that the protocol does not
//! know are for the model, and ignored; so are those of sequences, which are served like any other request.

mod contents;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use models::{DataType, Goals};

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::inference::{InferParameter, ModelInferRequest};
use crate::goals::{self, Stated};
use crate::infer::{InferRequest, InputTensor, RequestedOutput};
use crate::status::Failure;
use crate::tensor;

/// Most inputs, and most outputs asked for, of a request.
const TENSORS_MAX: usize = 1024;
/// Most parameters of a request or tensor.
const PARAMETERS_MAX: usize = 256;
/// Sent by perf_analyzer. Our models answer a request once, and that answer is the final one: nothing is to be done.
const EMPTY_FINAL_RESPONSE: &str = "triton_enable_empty_final_response";

type Parameters = BTreeMap<String, InferParameter>;

/// Decodes a request that came with that deadline in its metadata.
///
/// # Errors
/// Everything that can be wrong without knowing the model.
pub(super) fn decode(
    message: ModelInferRequest,
    deadline: Option<Duration>,
) -> Result<InferRequest, Failure> {
    at_most(TENSORS_MAX, message.inputs.len(), "inputs")?;
    at_most(TENSORS_MAX, message.outputs.len(), "outputs")?;
    let model = message.model_name;
    let parameters = RequestParameters::of(&message.parameters)?;
    let raw_count = message.raw_input_contents.len();
    let mut raw = message.raw_input_contents.into_iter();
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for input in message.inputs {
        inputs.push(decode_input(input, &mut raw, raw_count > 0, &model)?);
    }
    if raw.len() > 0 {
        return Err(Failure::Invalid(format!(
            "unexpected additional input data for model '{model}': {raw_count} raw_input_contents for {} inputs",
            inputs.len()
        )));
    }
    let outputs = message.outputs.into_iter().map(decode_output).collect::<Result<_, _>>()?;
    Ok(InferRequest {
        model,
        version: Some(message.model_version).filter(|version| !version.is_empty()),
        id: message.id,
        inputs,
        outputs,
        timeout: parameters.timeout.into_iter().chain(deadline).min(),
        priority: parameters.priority,
        goals: parameters.goals,
        raw: false,
    })
}

fn at_most(limit: usize, count: usize, what: &str) -> Result<(), Failure> {
    if count <= limit {
        return Ok(());
    }
    Err(Failure::Invalid(format!("{count} {what}, at most {limit} are allowed")))
}

fn decode_input(
    input: InferInputTensor,
    raw: &mut impl Iterator<Item = Bytes>,
    raw_is_used: bool,
    model: &str,
) -> Result<InputTensor, Failure> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    at_most(PARAMETERS_MAX, parameters.len(), "parameters")?;
    if parameters.contains_key("shared_memory_region") {
        return Err(no_shared_memory("input", &name));
    }
    let datatype = DataType::from_name(&datatype).ok_or_else(|| {
        Failure::Invalid(format!("inference input '{name}' has the unknown data-type '{datatype}'"))
    })?;
    let data = match contents {
        Some(_) if raw_is_used => {
            return Err(Failure::Invalid(format!(
                "contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'"
            )));
        }
        Some(contents) => contents::to_raw(&contents, datatype, &name, model)?,
        None => raw.next().ok_or_else(|| {
            Failure::Invalid(format!(
                "unable to find data for input tensor '{name}' for model '{model}' in request."
            ))
        })?,
    };
    // That the data are as long as that says, the check against the model sees, after the type.
    tensor::element_count(&name, &shape)?;
    Ok(InputTensor { name, datatype: Some(datatype), shape, data })
}

fn decode_output(output: InferRequestedOutputTensor) -> Result<RequestedOutput, Failure> {
    let InferRequestedOutputTensor { name, parameters } = output;
    at_most(PARAMETERS_MAX, parameters.len(), "parameters")?;
    if parameters.contains_key("shared_memory_region") {
        return Err(no_shared_memory("output", &name));
    }
    let classification = match parameters.get("classification") {
        None => None,
        Some(value) => {
            let top = unsigned("classification", value)
                .map_err(|failure| Failure::Invalid(format!("output '{name}': {failure}")))?;
            // More than there are classes means all of them; zero means the plain output.
            (top > 0).then(|| u32::try_from(top).unwrap_or(u32::MAX))
        }
    };
    Ok(RequestedOutput { name, classification })
}

fn no_shared_memory(kind: &str, name: &str) -> Failure {
    Failure::Unsupported(format!(
        "shared memory is not supported by this server: send the data of {kind} '{name}' in the message, as raw contents"
    ))
}

#[derive(Default)]
struct RequestParameters {
    goals: Goals,
    timeout: Option<Duration>,
    priority: u64,
}

impl RequestParameters {
    fn of(parameters: &Parameters) -> Result<Self, Failure> {
        at_most(PARAMETERS_MAX, parameters.len(), "parameters")?;
        let mut request = Self::default();
        for (key, value) in parameters {
            match key.as_str() {
                "timeout" => {
                    let micros = unsigned(key, value)?;
                    // Triton's default, which means none.
                    let timeout = (micros > 0).then(|| Duration::from_micros(micros));
                    request.timeout = request.timeout.into_iter().chain(timeout).min();
                }
                goal if goals::is_goal(goal) => {
                    let timeout = goals::state(&mut request.goals, goal, &stated(value))?;
                    request.timeout = request.timeout.into_iter().chain(timeout).min();
                }
                "priority" => request.priority = unsigned(key, value)?,
                EMPTY_FINAL_RESPONSE => boolean(key, value)?,
                reserved if reserved.starts_with("triton_") || reserved == "headers" => {
                    return Err(Failure::Invalid(format!(
                        "parameter '{reserved}' is reserved, it cannot be set by a request"
                    )));
                }
                _ => {}
            }
        }
        Ok(request)
    }
}

/// A goal as it was stated.
#[expect(clippy::cast_precision_loss, reason = "no goal is near 2^53")]
fn stated(value: &InferParameter) -> Stated<'_> {
    match &value.parameter_choice {
        Some(ParameterChoice::Uint64Param(number)) => Stated::Number(*number as f64),
        Some(ParameterChoice::Int64Param(number)) => Stated::Number(*number as f64),
        Some(ParameterChoice::DoubleParam(number)) => Stated::Number(*number),
        Some(ParameterChoice::StringParam(text)) => Stated::Text(text),
        Some(ParameterChoice::BoolParam(_)) => Stated::Else,
        None => Stated::Nothing,
    }
}

/// Clients disagree whether numbers are signed: `priority` comes unsigned and `timeout` signed from tritonclient.
fn unsigned(key: &str, value: &InferParameter) -> Result<u64, Failure> {
    let number = match &value.parameter_choice {
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        Some(
            ParameterChoice::BoolParam(_)
            | ParameterChoice::StringParam(_)
            | ParameterChoice::DoubleParam(_),
        )
        | None => None,
    };
    number.ok_or_else(|| {
        Failure::Invalid(format!(
            "parameter '{key}' must be a whole number that is not negative, got: {}",
            shown(value)
        ))
    })
}

fn boolean(key: &str, value: &InferParameter) -> Result<(), Failure> {
    if matches!(value.parameter_choice, Some(ParameterChoice::BoolParam(_))) {
        return Ok(());
    }
    Err(Failure::Invalid(format!("parameter '{key}' must be true or false, got: {}", shown(value))))
}

fn shown(value: &InferParameter) -> String {
    match &value.parameter_choice {
        None => "nothing".to_owned(),
        Some(ParameterChoice::BoolParam(value)) => value.to_string(),
        Some(ParameterChoice::Int64Param(value)) => value.to_string(),
        Some(ParameterChoice::Uint64Param(value)) => value.to_string(),
        Some(ParameterChoice::DoubleParam(value)) => value.to_string(),
        Some(ParameterChoice::StringParam(value)) => {
            format!("{:?}", value.chars().take(40).collect::<String>())
        }
    }
}
