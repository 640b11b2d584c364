//! An inference as both protocols know it: HTTP and gRPC decode into [`InferRequest`] and encode [`InferResponse`].

use std::time::Duration;

use bytes::Bytes;
use models::DataType;

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
