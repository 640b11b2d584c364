//! Plays a workload against a server and records each request's end; the crate's only reader of the clock.
//!
//! The open loop sends each request when it is due, whatever became of those before it, and counts its latency from
//! that time: a stalled server or a late client shows in every request that was due meanwhile.

mod connection;
mod file;
mod grpc;
mod http;
mod inputs;
mod ledger;
mod npy;
#[cfg(not(test))]
mod pace;
#[cfg(test)]
#[path = "client/pace/paused.rs"]
mod pace;
mod plan;
mod play;
mod stop;
mod target;
mod tensor;
mod tls;
mod turns;
mod watch;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::Error;
pub use grpc::{InferParameter, InferTensor, ModelInferRequest, ParameterChoice};
pub use plan::{Load, Plan, Source};
pub use play::Played;
pub use stop::Stop;
pub use target::{Protocol, Target};
pub use tensor::InputMetadata;
pub use tls::Tls;
pub use watch::Watch;

/// Sends one HTTP request, such as a model's load or its profile, and returns the status and the body of the answer.
///
/// # Errors
/// The server cannot be reached, or the connection ends without an answer.
pub fn fetch(
    target: &Target,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes), Error> {
    let connector = connection::Connector::new(target, &Tls::default())?;
    runtime()?.block_on(http::fetch(&connector, method, path, body))
}

/// The clock of the load generator and of the benches.
#[cfg(not(test))]
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock file")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The time of the day, for results.
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock file")]
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The clock of the tests, which stands still while they work.
#[cfg(test)]
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time that this thread has spent on a core.
fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let [seconds, nanos] =
        [spent.tv_sec, spent.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    // The interval between looks at the sockets and the pacer's timer bounds the client's own lag under load.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(4)
        .build()
        .map_err(|error| Error::Start(error.to_string()))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the server said to one request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(Box<str>),
    Error(Box<str>),
    Cancelled,
    ConnectionLost,
}
