//! Why a workload cannot be made or a run cannot start.

/// What is wrong with a workload or its target; each text says what was given and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An arrival process that is not known.
    #[error(
        "unknown arrivals '{0}': allowed are constant, poisson, gamma:CV with CV above 0, and bursts:TIMES,BURST,CALM such \
         as bursts:10,200ms,2s"
    )]
    Arrivals(String),
    /// A rate that is not a positive number.
    #[error(
        "the rate must be a positive number of requests per second, steps and ramps such as 100@10s,200..500@30s, or \
         sine:MEAN,AMPLITUDE,PERIOD, not {0}"
    )]
    Rate(String),
    /// A line of a trace that cannot be read.
    #[error("line {line} of the trace: {problem}")]
    Trace {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that cannot be read.
    #[error("{file}: {reason}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A workload file that is not one.
    #[error("{file}:{line}: {reason}")]
    Workload {
        /// Which file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// The key and what is wrong with it.
        reason: String,
    },
    /// Shares that cannot be drawn from.
    #[error("the mix {0}")]
    Mix(String),
    /// A URL that names no server.
    #[error(
        "cannot use the URL '{0}': write http://HOST:PORT or grpc://HOST:PORT, or https and grpcs"
    )]
    Url(String),
    /// The server could not be reached.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's own words.
        reason: String,
    },
    /// Something answers, but not as an inference server.
    #[error("{address} does not speak the Open Inference Protocol: {reason}")]
    NotOip {
        /// Host and port.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The server does not have the model.
    #[error("the server has no model '{model}': {status}")]
    UnknownModel {
        /// The model.
        model: String,
        /// Status and text.
        status: String,
    },
    /// The server answered a request for metadata, or the first request, with an error.
    #[error("the server answered {what} with {status}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Status and text.
        status: String,
    },
    /// An input whose tensor cannot be made from the metadata alone.
    #[error("input '{input}' of '{model}' {problem}")]
    Input {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// What is not known, and how to say it.
        problem: String,
    },
    /// The client's own machinery failed to start.
    #[error("cannot start the client: {0}")]
    Start(String),
}
