//! The body of a feedback request: an answer's id, and a loss or what the loss is told from.

use models::Share;
use serde::Deserialize;
use serde_json::Value;

use super::words::Number;
use crate::feedback::Feedback;
use crate::status::Failure;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    id: String,
    loss: Option<Number>,
    label: Option<Value>,
    output: Option<Value>,
}

/// Reads feedback: `{"id": .., "loss": ..}`, or `{"id": .., "label": .., "output": ..}`, whose loss is 0 where both are
/// equal and else 1.
///
/// # Errors
/// A sentence that names the key and what is allowed.
pub fn read(body: &[u8]) -> Result<Feedback, Failure> {
    let Body { id, loss, label, output } = super::json(body)?;
    let loss = match (loss, label, output) {
        (Some(Number(loss)), None, None) => loss,
        (None, Some(label), Some(output)) => f64::from(u8::from(label != output)),
        _ => {
            return Err(Failure::Invalid(
                "expected either `loss`, or both `label` and `output`".to_owned(),
            ));
        }
    };
    let loss =
        Share::try_from(loss).map_err(|reason| Failure::Invalid(format!("`loss`: {reason}")))?;
    Ok(Feedback { id, loss })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_stated_or_told_from_a_label() {
        let loss = |body: &str| read(body.as_bytes()).map(|feedback| f64::from(feedback.loss));
        assert_eq!(loss(r#"{"id":"a","loss":0.25}"#), Ok(0.25));
        assert_eq!(loss(r#"{"id":"a","label":7,"output":7}"#), Ok(0.0));
        assert_eq!(loss(r#"{"id":"a","label":"seven","output":"one"}"#), Ok(1.0));
    }

    #[test]
    fn what_is_no_feedback_is_refused_by_name() {
        for (body, part) in [
            (r#"{"id":"a","loss":1.7}"#, "`loss`: expected a number from 0 to 1, found 1.7"),
            (r#"{"id":"a","loss":-0.5}"#, "`loss`: expected a number from 0 to 1, found -0.5"),
            (r#"{"id":"a"}"#, "either `loss`, or both `label` and `output`"),
            (r#"{"id":"a","label":1}"#, "either `loss`, or both `label` and `output`"),
            (r#"{"id":"a","loss":0,"label":1,"output":1}"#, "either `loss`, or both"),
            (r#"{"loss":0}"#, "missing field `id`"),
            (r#"{"id":"a","los":0}"#, "unknown field `los`"),
            ("{", "failed to parse"),
        ] {
            let error = read(body.as_bytes()).unwrap_err();
            assert_eq!(error.http(), 400);
            assert!(error.to_string().contains(part), "{body}: {error}");
        }
    }
}
