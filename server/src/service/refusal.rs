//! Refusals in the words and numbers that a client can act on.

use std::time::Duration;

use router::Rejection;

use crate::status::{Refusal, in_milliseconds};

/// How long a client should wait before it tries again, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Says why the scheduler refused a request, and when to come again; `task` says what a task's variants can do instead.
pub(super) fn explain(
    rejection: Rejection,
    deadline: Option<Duration>,
    id: &str,
    task: Option<String>,
) -> Refusal {
    let within = deadline.map_or("none".to_owned(), in_milliseconds);
    let text = match rejection {
        Rejection::DeadlineUnreachable { predicted, .. } => {
            let (predicted, by) = (in_milliseconds(predicted), task.unwrap_or_default());
            format!(
                "predicted answer after {predicted}{by}, but the deadline is in {within}; not started"
            )
        }
        Rejection::DeadlineHopeless => {
            format!(
                "Request timeout expired: the deadline of {within} came out of reach while the request waited; not started"
            )
        }
        Rejection::QueueFull => "Exceeds maximum queue size".to_owned(),
        Rejection::PricedOut => {
            "the executor time that the request needs is worth more to others; not started"
                .to_owned()
        }
        Rejection::GoalsImpossible { .. } => task.unwrap_or_else(|| {
            "no variant of the task is as accurate and as cheap as asked".to_owned()
        }),
        Rejection::TooManyShapes => {
            "requests of too many different shapes wait for this model".to_owned()
        }
        Rejection::NotServed => "the model is being unloaded".to_owned(),
        Rejection::NoExecutor => "no executor has this model".to_owned(),
        Rejection::LoadFailed => {
            "the model could not be loaded where it was to run, and no executor has it".to_owned()
        }
        Rejection::ExecutorLost => {
            "the executor that ran the request is gone; it is not known whether it ran".to_owned()
        }
        Rejection::Draining => "the server is shutting down".to_owned(),
    };
    let error = if id.is_empty() { text } else { format!("[request id: {id}] {text}") };
    let predicted = match rejection {
        Rejection::DeadlineUnreachable { predicted, .. } => Some(predicted),
        Rejection::DeadlineHopeless
        | Rejection::QueueFull
        | Rejection::PricedOut
        | Rejection::GoalsImpossible { .. }
        | Rejection::TooManyShapes
        | Rejection::NotServed
        | Rejection::NoExecutor
        | Rejection::LoadFailed
        | Rejection::ExecutorLost
        | Rejection::Draining => None,
    };
    let excess =
        predicted.zip(deadline).map(|(predicted, deadline)| predicted.saturating_sub(deadline));
    let soon = excess.unwrap_or(RETRY_AFTER).max(Duration::from_millis(1));
    let retry_after = match rejection {
        Rejection::GoalsImpossible { .. } => None,
        Rejection::DeadlineUnreachable { .. }
        | Rejection::DeadlineHopeless
        | Rejection::QueueFull
        | Rejection::PricedOut
        | Rejection::TooManyShapes
        | Rejection::NotServed
        | Rejection::NoExecutor
        | Rejection::LoadFailed
        | Rejection::ExecutorLost
        | Rejection::Draining => Some(soon),
    };
    Refusal { error, reason: rejection.name(), predicted, deadline, retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_refusal_says_what_was_predicted_and_when_to_come_again() {
        let refusal = explain(
            Rejection::DeadlineUnreachable { predicted: 31 * MS, soonest: None },
            Some(27 * MS),
            "q1",
            None,
        );
        assert_eq!(
            refusal.error,
            "[request id: q1] predicted answer after 31.0 ms, but the deadline is in 27.0 ms; not started"
        );
        assert_eq!((refusal.reason, refusal.retry_after), ("deadline_unreachable", Some(4 * MS)));
        let few = Rejection::DeadlineUnreachable {
            predicted: Duration::from_nanos(4_200),
            soonest: Some(models::VariantId(0)),
        };
        let by = Some(" by 'fast'".to_owned());
        let refusal = explain(few, Some(Duration::from_micros(1)), "", by);
        assert_eq!(
            refusal.error,
            "predicted answer after 0.0042 ms by 'fast', but the deadline is in 0.0010 ms; not started"
        );
        assert_eq!(
            explain(Rejection::QueueFull, None, "", None).error,
            "Exceeds maximum queue size"
        );
    }
}
