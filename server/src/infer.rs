//! An inference as both protocols know it: HTTP and gRPC decode into [`InferRequest`] and encode [`InferResponse`].

use std::time::Duration;

use bytes::Bytes;
use models::{Accuracy, Cost, DataType, Goals};

/// A decoded inference request, before it is checked against a model.
#[derive(Clone, Debug, Default)]
pub struct InferRequest {
    /// The model's name, URL-decoded.
    pub model: String,
    /// The version asked for; `None` for the newest served one.
    pub version: Option<String>,
    /// The client's own id; empty when it gave none. Echoed.
    pub id: String,
    /// The inputs, in the client's order.
    pub inputs: Vec<InputTensor>,
    /// The outputs asked for, in the client's order; empty for all, in the model's order.
    pub outputs: Vec<RequestedOutput>,
    /// `parameters.timeout` in microseconds, `x-punctual-deadline-ms` and `grpc-timeout`: the earliest of those given.
    pub timeout: Option<Duration>,
    /// `parameters.priority`: 1 is the most urgent, 0 the model's default.
    pub priority: u64,
    /// What it wants beside its deadline, where it asks for a task.
    pub goals: Goals,
    /// The body is the one input, to be shaped by the model: the raw request of the binary extension.
    pub raw: bool,
}

/// One input tensor as sent.
#[derive(Clone, Debug)]
pub struct InputTensor {
    /// Its name; empty in a raw request, which the model's signature then fills in.
    pub name: String,
    /// Its element type; `None` in a raw request.
    pub datatype: Option<DataType>,
    /// Its shape, batch axis included.
    pub shape: Vec<i64>,
    /// Raw little-endian elements, `BYTES` elements each after a u32 length: a slice of the received body wherever
    /// the client sent binary.
    pub data: Bytes,
}

/// One output asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// The classification extension: answer with the top so many `value:index[:label]` strings instead.
    pub classification: Option<u32>,
}

/// An answer before it is encoded.
#[derive(Clone, Debug)]
pub struct InferResponse {
    /// The model's name.
    pub model: String,
    /// The version that answered.
    pub version: String,
    /// The client's own id; empty when it gave none.
    pub id: String,
    /// The outputs in the order asked for, classification already applied.
    pub outputs: Vec<OutputTensor>,
    /// Where the time went.
    pub timing: RequestTiming,
    /// Who answered, where a task was asked for.
    pub choice: Option<Box<Chosen>>,
    /// How the answer to an equal request served this one too, where it did.
    pub cached: Option<Cached>,
}

/// How the answer to an equal request served another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// It was kept.
    Hit,
    /// It was under way.
    Joined,
}

impl Cached {
    /// The name of the parameter, and with `x-punctual-` of the header.
    pub const KEY: &str = "cache";

    /// What clients are told.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Joined => "joined",
        }
    }
}

impl InferResponse {
    /// What clients are told beside the outputs, by name.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, Told)> + '_ {
        let choice = self.choice.iter().flat_map(|choice| choice.told());
        let cached = self.cached.map(|cached| (Cached::KEY, Told::Text(cached.name().to_owned())));
        choice.chain(cached)
    }
}

/// The variant that answered a task's request.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Its model.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// How often it is right.
    pub accuracy: Accuracy,
    /// What its answers cost next to the others'.
    pub cost: Cost,
    /// Why that one answered, where one alone did.
    pub reason: Option<&'static str>,
    /// From arrival, when the answer of the first asked was predicted to be there, where it was.
    pub predicted: Option<Duration>,
    /// When it was.
    pub took: Duration,
    /// Names this answer to whoever says later what it was worth; empty where nobody can.
    pub answer_id: String,
    /// The others, where more than one variant was asked.
    pub composed: Option<Composed>,
}

/// An answer made of those of several variants.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// Whose rows it is made of, as `MODEL/VERSION`.
    pub variants: Vec<String>,
    /// Who was asked, in that order.
    pub asked: Vec<String>,
    /// Why nobody else was.
    pub why: &'static str,
}

impl Chosen {
    /// What clients are told, by name. Times are in microseconds.
    #[must_use]
    pub fn told(&self) -> Vec<(&'static str, Told)> {
        let micros = |time: Duration| Told::Number((time.as_secs_f64() * 1e6).round());
        let own = || format!("{}/{}", self.model, self.version);
        let variant =
            self.composed.as_ref().map_or_else(own, |composed| composed.variants.join("+"));
        let mut told = vec![
            ("variant", Told::Text(variant)),
            ("accuracy", Told::Number(self.accuracy.into())),
            ("cost", Told::Number(self.cost.into())),
            ("latency_us", micros(self.took)),
        ];
        told.extend(self.reason.map(|reason| ("reason", Told::Text(reason.to_owned()))));
        told.extend(self.predicted.map(|predicted| ("predicted_us", micros(predicted))));
        // Answers of cascades and ensembles have none.
        if !self.answer_id.is_empty() {
            told.push(("answer_id", Told::Text(self.answer_id.clone())));
        }
        if let Some(Composed { asked, why, .. }) = &self.composed {
            told.push(("asked", Told::Number(asked.len() as f64)));
            told.push(("asked_variants", Told::Text(asked.join(","))));
            told.push(("ended", Told::Text((*why).to_owned())));
        }
        told
    }
}

/// A value that clients are told.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Told {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// One output tensor to be sent.
#[derive(Clone, Debug)]
pub struct OutputTensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: DataType,
    /// Its shape, batch axis included.
    pub shape: Vec<i64>,
    /// Raw little-endian elements, `BYTES` elements each after a u32 length.
    pub data: Bytes,
}

/// Where a request's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTiming {
    /// From arrival to the start of its batch.
    pub queue: Duration,
    /// Gathering the batch's inputs.
    pub input: Duration,
    /// The run of its batch.
    pub infer: Duration,
    /// Taking the batch's outputs out.
    pub output: Duration,
    /// Rows of the batch that it ran in.
    pub batch: u32,
}
