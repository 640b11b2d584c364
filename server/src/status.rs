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
    /// Too much is held for others.
    #[error("{}", .0.error)]
    Crowded(Refusal),
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
    /// One of the names of `router::Rejection`, such as `deadline_unreachable` or `queue_full`, or `bodies_full`.
    pub reason: &'static str,
    /// From now, when the answer would have come; `None` where nothing was predicted.
    pub predicted: Option<Duration>,
    /// From now, when it was wanted.
    pub deadline: Option<Duration>,
    /// From now, when to try again; `None` where the same request can never succeed, so that it is wrong, not unlucky.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// One line of JSON with `error`, `reason`, `predicted_ms`, `deadline_ms` and `retry_after_ms`: the HTTP body and
    /// the gRPC metadata. ASCII only, so that it fits a header.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json =
            format!("{{\"error\":{},\"reason\":\"{}\"", ascii_json(&self.error), self.reason);
        let times = [
            ("predicted_ms", self.predicted),
            ("deadline_ms", self.deadline),
            ("retry_after_ms", self.retry_after),
        ];
        for (key, time) in times {
            let number = time.map_or("null".to_owned(), |time| milliseconds(time).to_string());
            json += &format!(",\"{key}\":{number}");
        }
        json + "}"
    }
}

/// Milliseconds with the three digits that matter, or six, so that a time that is not 0 is not told as 0.
fn milliseconds(time: Duration) -> f64 {
    let (digits, ms) =
        (if time < Duration::from_millis(1) { 1e6 } else { 1e3 }, time.as_secs_f64() * 1e3);
    (ms * digits).round() / digits
}

/// Milliseconds for a sentence: to the tenth, or below one to the second digit that is not 0.
#[must_use]
pub fn in_milliseconds(time: Duration) -> String {
    let least = [1_000_000, 100_000, 10_000, 1_000, 100].map(Duration::from_nanos);
    let digits = match time {
        Duration::ZERO => 1,
        _ => least.iter().position(|least| time >= *least).unwrap_or(least.len()) + 1,
    };
    format!("{:.digits$} ms", time.as_secs_f64() * 1e3)
}

/// A JSON string without bytes that a header could not carry.
fn ascii_json(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\x7f' {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii += &format!("\\u{unit:04x}");
            }
        }
    }
    ascii
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
            Self::Refused(Refusal { retry_after: None, .. }) | Self::Invalid(_) => {
                (400, tonic::Code::InvalidArgument)
            }
            Self::NotFound(_) => (404, tonic::Code::NotFound),
            Self::Unsupported(_) => (501, tonic::Code::Unimplemented),
            Self::TooLarge(_) => (413, tonic::Code::ResourceExhausted),
            Self::Encoding(_) => (415, tonic::Code::Unimplemented),
            Self::Method => (405, tonic::Code::Unimplemented),
            Self::Unavailable(_) | Self::Refused(_) => (503, tonic::Code::Unavailable),
            Self::Crowded(_) => (503, tonic::Code::ResourceExhausted),
            Self::Cancelled(_) => (400, tonic::Code::Cancelled),
            Self::Internal(_) => (500, tonic::Code::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_below_a_millisecond_is_not_told_as_none() {
        let table = [
            (Duration::from_millis(31), "31.0 ms", 31.0),
            (Duration::from_micros(1250), "1.2 ms", 1.25),
            (Duration::from_micros(20), "0.020 ms", 0.02),
            (Duration::from_nanos(1500), "0.0015 ms", 0.0015),
            (Duration::from_nanos(100), "0.00010 ms", 0.0001),
            (Duration::ZERO, "0.0 ms", 0.0),
        ];
        for (time, text, number) in table {
            assert_eq!((in_milliseconds(time).as_str(), milliseconds(time)), (text, number));
        }
    }

    #[test]
    fn refusals_read_as_one_line_of_ascii_json_whatever_the_sentence_holds() {
        let refusal = Refusal {
            error: "\"größer\"\n\u{7f}\u{1f600}".into(),
            reason: "queue_full",
            predicted: None,
            deadline: Some(Duration::from_micros(12_345)),
            retry_after: Some(Duration::from_millis(7)),
        };
        let json = refusal.to_json();
        assert!(json.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{json}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["error"], *refusal.error);
        assert_eq!(read["reason"], "queue_full");
        assert!(
            json.ends_with(r#","predicted_ms":null,"deadline_ms":12.345,"retry_after_ms":7}"#),
            "{json}"
        );
    }
}
