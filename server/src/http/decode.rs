//! The body of an infer request, to an [`InferRequest`]: JSON, binary tensors after the JSON, or one raw tensor.
//!
//! Tensors sent in binary are slices of the received body. Keys that the protocol does not know are ignored.

mod head;
mod parameters;

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderName;
use models::Goals;

use self::head::{Head, Input, Output};
use super::words::{Object, Whole};
use crate::goals::{self, Stated};
use crate::infer::{InferRequest, InputTensor, RequestedOutput};
use crate::status::Failure;
use crate::tensor;

/// Bytes of the JSON before the binary tensors: Triton's header.
pub const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// A deadline in milliseconds from now, with a fraction if need be: our own header.
pub const DEADLINE: HeaderName = HeaderName::from_static("x-punctual-deadline-ms");

/// What an infer request says outside of its body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The model's name, URL-decoded.
    pub model: String,
    /// The version, if the path has one.
    pub version: Option<String>,
    /// `Inference-Header-Content-Length`, in decompressed bytes.
    pub header_length: Option<u64>,
    /// `x-punctual-deadline-ms` and `x-punctual-latency-ms`: the earlier of those given.
    pub deadline: Option<Duration>,
    /// `x-punctual-min-accuracy` and the like.
    pub goals: Goals,
}

/// Which outputs the client wants in binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputForms {
    /// Where an output does not say: `binary_data_output` of the request.
    pub binary_default: bool,
    /// `binary_data` of the outputs asked for, in their order; empty when none is named.
    pub binary: Vec<Option<bool>>,
}

impl OutputForms {
    /// Whether the output at that position of the answer goes in binary.
    #[must_use]
    pub fn is_binary(&self, position: usize) -> bool {
        self.binary.get(position).copied().flatten().unwrap_or(self.binary_default)
    }
}

impl Envelope {
    /// Reads the headers of an infer request.
    ///
    /// # Errors
    /// A header that is not the number it should be.
    pub fn new(
        model: String,
        version: Option<String>,
        headers: &HeaderMap,
    ) -> Result<Self, Failure> {
        let header_length = number(headers, &HEADER_LENGTH, |text| text.parse().ok())?;
        let deadline = number(headers, &DEADLINE, |text| {
            let milliseconds = text.parse::<f64>().ok().filter(|number| *number > 0.0)?;
            Duration::try_from_secs_f64(milliseconds / 1e3).ok()
        })?;
        let mut goals = Goals::default();
        let mut deadline = deadline;
        for goal in goals::ALL {
            let Some(value) = headers.get(goals::header(goal)) else { continue };
            let text = value.to_str().unwrap_or("?");
            let latency = goals::state(&mut goals, goal, &Stated::of_text(text))?;
            deadline = deadline.into_iter().chain(latency).min();
        }
        Ok(Self { model, version, header_length, deadline, goals })
    }
}

fn number<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| parse(text.trim()));
    parsed.map(Some).ok_or_else(|| {
        let what = if *name == DEADLINE {
            "a positive number of milliseconds"
        } else {
            "a number of bytes"
        };
        Failure::Invalid(format!(
            "unable to parse the header {name}: it must be {what}, got: {}",
            value.to_str().unwrap_or("?")
        ))
    })
}

/// Decodes the decompressed body of an infer request.
///
/// # Errors
/// Everything that can be wrong without knowing the model.
pub fn decode(envelope: Envelope, body: &Bytes) -> Result<(InferRequest, OutputForms), Failure> {
    let json_length = match envelope.header_length {
        Some(0) => return Ok(raw(envelope, body.clone())),
        Some(length) => usize::try_from(length)
            .ok()
            .filter(|length| *length <= body.len())
            .ok_or_else(|| {
                Failure::Invalid(format!(
                    "inference header size should be in range (0, {}), got: {length}",
                    body.len()
                ))
            })?,
        None => body.len(),
    };
    let head: Head<'_> = super::json(&body[..json_length])?;
    let parameters = head.parameters.request()?;
    let Envelope { model, version, deadline, goals, .. } = envelope;

    let mut rest = body.slice(json_length..);
    let mut inputs = Vec::with_capacity(head.inputs.0.len());
    for Object(input) in head.inputs.0 {
        inputs.push(decode_input(input, &mut rest, &model)?);
    }
    if !rest.is_empty() {
        return Err(Failure::Invalid(format!(
            "unexpected additional input data for model '{model}'"
        )));
    }

    let asked = head.outputs.map(|outputs| outputs.0).unwrap_or_default();
    let mut forms =
        OutputForms { binary_default: parameters.binary, binary: Vec::with_capacity(asked.len()) };
    let mut outputs = Vec::with_capacity(asked.len());
    for Object(Output { name, parameters }) in asked {
        let output = parameters.output(&name)?;
        forms.binary.push(output.binary);
        outputs.push(RequestedOutput { name, classification: output.classification });
    }
    let request = InferRequest {
        model,
        version,
        id: head.id.unwrap_or_default(),
        inputs,
        outputs,
        timeout: parameters.timeout.into_iter().chain(deadline).min(),
        priority: parameters.priority,
        goals: goals::first(parameters.goals, goals),
        raw: false,
    };
    Ok((request, forms))
}

/// The whole body is the one input; every output comes back in binary.
fn raw(envelope: Envelope, data: Bytes) -> (InferRequest, OutputForms) {
    let input = InputTensor { name: String::new(), datatype: None, shape: Vec::new(), data };
    let Envelope { model, version, deadline, goals, .. } = envelope;
    let request = InferRequest {
        model,
        version,
        inputs: vec![input],
        timeout: deadline,
        goals,
        raw: true,
        ..Default::default()
    };
    (request, OutputForms { binary_default: true, binary: Vec::new() })
}

fn decode_input(input: Input<'_>, rest: &mut Bytes, model: &str) -> Result<InputTensor, Failure> {
    let Input { name, shape, datatype, parameters, data } = input;
    let parameters = parameters.input(&name)?;
    let shape: Vec<i64> = shape.0.into_iter().map(|Whole(size)| size).collect();
    let data = match (data, parameters.binary_size, parameters.shared_memory) {
        (Some(data), None, false) => {
            let count = tensor::element_count(&name, &shape)?;
            tensor::json::read(&name, datatype.0, count, data)?
        }
        (None, Some(size), false) => take(rest, size, &name, model)?,
        (None, None, true) => return Err(parameters::no_shared_memory("input", &name)),
        (data, size, shared) => return Err(not_one_source(data.is_some(), size.is_some(), shared)),
    };
    // That the data are as long as that says, the check against the model sees, after the type.
    tensor::element_count(&name, &shape)?;
    Ok(InputTensor { name, datatype: Some(datatype.0), shape, data })
}

fn take(rest: &mut Bytes, size: u64, name: &str, model: &str) -> Result<Bytes, Failure> {
    match usize::try_from(size) {
        Ok(size) if size <= rest.len() => Ok(rest.split_to(size)),
        _ => {
            let missing = size - rest.len() as u64;
            Err(Failure::Invalid(format!(
                "unexpected size for input '{name}', expecting {missing} additional bytes for model '{model}'"
            )))
        }
    }
}

/// Triton's sentence, word for word.
fn not_one_source(data: bool, binary: bool, shared: bool) -> Failure {
    let mut sentence = "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', \
                        'shared_memory_region' in 'parameters'. But"
        .to_owned();
    if !data && !binary && !shared {
        sentence += " no field is set";
        return Failure::Invalid(sentence);
    }
    sentence += " set";
    for (set, key) in
        [(data, " 'data'"), (binary, " 'binary_data_size'"), (shared, " 'shared_memory_region'")]
    {
        if set {
            sentence += key;
        }
    }
    Failure::Invalid(sentence)
}

#[cfg(test)]
mod tests;
