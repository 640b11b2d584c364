//! Every refusal and error that a client can see, with its HTTP status and gRPC code, in one table.

use std::time::Duration;

/// Why a request got no result. The text is for the client: what was wrong, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No such model, version or route.
    #[error("{0}")]
    NotFound(String),
    /// Known to the protocol, not to this server.
    #[error("{0}")]
    Unsupported(String),
    /// Larger than a limit set by a flag.
    #[error("{0}")]
    TooLarge(String),
    /// A body encoding that is not understood.
    #[error("{0}")]
    Encoding(String),
    /// The method does not belong to that route.
    #[error("Method Not Allowed")]
    Method,
    /// The server cannot take it now: shutting down, model not ready.
    #[error("{0}")]
    Unavailable(String),
    /// Refused by the scheduler: an outcome, not an error.
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// The client went away or its deadline passed before an answer.
    #[error("{0}")]
    Cancelled(String),
    /// The model or the server failed.
    #[error("{0}")]
    Internal(String),
}

/// A refusal in the words and numbers that a client can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A sentence.
    pub error: String,
    /// One of the names of `router::Rejection`, such as `deadline_unreachable` or `queue_full`.
    pub reason: &'static str,
    /// From now, when the answer would have come; `None` where nothing was predicted.
    pub predicted: Option<Duration>,
    /// From now, when it was wanted.
    pub deadline: Option<Duration>,
    /// From now, when to try again.
    pub retry_after: Duration,
}

impl Failure {
    /// The HTTP status.
    #[must_use]
    pub fn http(&self) -> u16 {
        self.row().0
    }

    /// The gRPC code.
    #[must_use]
    pub fn grpc(&self) -> tonic::Code {
        self.row().1
    }

    fn row(&self) -> (u16, tonic::Code) {
        match self {
            Self::Invalid(_) => (400, tonic::Code::InvalidArgument),
            Self::NotFound(_) => (404, tonic::Code::NotFound),
            Self::Unsupported(_) => (501, tonic::Code::Unimplemented),
            Self::TooLarge(_) => (413, tonic::Code::ResourceExhausted),
            Self::Encoding(_) => (415, tonic::Code::Unimplemented),
            Self::Method => (405, tonic::Code::Unimplemented),
            Self::Unavailable(_) | Self::Refused(_) => (503, tonic::Code::Unavailable),
            Self::Cancelled(_) => (400, tonic::Code::Cancelled),
            Self::Internal(_) => (500, tonic::Code::Internal),
        }
    }
}
