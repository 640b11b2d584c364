//! A request's way through the server, step by step, apart from sockets and the scheduler: a row like a handwritten digit.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gpu::{InputPart, Output, Timing};
use hyper::HeaderMap;
use models::{
    BatchingMode, DataType, Dim, LatencyProfile, ModelConfig, ModelDescription, QUEUE_MAX,
    Signature, TensorSpec, VariantId,
};
use router::{Router, RouterSettings};
use server::check::{Checked, check};
use server::driver::Driver;
use server::http::decode::{Envelope, HEADER_LENGTH, OutputForms, decode};
use server::http::encode::encode;
use server::infer::{InferRequest, InferResponse, RequestedOutput};
use server::metrics::Metrics;
use server::outcome::Answer;
use server::served::{Measured, Retire, Served};

use super::{COUNTED, Calls};
use crate::Error;

/// Repeats; the first ones fill what allocators keep and are not counted.
const REPEATS: (u32, u32) = (20, 100);

/// Values of a row of input and of output.
const INPUTS: usize = 64;
const OUTPUTS: usize = 10;
/// Requests of a batch.
const BATCH: u32 = 8;

/// Does all of it.
pub(super) fn all(calls: &mut Calls) -> Result<(), Error> {
    let served = served()?;
    let json = json_body()?;
    let binary = binary_body()?;
    parse("parse_json", &json, calls)?;
    let request = parse("parse_binary", &binary, calls)?;
    let checked = checked(&request, &served, calls)?;
    gather(&checked, calls)?;
    let forms = |binary_default| OutputForms { binary_default, binary: Vec::new() };
    respond("respond_json", (&checked, &served), &forms(false), calls)?;
    respond("respond_binary", (&checked, &served), &forms(true), calls)
}

/// Repeats what `work` does with what `make` made for it; the last result.
fn repeat<M, R>(name: &str, calls: &mut Calls, make: impl Fn() -> M, work: impl Fn(M) -> R) -> R {
    let at = COUNTED.iter().position(|known| *known == name).expect("it is counted");
    let (warm, times) = REPEATS;
    let mut result = None;
    for again in 0..warm + times {
        let mut made = Some(make());
        let mut once = || result = made.take().map(|made| black_box(work(made)));
        if again < warm { once() } else { calls.count(at, &mut once) }
    }
    result.expect("it is repeated at least once")
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Raw(error.to_string())
}

fn row() -> impl Iterator<Item = f32> {
    (0_u16..).map(|place| f32::from(place % 17)).take(INPUTS)
}

fn envelope(headers: &HeaderMap) -> Result<Envelope, Error> {
    Envelope::new("digits".into(), None, headers).map_err(wrong)
}

fn json_body() -> Result<(Envelope, Bytes), Error> {
    let values: Vec<String> = row().map(|value| value.to_string()).collect();
    let body = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{INPUTS}],"datatype":"FP32","data":[{}]}}]}}"#,
        values.join(",")
    );
    Ok((envelope(&HeaderMap::new())?, body.into()))
}

fn binary_body() -> Result<(Envelope, Bytes), Error> {
    let length = INPUTS * 4;
    let head = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{INPUTS}],"datatype":"FP32","parameters":{{"binary_data_size":{length}}}}}],"parameters":{{"binary_data_output":true}}}}"#
    );
    let mut headers = HeaderMap::new();
    headers.insert(HEADER_LENGTH, head.len().into());
    let mut body = head.into_bytes();
    body.extend(row().flat_map(f32::to_le_bytes));
    Ok((envelope(&headers)?, body.into()))
}

fn parse(
    name: &str,
    (envelope, body): &(Envelope, Bytes),
    calls: &mut Calls,
) -> Result<InferRequest, Error> {
    let parsed = repeat(name, calls, || envelope.clone(), |envelope| decode(envelope, body));
    parsed.map(|(request, _)| request).map_err(wrong)
}

fn checked(request: &InferRequest, served: &Served, calls: &mut Calls) -> Result<Checked, Error> {
    let checked = repeat("check", calls, || request.clone(), |request| check(request, served));
    checked.map_err(wrong)
}

fn gather(checked: &Checked, calls: &mut Calls) -> Result<(), Error> {
    let tensors = &checked.inference.part.tensors;
    let part = || InputPart::new(1, tensors.clone());
    let parts: Vec<_> = (0..BATCH).map(|_| part()).collect();
    let kind = (DataType::Fp32, INPUTS * 4);
    let room = || vec![0_u8; kind.1 * parts.len()];
    repeat("gather", calls, room, |mut room| gpu::gather(&parts, 0, kind, &mut room)).map_err(wrong)
}

/// Cuts a request's row out of its batch's answer and encodes it.
fn respond(
    name: &str,
    (checked, served): (&Checked, &Served),
    forms: &OutputForms,
    calls: &mut Calls,
) -> Result<(), Error> {
    let values = (0..OUTPUTS * BATCH as usize).map(|place| 1.0 / (1 + place) as f32);
    let output = Output {
        datatype: DataType::Fp32,
        shape: vec![i64::from(BATCH), 10],
        data: values.flat_map(f32::to_le_bytes).collect(),
    };
    let answer = Answer {
        outputs: Arc::new(vec![output]),
        row: 3,
        rows: 1,
        batch: BATCH,
        queue: Duration::ZERO,
        timing: Timing::default(),
    };
    let work = |outputs: Vec<(usize, RequestedOutput)>| {
        let outputs = server::answer::outputs(&answer, outputs, &checked.cuts, served.into())?;
        let (model, version) = (served.model.clone(), served.version.to_string());
        let timing = answer.request_timing();
        encode(
            &InferResponse {
                model,
                version,
                id: String::new(),
                outputs,
                timing,
                choice: None,
                cached: None,
            },
            forms,
        )
    };
    repeat(name, calls, || checked.outputs.clone(), work).map(|_| ()).map_err(wrong)
}

/// A model version that nobody executes.
fn served() -> Result<Served, Error> {
    let router = Router::new(RouterSettings::default()).map_err(wrong)?;
    let driver = Driver::start(router, &[], None, Box::new(|_, _, _, _| ()), Box::new(|_| ()))
        .map_err(Error::system("starting the timer"))?;
    let spec = |name: &str, length| TensorSpec {
        name: name.into(),
        datatype: DataType::Fp32,
        dims: vec![Dim::Any(None), Dim::Fixed(length)],
    };
    let signature = Signature {
        inputs: vec![spec("x", INPUTS as u64)],
        outputs: vec![spec("y", OUTPUTS as u64)],
        batched: true,
    };
    let description = ModelDescription {
        name: "digits".into(),
        signature,
        rows_max: BATCH,
        batch_max: BATCH,
        batching: BatchingMode::Auto,
        slo: None,
        priority: 2,
        priority_levels: 3,
        queue_max: QUEUE_MAX,
        weight: 1.0,
        policy: None,
        preferred: Vec::new(),
        delay: Duration::ZERO,
        threads: None,
        executors: None,
        labels: vec![Vec::new()],
        pads: Vec::new(),
        cache: 0,
        config: ModelConfig::default(),
        warnings: Vec::new(),
    };
    let ms = Duration::from_millis(1);
    let profile = LatencyProfile::linear(ms, ms, BATCH);
    let measured = Measured { profile, batch_max: BATCH, alone_because: String::new() };
    let metrics = Metrics::new().model("digits", "1");
    Ok(Served::new(description, 1, measured, metrics, Retire::new(&driver, VariantId(0))))
}
